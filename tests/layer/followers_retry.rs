//! What becomes of followers when an inner call fails.

use crate::support::{Ask, Broken, Layered, Upstream, by_key, call, panic_text, result, settle};
use std::{sync::Arc, task::Poll, time::Duration};
use tokio_test::{assert_pending, task::Spawn};
use tower::{Layer, Service};
use tower_singleflight::{SingleflightLayer, mode::ByKey};

type Failing = Upstream<&'static str, Broken>;
type Called = Spawn<<Layered<Failing> as Service<Ask>>::Future>;

const DOWN: Result<&str, Broken> = Err(Broken("down"));

fn retrying(retries: u32) -> SingleflightLayer<ByKey<Ask, u32>> {
    by_key().followers_retry(retries)
}

/// A leader, whose call is made, and so many followers.
async fn flight<const N: usize>(
    layer: &SingleflightLayer<ByKey<Ask, u32>>,
) -> (Failing, Layered<Failing>, Called, [Called; N]) {
    let upstream = Failing::new();
    let mut service = layer.layer(upstream.clone());
    let mut leader = call(&mut service, (1, "leader"));
    assert_pending!(leader.poll());
    let mut followers = [(); N].map(|()| call(&mut service, (1, "follower")));
    followers.iter_mut().for_each(|follower| assert_pending!(follower.poll()));
    settle().await;
    (upstream, service, leader, followers)
}

#[track_caller]
fn all_get(calls: &mut [Called], end: Result<&str, Broken>) {
    for call in calls {
        assert_eq!(result(call), end);
    }
}

fn all_wait(calls: &mut [Called]) {
    calls.iter_mut().for_each(|call| assert_pending!(call.poll()));
}

#[tokio::test]
async fn after_an_error_the_followers_go_on_together() {
    let layer = retrying(1);
    let (upstream, _service, mut leader, mut followers) = flight::<50>(&layer).await;
    upstream.next().fail(Broken("down"));
    settle().await;
    assert_eq!(result(&mut leader), DOWN);
    all_wait(&mut followers);
    settle().await;
    assert_eq!(upstream.total(), 2);
    let second = upstream.next();
    assert_eq!(second.request, (1, "follower"));
    second.answer("told");
    settle().await;
    all_get(&mut followers, Ok("told"));
    let stats = layer.handle().stats();
    assert_eq!((stats.refused, stats.in_flight, stats.waiting), (1, 0, 0));
}

#[tokio::test]
async fn a_backend_that_fails_costs_one_call_more_than_there_are_retries() {
    for retries in 0..4 {
        let layer = retrying(retries);
        let (upstream, _service, mut leader, followers) = flight::<50>(&layer).await;
        let mut followers = Vec::from(followers);
        for _ in 0..=retries {
            upstream.next().fail(Broken("down"));
            settle().await;
            followers.retain_mut(|follower| match follower.poll() {
                Poll::Ready(end) => {
                    assert_eq!(end, DOWN);
                    false
                }
                Poll::Pending => true,
            });
            settle().await;
        }
        assert!(followers.is_empty());
        assert_eq!(upstream.total(), retries as usize + 1);
        assert_eq!(result(&mut leader), DOWN);
        assert_eq!((layer.handle().in_flight(), layer.handle().waiting()), (0, 0));
    }
}

#[tokio::test]
async fn an_error_that_comes_at_once_still_does_not_let_each_follower_call() {
    let layer = retrying(1);
    let (upstream, _service, _leader, mut followers) = flight::<20>(&layer).await;
    upstream.next().fail(Broken("down"));
    settle().await;
    // Each is polled long after the one before it, whose call failed meanwhile.
    assert_pending!(followers[0].poll());
    settle().await;
    upstream.next().fail(Broken("down"));
    settle().await;
    for follower in &mut followers {
        assert_eq!(result(follower), DOWN);
        settle().await;
    }
    assert_eq!(upstream.total(), 2);
}

#[tokio::test]
async fn newcomers_join_the_followers_that_go_on() {
    let layer = retrying(1);
    let (upstream, mut service, _leader, mut followers) = flight::<2>(&layer).await;
    upstream.next().fail(Broken("down"));
    settle().await;
    let mut newcomer = call(&mut service, (1, "newcomer"));
    assert_pending!(newcomer.poll());
    all_wait(&mut followers);
    settle().await;
    assert_eq!(upstream.total(), 2);
    upstream.next().answer("told");
    settle().await;
    assert_eq!(result(&mut newcomer), Ok("told"));
    all_get(&mut followers, Ok("told"));
}

#[tokio::test]
async fn a_leader_that_is_polled_late_gets_its_own_error() {
    let layer = retrying(1);
    let (upstream, _service, mut leader, mut followers) = flight::<3>(&layer).await;
    upstream.next().fail(Broken("first"));
    settle().await;
    all_wait(&mut followers);
    settle().await;
    upstream.next().fail(Broken("second"));
    settle().await;
    all_get(&mut followers, Err(Broken("second")));
    assert_eq!(result(&mut leader), Err(Broken("first")));
    assert_eq!((layer.handle().in_flight(), layer.handle().waiting()), (0, 0));
}

#[tokio::test]
async fn a_leader_that_leaves_with_its_error_untaken_disturbs_nobody() {
    let layer = retrying(2);
    let (upstream, _service, leader, mut followers) = flight::<3>(&layer).await;
    upstream.next().fail(Broken("first"));
    settle().await;
    assert_eq!(layer.handle().waiting(), 3);
    drop(leader);
    assert_eq!((layer.handle().in_flight(), layer.handle().waiting()), (1, 3));
    all_wait(&mut followers);
    settle().await;
    upstream.next().answer("told");
    settle().await;
    all_get(&mut followers, Ok("told"));
}

