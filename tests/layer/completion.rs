//! What becomes of a flight that everybody left.

use crate::support::{Upstream, by_key, call, coalesced, result, settle};
use tokio_test::assert_pending;
use tower::{Layer, Service};

#[tokio::test]
async fn the_inner_call_is_dropped_before_the_last_waiters_drop_returns() {
    let (upstream, mut service) = coalesced();
    let mut lone = call(&mut service, (1, "lone"));
    assert_pending!(lone.poll());
    let inner = upstream.next();
    assert!(!inner.is_dropped());
    drop(lone);
    assert!(inner.is_dropped());
}

#[tokio::test]
async fn the_inner_call_of_a_shared_flight_is_dropped_then_and_there_too() {
    let (upstream, mut service) = coalesced();
    let (leader, follower) =
        (call(&mut service, (1, "leader")), call(&mut service, (1, "follower")));
    settle().await;
    let inner = upstream.next();
    drop(leader);
    assert!(!inner.is_dropped());
    drop(follower);
    assert!(inner.is_dropped());
}

#[tokio::test]
async fn nobody_joins_a_flight_that_was_cancelled() {
    let (upstream, mut service) = coalesced();
    let (leader, follower) =
        (call(&mut service, (1, "leader")), call(&mut service, (1, "follower")));
    settle().await;
    let _inner = upstream.next();
    drop((leader, follower));
    let mut newcomer = call(&mut service, (1, "newcomer"));
    assert_pending!(newcomer.poll());
    let inner = upstream.next();
    assert_eq!(inner.request, (1, "newcomer"));
    inner.answer("told");
    assert_eq!(result(&mut newcomer), Ok("told"));
}

#[tokio::test]
async fn the_key_is_free_already_while_the_inner_call_is_being_dropped() {
    let layer = by_key();
    let handle = layer.handle();
    let mut service = layer.layer(tower::service_fn(move |_| {
        let on_drop = OnDrop(Some(handle.clone()));
        async move {
            let _on_drop = on_drop;
            std::future::pending::<Result<&str, std::convert::Infallible>>().await
        }
    }));
    let mut lone = call(&mut service, (1, "lone"));
    assert_pending!(lone.poll());
    drop(lone);
    assert_eq!(layer.handle().stats().cancelled, 1);
}

struct OnDrop(Option<tower_singleflight::Handle<u32>>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        let handle = self.0.take().unwrap();
        assert_eq!((handle.in_flight(), handle.waiting()), (0, 0));
    }
}

#[tokio::test]
async fn an_inner_call_that_nobody_polled_is_never_made_when_its_leader_leaves() {
    let (upstream, mut service) = coalesced();
    drop(call(&mut service, (1, "lone")));
    settle().await;
    assert_eq!(upstream.total(), 0);
}

#[tokio::test]
async fn nobody_notices_when_the_leader_leaves() {
    let (upstream, mut service) = coalesced();
    let mut leader = call(&mut service, (1, "leader"));
    let mut follower = call(&mut service, (1, "follower"));
    assert_pending!(leader.poll());
    assert_pending!(follower.poll());
    drop(leader);
    settle().await;
    let inner = upstream.next();
    assert_eq!(inner.request, (1, "leader"));
    inner.answer("told");
    settle().await;
    assert_eq!(result(&mut follower), Ok("told"));
    assert_eq!(upstream.total(), 1);
}

#[tokio::test]
async fn nobody_notices_when_a_leader_that_was_never_polled_leaves() {
    let (upstream, mut service) = coalesced();
    let leader = service.call((1, "leader"));
    let mut follower = call(&mut service, (1, "follower"));
    drop(leader);
    assert_pending!(follower.poll());
    settle().await;
    upstream.next().answer("told");
    settle().await;
    assert_eq!(result(&mut follower), Ok("told"));
}

#[tokio::test]
async fn a_flight_that_runs_to_completion_goes_on_without_anybody() {
    let upstream = Upstream::<&str>::new();
    let layer = by_key().run_to_completion(true);
    let mut service = layer.layer(upstream.clone());
    let mut lone = call(&mut service, (1, "lone"));
    assert_pending!(lone.poll());
    let inner = upstream.next();
    drop(lone);
    settle().await;
    assert!(!inner.is_dropped());
    assert_eq!((layer.handle().in_flight(), layer.handle().waiting()), (1, 0));
    inner.answer("told");
    settle().await;
    assert_eq!(layer.handle().in_flight(), 0);
    assert_eq!(layer.handle().stats().cancelled, 0);
}

