//! A follower's patience.

use crate::support::{Ask, Broken, Upstream, by_key, call, panic_text, result, settle};
use std::{convert::Infallible, time::Duration};
use tokio::time::advance;
use tokio_test::assert_pending;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_singleflight::{SingleflightLayer, mode::ByKey};

const PATIENCE: Duration = Duration::from_secs(10);
const TICK: Duration = Duration::from_millis(1);

fn patient() -> SingleflightLayer<ByKey<Ask, u32>> {
    by_key().wait_at_most(PATIENCE)
}

#[tokio::test(start_paused = true)]
async fn a_follower_whose_patience_ends_leads_a_newer_flight_with_its_own_request() {
    let upstream = Upstream::<&str>::new();
    let layer = patient();
    let mut service = layer.layer(upstream.clone());
    let mut leader = call(&mut service, (1, "leader"));
    let mut follower = call(&mut service, (1, "follower"));
    assert_pending!(follower.poll());
    settle().await;
    let leaders = upstream.next();

    advance(PATIENCE).await;
    assert!(follower.is_woken());
    assert_pending!(follower.poll());
    let own = upstream.next();
    assert_eq!(own.request, (1, "follower"));
    own.answer("its own");
    assert_eq!(result(&mut follower), Ok("its own"));
    let stats = layer.handle().stats();
    assert_eq!((stats.led, stats.timed_out, stats.passed), (2, 1, 0));

    leaders.answer("the leader's");
    settle().await;
    assert_eq!(result(&mut leader), Ok("the leader's"));
}

#[tokio::test(start_paused = true)]
async fn a_follower_waits_until_its_patience_ends() {
    let upstream = Upstream::<&str>::new();
    let mut service = patient().layer(upstream.clone());
    let _leader = call(&mut service, (1, "leader"));
    let mut follower = call(&mut service, (1, "follower"));
    assert_pending!(follower.poll());
    advance(PATIENCE - TICK).await;
    assert!(!follower.is_woken());
    assert_pending!(follower.poll());
    assert_eq!(upstream.total(), 1);
}

#[tokio::test(start_paused = true)]
async fn patience_counts_from_the_call_and_not_from_the_first_poll() {
    let upstream = Upstream::<&str>::new();
    let mut service = patient().layer(upstream.clone());
    let _leader = call(&mut service, (1, "leader"));
    let mut follower = call(&mut service, (1, "follower"));
    advance(PATIENCE).await;
    settle().await;
    assert_eq!(upstream.next().request, (1, "leader"));
    assert_pending!(follower.poll());
    assert_eq!(upstream.next().request, (1, "follower"));
}

#[tokio::test(start_paused = true)]
async fn each_follower_has_a_patience_of_its_own() {
    let upstream = Upstream::<&str>::new();
    let mut service = patient().layer(upstream.clone());
    let _leader = call(&mut service, (1, "leader"));
    let mut early = call(&mut service, (1, "early"));
    advance(TICK).await;
    let mut late = call(&mut service, (1, "late"));
    assert_pending!(early.poll());
    assert_pending!(late.poll());
    advance(PATIENCE - TICK).await;
    assert!(early.is_woken());
    assert!(!late.is_woken());
}

