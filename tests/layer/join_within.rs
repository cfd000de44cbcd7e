//! A newcomer joins only a flight that is young enough.

use crate::support::{Upstream, by_key, call, panic_text, result, settle};
use std::time::Duration;
use tokio::time::advance;
use tokio_test::assert_pending;
use tower::{Layer, Service};

const AGE: Duration = Duration::from_secs(10);
const TICK: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn a_flight_that_is_younger_is_joined() {
    let upstream = Upstream::<&str>::new();
    let layer = by_key().join_within(AGE);
    let mut service = layer.layer(upstream.clone());
    let mut leader = call(&mut service, (1, "leader"));
    assert_pending!(leader.poll());
    advance(AGE - TICK).await;
    let mut newcomer = call(&mut service, (1, "newcomer"));
    assert_eq!(layer.handle().stats().joined, 1);
    settle().await;
    upstream.next().answer("told");
    settle().await;
    assert_eq!((result(&mut leader), result(&mut newcomer)), (Ok("told"), Ok("told")));
    assert_eq!(upstream.total(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_flight_of_just_that_age_is_not_joined() {
    let upstream = Upstream::<&str>::new();
    let layer = by_key().join_within(AGE);
    let mut service = layer.layer(upstream.clone());
    let mut leader = call(&mut service, (1, "leader"));
    assert_pending!(leader.poll());
    advance(AGE).await;
    let mut newcomer = call(&mut service, (1, "newcomer"));
    assert_pending!(newcomer.poll());
    assert_eq!(upstream.total(), 2);
    let stats = layer.handle().stats();
    assert_eq!((stats.led, stats.joined, stats.in_flight), (2, 0, 2));
}

#[tokio::test(start_paused = true)]
async fn the_age_counts_from_the_leaders_call_and_not_from_its_first_poll() {
    let upstream = Upstream::<&str>::new();
    let layer = by_key().join_within(AGE);
    let mut service = layer.layer(upstream.clone());
    let mut leader = call(&mut service, (1, "leader"));
    advance(AGE).await;
    assert_pending!(leader.poll());
    let _newcomer = service.call((1, "newcomer"));
    assert_eq!(layer.handle().stats().led, 2);
}

#[tokio::test(start_paused = true)]
async fn those_who_come_later_join_the_new_flight() {
    let upstream = Upstream::<&str>::new();
    let mut service = by_key().join_within(AGE).layer(upstream.clone());
    let mut old = call(&mut service, (1, "old"));
    assert_pending!(old.poll());
    advance(AGE).await;
    let mut new = call(&mut service, (1, "new"));
    advance(AGE - TICK).await;
    let mut later = call(&mut service, (1, "later"));
    settle().await;
    let (_olds, news) = (upstream.next(), upstream.next());
    assert_eq!(news.request, (1, "new"));
    news.answer("newer");
    settle().await;
    assert_eq!((result(&mut new), result(&mut later)), (Ok("newer"), Ok("newer")));
    assert_pending!(old.poll());
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_for_the_old_flight_still_get_its_result() {
    let upstream = Upstream::<&str>::new();
    let mut service = by_key().join_within(AGE).layer(upstream.clone());
    let mut leader = call(&mut service, (1, "leader"));
    let mut follower = call(&mut service, (1, "follower"));
    advance(AGE).await;
    let mut newcomer = call(&mut service, (1, "newcomer"));
    assert_pending!(newcomer.poll());
    settle().await;
    upstream.next().answer("old");
    settle().await;
    assert_eq!((result(&mut leader), result(&mut follower)), (Ok("old"), Ok("old")));
    assert_pending!(newcomer.poll());
}

#[tokio::test(start_paused = true)]
async fn the_landing_of_the_old_flight_leaves_the_new_one_joinable() {
    let upstream = Upstream::<&str>::new();
    let layer = by_key().join_within(AGE);
    let mut service = layer.layer(upstream.clone());
    let mut old = call(&mut service, (1, "old"));
    assert_pending!(old.poll());
    advance(AGE).await;
    let _new = service.call((1, "new"));
    upstream.next().answer("old");
    assert_eq!(result(&mut old), Ok("old"));
    let _later = service.call((1, "later"));
    let stats = layer.handle().stats();
    assert_eq!((stats.led, stats.joined), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_hung_inner_call_does_not_own_its_key_for_ever() {
    let upstream = Upstream::<&str>::new();
    let mut service = by_key().join_within(AGE).layer(upstream.clone());
    let mut hung = call(&mut service, (1, "hung"));
    assert_pending!(hung.poll());
    let _unanswered = upstream.next();
    for _ in 0..3 {
        advance(AGE).await;
        let mut call = call(&mut service, (1, "again"));
        assert_pending!(call.poll());
        upstream.next().answer("told");
        assert_eq!(result(&mut call), Ok("told"));
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_bound_a_flight_is_joined_at_any_age() {
    let upstream = Upstream::<&str>::new();
    let layer = by_key();
    let mut service = layer.layer(upstream.clone());
    let mut leader = call(&mut service, (1, "leader"));
    assert_pending!(leader.poll());
    advance(Duration::from_secs(86_400)).await;
    let _newcomer = service.call((1, "newcomer"));
    assert_eq!(layer.handle().stats().joined, 1);
}

#[tokio::test(start_paused = true)]
async fn the_newcomers_bound_counts_in_a_group_that_layers_with_other_bounds_share() {
    let unbounded = by_key().shared_group();
    let bounded = unbounded.clone().join_within(AGE);
    let upstream = Upstream::<&str>::new();
    let (mut one, mut two) = (unbounded.layer(upstream.clone()), bounded.layer(upstream.clone()));
    let mut leader = call(&mut one, (1, "leader"));
    assert_pending!(leader.poll());
    advance(AGE).await;
    let mut newcomer = call(&mut two, (1, "newcomer"));
    assert_pending!(newcomer.poll());
    assert_eq!(upstream.total(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_with_a_bound_joins_a_young_flight_of_a_layer_without_one() {
    let unbounded = by_key().shared_group();
    let bounded = unbounded.clone().join_within(AGE);
    let upstream = Upstream::<&str>::new();
    let (mut one, mut two) = (unbounded.layer(upstream.clone()), bounded.layer(upstream.clone()));
    let _leader = one.call((1, "leader"));
    let _newcomer = two.call((1, "newcomer"));
    assert_eq!(bounded.handle().stats().joined, 1);
}

#[tokio::test(start_paused = true)]
async fn a_bound_set_while_a_flight_is_in_progress_takes_it_for_too_old() {
    let unbounded = by_key().shared_group();
    let upstream = Upstream::<&str>::new();
    let _leader = unbounded.layer(upstream.clone()).call((1, "leader"));
    let bounded = unbounded.clone().join_within(AGE);
    let mut two = bounded.layer(upstream.clone());
    let _newcomer = two.call((1, "newcomer"));
    assert_eq!(
        bounded.handle().stats().joined,
        usize::from(cfg!(feature = "metrics")) as u64,
        "metrics know the age"
    );
    let _third = two.call((1, "third"));
    assert_eq!(bounded.handle().stats().led, if cfg!(feature = "metrics") { 1 } else { 2 });
}

#[test]
fn a_bound_needs_no_runtime() {
    let layer = by_key().join_within(AGE);
    let mut service = layer.layer(Upstream::<&str>::new());
    let _calls = [service.call((1, "one")), service.call((1, "two"))];
    assert_eq!(layer.handle().stats().joined, 1);
}

#[tokio::test(start_paused = true)]
async fn the_longest_bound_there_is_is_none() {
    let layer = by_key().join_within(Duration::MAX);
    let mut service = layer.layer(Upstream::<&str>::new());
    let _leader = service.call((1, "leader"));
    advance(Duration::from_secs(86_400)).await;
    let _newcomer = service.call((1, "newcomer"));
    assert_eq!(layer.handle().stats().joined, 1);
}

#[test]
fn a_bound_of_zero_panics_in_the_builder_and_names_the_method() {
    let text = panic_text(|| by_key().join_within(Duration::ZERO));
    assert!(text.contains("`join_within`") && text.contains("zero"), "{text}");
}
