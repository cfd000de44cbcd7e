//! What the layer holds of the inner service's readiness: nothing.

use crate::support::{Ask, Broken, Layered, Upstream, by_key, call, result, settle};
use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::sync::Semaphore;
use tokio_test::{assert_pending, assert_ready_ok, task::spawn};
use tower::{
    BoxError, Layer, Service, ServiceExt, buffer::Buffer, limit::ConcurrencyLimit, service_fn,
};
use tower_test::mock;

/// A coalescing service over an upstream with a limit of one call at a time, and that limit.
fn limited() -> (Upstream, Arc<Semaphore>, Layered<ConcurrencyLimit<Upstream>>) {
    let upstream = Upstream::new();
    let permits = Arc::new(Semaphore::new(1));
    let service =
        by_key().layer(ConcurrencyLimit::with_semaphore(upstream.clone(), permits.clone()));
    (upstream, permits, service)
}

#[tokio::test]
async fn a_service_is_ready_though_the_inner_one_is_not() {
    let (mut service, mut handle) = mock::spawn_layer::<Ask, &str, _>(by_key().shared_errors());
    handle.allow(0);
    assert_ready_ok!(service.poll_ready());
    let mut lone = spawn(service.call((1, "lone")));
    assert_pending!(lone.poll());
    assert_ready_ok!(service.poll_ready());
    assert_pending!(handle.poll_request());
}

#[tokio::test]
async fn a_service_is_ready_though_the_inner_one_has_failed() {
    let (mut service, mut handle) = mock::spawn_layer::<Ask, &str, _>(by_key().shared_errors());
    handle.send_error("closed");
    assert_ready_ok!(service.poll_ready());
}

#[tokio::test]
async fn the_inner_service_is_called_once_it_is_ready_and_not_before() {
    let (mut service, mut handle) = mock::spawn_layer::<Ask, &str, _>(by_key().shared_errors());
    handle.allow(0);
    let mut lone = spawn(service.call((1, "lone")));
    assert_pending!(lone.poll());
    assert_pending!(handle.poll_request());
    handle.allow(1);
    assert!(lone.is_woken());
    assert_pending!(lone.poll());
    // The mock panics if any but the clone that was readied is called.
    let (request, answer) = handle.next_request().await.unwrap();
    assert_eq!(request, (1, "lone"));
    answer.send_response("told");
    assert_eq!(result(&mut lone).unwrap(), "told");
}

#[tokio::test]
async fn a_flight_that_waits_for_readiness_goes_on_after_it_moved_to_a_task() {
    let (mut service, mut handle) = mock::spawn_layer::<Ask, &str, _>(by_key().shared_errors());
    handle.allow(0);
    let mut calls = ["leader", "follower"].map(|who| spawn(service.call((1, who))));
    for call in &mut calls {
        assert_pending!(call.poll());
    }
    settle().await;
    handle.allow(1);
    settle().await;
    assert!(calls.iter().all(|call| !call.is_woken()));
    handle.next_request().await.unwrap().1.send_response("told");
    settle().await;
    assert_eq!(calls.each_mut().map(|call| result(call).unwrap()), ["told"; 2]);
}

#[tokio::test]
async fn a_follower_readies_nothing_and_calls_nothing() {
    let (mut service, mut handle) = mock::spawn_layer::<Ask, &str, _>(by_key().shared_errors());
    handle.allow(1);
    let mut calls = ["one", "two", "three"].map(|who| spawn(service.call((1, who))));
    for call in &mut calls {
        assert_pending!(call.poll());
    }
    settle().await;
    handle.next_request().await.unwrap().1.send_response("told");
    settle().await;
    assert_eq!(calls.each_mut().map(|call| result(call).unwrap()), ["told"; 3]);
    assert_pending!(handle.poll_request());
}

#[tokio::test]
async fn an_error_of_the_inner_services_readiness_reaches_every_waiter() {
    let (mut service, mut handle) = mock::spawn_layer::<Ask, &str, _>(by_key().shared_errors());
    handle.allow(0);
    let mut calls = ["one", "two", "three"].map(|who| spawn(service.call((1, who))));
    for call in &mut calls {
        assert_pending!(call.poll());
    }
    settle().await;
    handle.send_error(Broken("closed"));
    settle().await;
    for call in &mut calls {
        assert!(call.is_woken());
        assert_eq!(result(call).unwrap_err().downcast_ref(), Some(&Broken("closed")));
    }
    assert_pending!(handle.poll_request());
}