#[tokio::test(start_paused = true)]
async fn a_leader_waits_as_long_as_it_takes() {
    let upstream = Upstream::<&str>::new();
    let mut service = patient().layer(upstream.clone());
    let mut leader = call(&mut service, (1, "leader"));
    assert_pending!(leader.poll());
    advance(PATIENCE * 100).await;
    assert_pending!(leader.poll());
    upstream.next().answer("told");
    assert_eq!(result(&mut leader), Ok("told"));
    assert_eq!(upstream.total(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_leader_with_followers_waits_as_long_as_it_takes() {
    let upstream = Upstream::<&str>::new();
    let mut service = patient().layer(upstream.clone());
    let mut leader = call(&mut service, (1, "leader"));
    assert_pending!(leader.poll());
    drop(service.call((1, "follower")));
    settle().await;
    advance(PATIENCE * 100).await;
    assert!(!leader.is_woken());
    upstream.next().answer("told");
    settle().await;
    assert_eq!(result(&mut leader), Ok("told"));
}

#[tokio::test(start_paused = true)]
async fn a_result_that_is_there_when_patience_ends_wins() {
    let upstream = Upstream::<&str>::new();
    let layer = patient();
    let mut service = layer.layer(upstream.clone());
    let _leader = call(&mut service, (1, "leader"));
    let mut follower = call(&mut service, (1, "follower"));
    assert_pending!(follower.poll());
    settle().await;
    upstream.next().answer("told");
    settle().await;
    advance(PATIENCE).await;
    assert_eq!(result(&mut follower), Ok("told"));
    assert_eq!(upstream.total(), 1);
    assert_eq!(layer.handle().stats().passed, 0);
}

#[tokio::test(start_paused = true)]
async fn an_impatient_follower_that_was_the_last_waiter_cancels_the_flight() {
    let upstream = Upstream::<&str>::new();
    let layer = patient();
    let mut service = layer.layer(upstream.clone());
    let leader = call(&mut service, (1, "leader"));
    let mut follower = call(&mut service, (1, "follower"));
    assert_pending!(follower.poll());
    settle().await;
    let leaders = upstream.next();
    drop(leader);
    advance(PATIENCE).await;
    assert!(!leaders.is_dropped());
    assert_pending!(follower.poll());
    assert!(leaders.is_dropped());
    let stats = layer.handle().stats();
    assert_eq!((stats.cancelled, stats.in_flight, stats.waiting), (1, 1, 1));
    upstream.next().answer("its own");
    assert_eq!(result(&mut follower), Ok("its own"));
}

#[tokio::test(start_paused = true)]
async fn an_impatient_follower_leaves_the_others_their_flight() {
    let upstream = Upstream::<&str>::new();
    let layer = patient();
    let mut service = layer.layer(upstream.clone());
    let mut leader = call(&mut service, (1, "leader"));
    let mut follower = call(&mut service, (1, "follower"));
    advance(PATIENCE).await;
    assert_pending!(follower.poll());
    assert_eq!((layer.handle().in_flight(), layer.handle().waiting()), (2, 2));
    settle().await;
    upstream.next().answer("told");
    settle().await;
    assert_eq!(result(&mut leader), Ok("told"));
    assert_pending!(follower.poll());
    upstream.next().answer("its own");
    assert_eq!(result(&mut follower), Ok("its own"));
}

#[tokio::test(start_paused = true)]
async fn followers_whose_patience_ends_together_make_one_call_together() {
    let upstream = Upstream::<&str>::new();
    let layer = patient();
    let mut service = layer.layer(upstream.clone());
    let mut leader = call(&mut service, (1, "leader"));
    let mut followers: Vec<_> = (0..100).map(|_| call(&mut service, (1, "follower"))).collect();
    followers.iter_mut().for_each(|follower| assert_pending!(follower.poll()));
    settle().await;
    let hangs = upstream.next();
    advance(PATIENCE).await;
    followers.iter_mut().for_each(|follower| assert_pending!(follower.poll()));
    settle().await;
    assert_eq!(upstream.total(), 2);
    upstream.next().answer("told");
    settle().await;
    for follower in &mut followers {
        assert_eq!(result(follower), Ok("told"));
    }
    assert_pending!(leader.poll());
    hangs.answer("late");
    settle().await;
    assert_eq!(result(&mut leader), Ok("late"));
    let stats = layer.handle().stats();
    assert_eq!(
        (stats.led, stats.joined, stats.timed_out, stats.in_flight, stats.waiting),
        (2, 199, 100, 0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_hangs_sees_one_call_more_for_each_patience() {
    let upstream = Upstream::<&str>::new();
    let mut service = patient().layer(upstream.clone());
    let _leader = call(&mut service, (1, "leader"));
    let mut followers: Vec<_> = (0..20).map(|_| call(&mut service, (1, "follower"))).collect();
    for periods in 1..5 {
        followers.iter_mut().for_each(|follower| assert_pending!(follower.poll()));
        settle().await;
        advance(PATIENCE).await;
        followers.iter_mut().for_each(|follower| assert_pending!(follower.poll()));
        settle().await;
        assert_eq!(upstream.total(), 1 + periods);
    }
}

#[tokio::test(start_paused = true)]
async fn a_follower_whose_patience_ends_joins_a_newer_flight_that_is_there() {
    let upstream = Upstream::<&str>::new();
    let layer = patient();
    let mut service = layer.layer(upstream.clone());
    let _leader = call(&mut service, (1, "leader"));
    let mut follower = call(&mut service, (1, "follower"));
    assert_pending!(follower.poll());
    settle().await;
    let _hangs = upstream.next();
    layer.handle().forget(&1);
    let mut newer = call(&mut service, (1, "newer"));
    assert_pending!(newer.poll());
    advance(PATIENCE).await;
    assert_pending!(follower.poll());
    settle().await;
    assert_eq!(upstream.total(), 2);
    upstream.next().answer("told");
    settle().await;
    assert_eq!((result(&mut newer), result(&mut follower)), (Ok("told"), Ok("told")));
}

#[tokio::test(start_paused = true)]
async fn a_key_closure_that_panics_when_patience_ends_reaches_that_follower_alone() {
    let upstream = Upstream::<&str>::new();
    let mut calls = 0;
    let keys = std::sync::Mutex::new(move || {
        calls += 1;
        assert!(calls < 3, "no more keys");
        1
    });
    let layer =
        SingleflightLayer::by_key(move |_: &Ask| (keys.lock().unwrap())()).wait_at_most(PATIENCE);
    let mut service = layer.layer(upstream.clone());
    let mut leader = call(&mut service, (1, "leader"));
    let mut follower = call(&mut service, (1, "follower"));
    assert_pending!(follower.poll());
    settle().await;
    advance(PATIENCE).await;
    assert_eq!(panic_text(|| follower.poll()), "no more keys");
    drop(follower);
    upstream.next().answer("told");
    settle().await;
    assert_eq!(result(&mut leader), Ok("told"));
    assert_eq!((layer.handle().in_flight(), layer.handle().waiting()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn newcomers_join_the_newer_flight_of_an_impatient_follower() {
    let upstream = Upstream::<&str>::new();
    let layer = patient();
    let mut service = layer.layer(upstream.clone());
    let leader = call(&mut service, (1, "leader"));
    let mut follower = call(&mut service, (1, "follower"));
    advance(PATIENCE).await;
    assert_pending!(follower.poll());
    drop(leader);
    let _newcomer = service.call((1, "newcomer"));
    let stats = layer.handle().stats();
    assert_eq!((stats.led, stats.joined), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn the_error_of_a_newer_flight_is_not_that_of_the_one_that_was_left() {
    let upstream = Upstream::<&str, Broken>::new();
    let mut service = patient().layer(upstream.clone());
    let mut leader = call(&mut service, (1, "leader"));
    let mut follower = call(&mut service, (1, "follower"));
    settle().await;
    let leaders = upstream.next();
    advance(PATIENCE).await;
    assert_pending!(follower.poll());
    upstream.next().fail(Broken("pipe"));
    assert_eq!(result(&mut follower), Err(Broken("pipe")));
    leaders.answer("told");
    settle().await;
    assert_eq!(result(&mut leader), Ok("told"));
}

#[test]
fn outside_a_runtime_a_follower_says_what_it_misses_and_the_leader_goes_on() {
    let upstream = Upstream::<&str>::new();
    let mut service = patient().layer(upstream.clone());
    let mut leader = call(&mut service, (1, "leader"));
    let mut follower = call(&mut service, (1, "follower"));
    assert_pending!(leader.poll());
    let text = panic_text(|| follower.poll());
    assert!(text.contains("tower-singleflight") && text.contains("`wait_at_most`"), "{text}");
    assert!(text.contains("outside a tokio runtime"), "{text}");
    drop(follower);
    upstream.next().answer("told");
    assert_eq!(result(&mut leader), Ok("told"));
}

#[test]
fn outside_a_runtime_a_lone_call_works_in_spite_of_its_patience() {
    let upstream = Upstream::<&str>::new();
    let mut service = patient().layer(upstream.clone());
    let mut lone = call(&mut service, (1, "lone"));
    assert_pending!(lone.poll());
    upstream.next().answer("told");
    assert_eq!(result(&mut lone), Ok("told"));
}

#[test]
fn in_a_runtime_without_its_timer_a_follower_panics_and_the_leader_goes_on() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let upstream = Upstream::<&str>::new();
        let mut service = patient().layer(upstream.clone());
        let mut leader = call(&mut service, (1, "leader"));
        let mut follower = call(&mut service, (1, "follower"));
        let text = panic_text(|| follower.poll());
        assert!(text.contains("timers are disabled"), "{text}");
        drop(follower);
        settle().await;
        upstream.next().answer("told");
        settle().await;
        assert_eq!(result(&mut leader), Ok("told"));
    });
}

#[tokio::test(start_paused = true)]
async fn the_longest_patience_there_is_never_ends() {
    for patience in [Duration::MAX, Duration::from_secs(i64::MAX as u64 / 2)] {
        let upstream = Upstream::<&str>::new();
        let mut service = by_key().wait_at_most(patience).layer(upstream.clone());
        let _leader = call(&mut service, (1, "leader"));
        let mut follower = call(&mut service, (1, "follower"));
        assert_pending!(follower.poll());
        advance(Duration::from_secs(86_400)).await;
        assert!(!follower.is_woken());
    }
}

#[tokio::test(start_paused = true)]
async fn impatient_followers_in_tasks_of_their_own_are_served_while_the_leader_hangs() {
    let layer = patient();
    let service = layer.layer(service_fn(|ask: Ask| async move {
        if ask.1 == "leader" {
            std::future::pending::<()>().await;
        }
        Ok::<_, Infallible>(ask.1)
    }));
    let leader = tokio::spawn(service.clone().oneshot((1, "leader")));
    settle().await;
    let start = tokio::time::Instant::now();
    let followers: Vec<_> =
        (0..10).map(|_| tokio::spawn(service.clone().oneshot((1, "follower")))).collect();
    for follower in followers {
        assert_eq!(follower.await.unwrap(), Ok("follower"));
    }
    assert!(start.elapsed() >= PATIENCE && start.elapsed() < PATIENCE + TICK * 2);
    assert!(!leader.is_finished());
    leader.abort();
    assert!(leader.await.unwrap_err().is_cancelled());
    assert_eq!((layer.handle().in_flight(), layer.handle().waiting()), (0, 0));
}

#[test]
fn a_patience_of_zero_panics_in_the_builder_and_names_the_method() {
    let text = panic_text(|| by_key().wait_at_most(Duration::ZERO));
    assert!(text.contains("`wait_at_most`") && text.contains("zero"), "{text}");
}