#[tokio::test]
async fn an_error_of_a_flight_whose_leader_left_is_nobodys() {
    let layer = retrying(1);
    let (upstream, _service, leader, mut followers) = flight::<3>(&layer).await;
    drop(leader);
    upstream.next().fail(Broken("down"));
    settle().await;
    all_wait(&mut followers);
    settle().await;
    upstream.next().answer("told");
    settle().await;
    all_get(&mut followers, Ok("told"));
}

#[tokio::test]
async fn followers_that_all_leave_before_they_go_on_free_the_key() {
    let layer = retrying(1);
    let (upstream, mut service, _leader, followers) = flight::<3>(&layer).await;
    upstream.next().fail(Broken("down"));
    settle().await;
    drop(followers);
    assert_eq!((layer.handle().in_flight(), layer.handle().waiting()), (0, 0));
    let _next = service.call((1, "next"));
    assert_eq!(layer.handle().stats().led, 2);
}

#[tokio::test]
async fn the_new_leader_leaves_and_the_others_keep_its_call() {
    let layer = retrying(1);
    let (upstream, _service, _leader, [mut one, mut two, mut three]) = flight::<3>(&layer).await;
    upstream.next().fail(Broken("down"));
    settle().await;
    assert_pending!(one.poll());
    settle().await;
    drop(one);
    assert_pending!(two.poll());
    upstream.next().answer("told");
    settle().await;
    assert_eq!((result(&mut two), result(&mut three)), (Ok("told"), Ok("told")));
    assert_eq!(upstream.total(), 2);
}

#[tokio::test]
async fn a_lone_call_that_fails_has_its_error_at_once() {
    let layer = retrying(3);
    let (upstream, _service, mut leader, []) = flight::<0>(&layer).await;
    upstream.next().fail(Broken("down"));
    assert_eq!(result(&mut leader), DOWN);
    assert_eq!((upstream.total(), layer.handle().stats().refused), (1, 0));
}

#[test]
fn outside_a_runtime_followers_go_on_together_too() {
    let upstream = Failing::new();
    let layer = retrying(1);
    let mut service = layer.layer(upstream.clone());
    let mut leader = call(&mut service, (1, "leader"));
    let mut followers = [(); 3].map(|()| call(&mut service, (1, "follower")));
    assert_pending!(leader.poll());
    all_wait(&mut followers);
    upstream.next().fail(Broken("down"));
    assert_eq!(result(&mut leader), DOWN);
    all_wait(&mut followers);
    upstream.next().answer("told");
    all_get(&mut followers, Ok("told"));
    assert_eq!(upstream.total(), 2);
}

#[test]
fn outside_a_runtime_a_follower_that_lands_its_gone_leaders_error_goes_on_with_the_others() {
    let upstream = Failing::new();
    let layer = retrying(1);
    let mut service = layer.layer(upstream.clone());
    let mut leader = call(&mut service, (1, "leader"));
    assert_pending!(leader.poll());
    let mut followers = [(); 2].map(|()| call(&mut service, (1, "follower")));
    all_wait(&mut followers);
    drop(leader);
    upstream.next().fail(Broken("down"));
    all_wait(&mut followers);
    let second = upstream.next();
    assert_eq!(second.request, (1, "follower"));
    second.answer("told");
    all_get(&mut followers, Ok("told"));
}

#[tokio::test(start_paused = true)]
async fn patience_and_retries_get_along() {
    let patience = Duration::from_secs(1);
    let layer = retrying(1).wait_at_most(patience);
    let (upstream, _service, _leader, mut followers) = flight::<5>(&layer).await;
    upstream.next().fail(Broken("down"));
    settle().await;
    all_wait(&mut followers);
    settle().await;
    let _hangs = upstream.next();
    tokio::time::advance(patience).await;
    all_wait(&mut followers);
    settle().await;
    assert_eq!(upstream.total(), 3);
    upstream.next().answer("told");
    settle().await;
    all_get(&mut followers[1..], Ok("told"));
}

/// Panics when the last of its clones is dropped.
#[derive(Clone, Debug)]
struct Bomb(Arc<()>);

impl Drop for Bomb {
    fn drop(&mut self) {
        if Arc::strong_count(&self.0) == 1 && !std::thread::panicking() {
            panic!("the drop of the last");
        }
    }
}

#[derive(Clone, Debug)]
struct Counted(#[allow(dead_code, reason = "only counted")] Arc<()>);

#[tokio::test]
async fn a_leader_that_is_the_last_to_let_go_of_anothers_response_leaks_nothing() {
    let upstream = Upstream::<Bomb, Counted>::new();
    let mut service = retrying(1).layer(upstream.clone());
    let mut leader = call(&mut service, (1, "leader"));
    let mut followers = [(); 2].map(|()| call(&mut service, (1, "follower")));
    settle().await;
    let alive = Arc::new(());
    upstream.next().fail(Counted(alive.clone()));
    settle().await;
    followers.iter_mut().for_each(|follower| assert_pending!(follower.poll()));
    settle().await;
    let bomb = Arc::new(());
    upstream.next().answer(Bomb(bomb.clone()));
    settle().await;
    followers.iter_mut().for_each(|follower| drop(result(follower)));
    drop((bomb, followers));
    assert_eq!(panic_text(|| leader.poll()), "the drop of the last");
    drop(leader);
    assert_eq!(Arc::strong_count(&alive), 1, "the leader's own error was dropped");
}