#[tokio::test]
async fn a_shared_flight_that_runs_to_completion_goes_on_without_anybody() {
    let upstream = Upstream::<&str>::new();
    let mut service = by_key().run_to_completion(true).layer(upstream.clone());
    let calls = [call(&mut service, (1, "leader")), call(&mut service, (1, "follower"))];
    settle().await;
    let inner = upstream.next();
    drop(calls);
    settle().await;
    assert!(!inner.is_dropped());
    inner.answer("told");
}

#[tokio::test]
async fn a_leader_that_leaves_unpolled_has_its_call_made_if_flights_run_to_completion() {
    let upstream = Upstream::<&str>::new();
    let mut service = by_key().run_to_completion(true).layer(upstream.clone());
    drop(service.call((1, "lone")));
    settle().await;
    assert_eq!(upstream.next().request, (1, "lone"));
}

#[tokio::test]
async fn a_newcomer_joins_an_abandoned_flight_that_runs_to_completion() {
    let upstream = Upstream::<&str>::new();
    let mut service = by_key().run_to_completion(true).layer(upstream.clone());
    let mut lone = call(&mut service, (1, "lone"));
    assert_pending!(lone.poll());
    drop(lone);
    let mut newcomer = call(&mut service, (1, "newcomer"));
    assert_pending!(newcomer.poll());
    settle().await;
    upstream.next().answer("told");
    settle().await;
    assert_eq!(result(&mut newcomer), Ok("told"));
    assert_eq!(upstream.total(), 1);
}

#[tokio::test]
async fn a_newcomer_that_leaves_again_does_not_cancel_an_abandoned_flight() {
    let upstream = Upstream::<&str>::new();
    let mut service = by_key().run_to_completion(true).layer(upstream.clone());
    drop(call(&mut service, (1, "lone")));
    drop(call(&mut service, (1, "newcomer")));
    settle().await;
    let inner = upstream.next();
    assert!(!inner.is_dropped());
    assert_eq!(inner.request, (1, "lone"));
}

#[tokio::test]
async fn run_to_completion_can_be_switched_off_again() {
    let upstream = Upstream::<&str>::new();
    let mut service =
        by_key().run_to_completion(true).run_to_completion(false).layer(upstream.clone());
    let mut lone = call(&mut service, (1, "lone"));
    assert_pending!(lone.poll());
    let inner = upstream.next();
    drop(lone);
    assert!(inner.is_dropped());
}

#[tokio::test]
async fn a_flight_goes_on_if_any_that_joined_it_wants_it_run_to_completion() {
    let upstream = Upstream::<&str>::new();
    let layer = by_key().shared_group();
    let mut leaves_it = layer.layer(upstream.clone());
    let mut wants_it = layer.clone().run_to_completion(true).layer(upstream.clone());
    drop([leaves_it.call((1, "leader")), wants_it.call((1, "follower"))]);
    settle().await;
    assert!(!upstream.next().is_dropped());
}

#[test]
fn outside_a_runtime_an_abandoned_flight_is_dropped_though_it_runs_to_completion() {
    let upstream = Upstream::<&str>::new();
    let layer = by_key().run_to_completion(true);
    let mut service = layer.layer(upstream.clone());
    let mut lone = call(&mut service, (1, "lone"));
    assert_pending!(lone.poll());
    let inner = upstream.next();
    drop(lone);
    assert!(inner.is_dropped());
    assert_eq!(layer.handle().stats().cancelled, 1);
    assert_eq!(layer.handle().in_flight(), 0);
}

#[test]
fn who_leaves_last_lends_its_runtime_to_a_flight_that_runs_to_completion() {
    let upstream = Upstream::<&str>::new();
    let mut service = by_key().run_to_completion(true).layer(upstream.clone());
    let lone = call(&mut service, (1, "lone"));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        drop(lone);
        settle().await;
        upstream.next().answer("told");
        settle().await;
    });
}

#[tokio::test(start_paused = true)]
async fn a_callers_own_timeout_ends_its_call_alone() {
    let (upstream, mut service) = coalesced();
    let leader =
        tokio::time::timeout(std::time::Duration::from_secs(1), service.call((1, "leader")));
    let follower = tokio::spawn(service.call((1, "follower")));
    assert!(leader.await.is_err());
    upstream.next().answer("told");
    assert_eq!(follower.await.unwrap(), Ok("told"));
    assert_eq!(upstream.total(), 1);
}