#[tokio::test]
async fn a_call_after_an_error_of_readiness_tries_again() {
    let (mut service, mut handle) = mock::spawn_layer::<Ask, &str, _>(by_key().shared_errors());
    handle.send_error("closed");
    assert!(result(&mut spawn(service.call((1, "one")))).is_err());
    let mut again = spawn(service.call((1, "two")));
    assert_pending!(again.poll());
    handle.next_request().await.unwrap().1.send_response("told");
    assert_eq!(result(&mut again).unwrap(), "told");
}

#[tokio::test]
async fn a_service_that_is_readied_and_kept_holds_no_permit() {
    let (_upstream, permits, mut service) = limited();
    let mut kept: Vec<_> = (0..10).map(|_| service.clone()).collect();
    for service in &mut kept {
        service.ready().await.unwrap();
    }
    service.ready().await.unwrap();
    assert_eq!(permits.available_permits(), 1);
}

#[tokio::test]
async fn a_flight_holds_one_permit_and_its_followers_none() {
    let (upstream, permits, mut service) = limited();
    permits.add_permits(9);
    let mut calls: Vec<_> = (0..10).map(|_| call(&mut service.clone(), (1, "ask"))).collect();
    assert_eq!(permits.available_permits(), 10);
    for call in &mut calls {
        assert_pending!(call.poll());
    }
    settle().await;
    assert_eq!(permits.available_permits(), 9);
    let mut other = call(&mut service, (2, "other"));
    assert_pending!(other.poll());
    assert_eq!(upstream.total(), 2);
}

#[tokio::test]
async fn the_permit_is_back_before_the_result_is_taken() {
    let (upstream, permits, mut service) = limited();
    let mut calls = ["one", "two"].map(|who| call(&mut service, (1, who)));
    settle().await;
    assert_eq!(permits.available_permits(), 0);
    upstream.next().answer("told");
    settle().await;
    assert_eq!(permits.available_permits(), 1);
    assert_eq!(calls.each_mut().map(|call| result(call).unwrap()), ["told"; 2]);
}

#[tokio::test]
async fn kept_services_hold_no_permit_after_their_calls() {
    let (upstream, permits, service) = limited();
    let mut kept: Vec<_> = (0..10).map(|_| service.clone()).collect();
    let mut calls: Vec<_> = kept.iter_mut().map(|service| call(service, (1, "ask"))).collect();
    settle().await;
    upstream.next().answer("told");
    settle().await;
    for call in &mut calls {
        assert_eq!(result(call), Ok("told"));
    }
    assert_eq!(permits.available_permits(), 1);
    // Each can be used for a next request, in turn.
    for service in &mut kept {
        let mut next = call(service, (1, "next"));
        assert_pending!(next.poll());
        upstream.next().answer("again");
        assert_eq!(result(&mut next), Ok("again"));
    }
}

#[tokio::test]
async fn followers_beyond_the_limit_do_not_wait_for_permits() {
    let (upstream, _permits, mut service) = limited();
    let mut calls: Vec<_> = (0..50).map(|_| call(&mut service, (1, "ask"))).collect();
    settle().await;
    upstream.next().answer("told");
    settle().await;
    assert!(calls.iter_mut().all(|call| result(call) == Ok("told")));
}

#[tokio::test]
async fn a_flight_that_waits_for_a_permit_is_joined_and_leaves_the_queue_when_it_is_cancelled() {
    let (upstream, permits, mut service) = limited();
    let mut first = call(&mut service, (1, "first"));
    assert_pending!(first.poll());
    let [queued, joined] = ["queued", "joined"].map(|who| call(&mut service, (2, who)));
    settle().await;
    assert_eq!(upstream.total(), 1);
    drop((queued, joined));
    let mut last = call(&mut service, (3, "last"));
    assert_pending!(last.poll());
    upstream.next().answer("told");
    assert_eq!(result(&mut first), Ok("told"));
    assert!(last.is_woken());
    assert_pending!(last.poll());
    assert_eq!(upstream.next().request, (3, "last"));
    drop(last);
    assert_eq!(permits.available_permits(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_impatient_last_follower_gives_the_flights_permit_back_before_it_asks_for_its_own() {
    let patience = std::time::Duration::from_secs(1);
    let upstream = Upstream::<&str>::new();
    let mut service =
        by_key().wait_at_most(patience).layer(ConcurrencyLimit::new(upstream.clone(), 1));
    let leader = call(&mut service, (1, "leader"));
    let mut follower = call(&mut service, (1, "follower"));
    settle().await;
    let _hung = upstream.next();
    drop(leader);
    tokio::time::advance(patience).await;
    assert_pending!(follower.poll());
    upstream.next().answer("its own");
    assert_eq!(result(&mut follower), Ok("its own"));
}

#[test]
fn a_lost_flight_gives_its_permit_back_to_who_leads_anew() {
    let (upstream, permits, mut service) = limited();
    let runtime = || tokio::runtime::Builder::new_current_thread().build().unwrap();
    let [_leader, mut follower] = runtime().block_on(async {
        let calls = ["leader", "follower"].map(|who| call(&mut service, (1, who)));
        settle().await;
        calls
    });
    assert!(upstream.next().is_dropped());
    assert_eq!(permits.available_permits(), 1);
    runtime().block_on(async {
        assert_pending!(follower.poll());
        settle().await;
        upstream.next().answer("told");
        settle().await;
        assert_eq!(result(&mut follower), Ok("told"));
    });
}

/// A buffer with one slot over an upstream.
fn buffered() -> (Upstream, Buffer<Ask, <Upstream as Service<Ask>>::Future>) {
    let upstream = Upstream::new();
    (upstream.clone(), Buffer::new(upstream, 1))
}

#[tokio::test]
async fn a_service_that_is_readied_and_kept_holds_no_slot_of_a_buffer() {
    let (_upstream, buffer) = buffered();
    let service = by_key().shared_errors().layer(buffer.clone());
    let mut kept: Vec<_> = (0..10).map(|_| service.clone()).collect();
    for service in &mut kept {
        service.ready().await.unwrap();
    }
    let mut direct = spawn(buffer);
    assert_ready_ok!(direct.enter(|cx, mut buffer| buffer.poll_ready(cx)));
}

#[tokio::test]
async fn followers_hold_no_slot_of_a_buffer_and_neither_do_services_that_made_calls() {
    let (upstream, buffer) = buffered();
    let service = by_key().shared_errors().layer(buffer.clone());
    let mut kept: Vec<_> = (0..10).map(|_| service.clone()).collect();
    let mut calls: Vec<_> = kept.iter_mut().map(|service| call(service, (1, "ask"))).collect();
    for call in &mut calls {
        assert_pending!(call.poll());
    }
    settle().await;
    let mut direct = spawn(buffer);
    assert_ready_ok!(direct.enter(|cx, mut buffer| buffer.poll_ready(cx)));
    drop(direct);
    upstream.next().answer("told");
    settle().await;
    for call in &mut calls {
        assert_eq!(result(call).unwrap(), "told");
    }
    assert_eq!(upstream.total(), 1);

    let mut next = call(&mut kept[3], (1, "next"));
    assert_pending!(next.poll());
    settle().await;
    upstream.next().answer("again");
    settle().await;
    assert_eq!(result(&mut next).unwrap(), "again");
}

#[tokio::test]
async fn the_error_of_a_buffer_whose_worker_died_reaches_every_waiter() {
    let mut service = by_key().shared_errors().layer(Buffer::new(Dies, 1));
    let mut calls = ["one", "two", "three"].map(|who| call(&mut service, (1, who)));
    settle().await;
    for call in &mut calls {
        let error = result(call).unwrap_err();
        assert!(error.to_string().contains("worn out"), "{error}");
    }
}

/// Fails as it is readied.
struct Dies;

impl Service<Ask> for Dies {
    type Response = &'static str;
    type Error = BoxError;
    type Future = std::future::Pending<Result<&'static str, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Err("worn out".into()))
    }

    fn call(&mut self, _: Ask) -> Self::Future {
        unreachable!("it is never ready")
    }
}

#[tokio::test]
async fn a_pass_readies_its_own_clone_too() {
    let layer = by_key().shared_errors().filter(|_: &Ask| false);
    let (mut service, mut handle) = mock::spawn_layer::<Ask, &str, _>(layer);
    handle.allow(0);
    let mut pass = spawn(service.call((1, "apart")));
    assert_pending!(pass.poll());
    handle.allow(1);
    assert!(pass.is_woken());
    assert_pending!(pass.poll());
    handle.next_request().await.unwrap().1.send_response("told");
    assert_eq!(result(&mut pass).unwrap(), "told");
}

#[tokio::test]
async fn a_service_can_be_called_without_being_readied() {
    let mut service =
        by_key().layer(service_fn(|ask: Ask| async move { Ok::<_, Infallible>(ask.1) }));
    assert_eq!(service.call((1, "ask")).await, Ok("ask"));
}
