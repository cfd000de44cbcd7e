//! One inner call for all calls with one key.

use crate::support::{Ask, Layered, Upstream, by_key, call, coalesced, result, settle};
use std::convert::Infallible;
use tokio_test::{assert_pending, task::spawn};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_singleflight::SingleflightLayer;

#[tokio::test]
async fn ten_calls_with_one_key_are_one_inner_call_and_ten_results() {
    let (upstream, service) = coalesced();
    let mut calls: Vec<_> = (0..10).map(|_| call(&mut service.clone(), (1, "ask"))).collect();
    for call in &mut calls {
        assert_pending!(call.poll());
    }
    settle().await;
    upstream.next().answer("told");
    settle().await;
    for call in &mut calls {
        assert!(call.is_woken());
        assert_eq!(result(call), Ok("told"));
    }
    assert_eq!(upstream.total(), 1);
}

#[tokio::test]
async fn a_lone_call_is_the_inner_call() {
    let (upstream, mut service) = coalesced();
    let mut lone = call(&mut service, (1, "lone"));
    assert_pending!(lone.poll());
    let inner = upstream.next();
    assert_eq!(inner.request, (1, "lone"));
    inner.answer("told");
    assert!(lone.is_woken());
    assert_eq!(result(&mut lone), Ok("told"));
}

#[tokio::test]
async fn distinct_keys_stay_apart() {
    let (upstream, mut service) = coalesced();
    let (mut one, mut two) = (call(&mut service, (1, "one")), call(&mut service, (2, "two")));
    assert_pending!(one.poll());
    assert_pending!(two.poll());
    upstream.next().answer("first");
    assert_eq!(result(&mut one), Ok("first"));
    assert_pending!(two.poll());
    upstream.next().answer("second");
    assert_eq!(result(&mut two), Ok("second"));
}

#[tokio::test]
async fn the_leaders_request_is_the_one_that_is_sent() {
    let (upstream, mut service) = coalesced();
    let _leader = call(&mut service, (1, "leader"));
    let mut follower = call(&mut service, (1, "follower"));
    assert_pending!(follower.poll());
    settle().await;
    assert_eq!(upstream.next().request, (1, "leader"));
}

#[tokio::test]
async fn a_call_after_the_landing_leads_a_flight_of_its_own() {
    let (upstream, mut service) = coalesced();
    for answer in ["first", "second"] {
        let mut lone = call(&mut service, (1, "ask"));
        assert_pending!(lone.poll());
        upstream.next().answer(answer);
        assert_eq!(result(&mut lone), Ok(answer));
    }
    assert_eq!(upstream.total(), 2);
}

#[tokio::test]
async fn a_call_after_the_landing_joins_nothing_though_a_follower_has_not_taken_its_result() {
    let (upstream, mut service) = coalesced();
    let mut leader = call(&mut service, (1, "leader"));
    let mut slow = call(&mut service, (1, "follower"));
    settle().await;
    upstream.next().answer("first");
    settle().await;
    assert_eq!(result(&mut leader), Ok("first"));

    let mut late = call(&mut service, (1, "late"));
    assert_pending!(late.poll());
    upstream.next().answer("second");
    assert_eq!(result(&mut late), Ok("second"));
    assert_eq!(result(&mut slow), Ok("first"));
}

#[tokio::test]
async fn who_leads_is_settled_when_called_and_not_when_polled() {
    let (upstream, mut service) = coalesced();
    let mut first = call(&mut service, (1, "first"));
    let mut second = call(&mut service, (1, "second"));
    assert_pending!(second.poll());
    assert_pending!(first.poll());
    settle().await;
    assert_eq!(upstream.next().request, (1, "first"));
}

#[tokio::test]
async fn a_call_that_was_never_polled_has_joined_by_then() {
    let (upstream, mut service) = coalesced();
    let mut leader = call(&mut service, (1, "leader"));
    let mut follower = call(&mut service, (1, "follower"));
    assert_pending!(leader.poll());
    settle().await;
    upstream.next().answer("told");
    settle().await;
    assert_eq!(result(&mut leader), Ok("told"));
    assert_eq!(result(&mut follower), Ok("told"));
    assert_eq!(upstream.total(), 1);
}

#[tokio::test]
async fn a_lone_call_starts_nothing_before_it_is_polled() {
    let (upstream, mut service) = coalesced();
    let lone = call(&mut service, (1, "lone"));
    settle().await;
    assert_eq!(upstream.total(), 0);
    drop(lone);
    settle().await;
    assert_eq!(upstream.total(), 0);
}

#[tokio::test]
async fn it_stands_in_a_service_builder_stack_without_http() {
    let lookup = ServiceBuilder::new()
        .layer(SingleflightLayer::by_key(|id: &u32| *id))
        .map_response(|name: String| name.len())
        .service_fn(|id: u32| async move {
            tokio::task::yield_now().await;
            Ok::<_, Infallible>(format!("user {id}"))
        });
    let (one, two) = tokio::join!(lookup.clone().oneshot(7), lookup.oneshot(7));
    assert_eq!((one, two), (Ok(6), Ok(6)));
}

#[tokio::test]
async fn it_can_be_boxed_and_cloned_as_any_service() {
    let upstream = Upstream::<&str>::new();
    let boxed = ServiceBuilder::new().boxed_clone().layer(by_key()).service(upstream.clone());
    let (mut one, mut two) =
        (spawn(boxed.clone().oneshot((1, "one"))), spawn(boxed.oneshot((1, "two"))));
    assert_pending!(one.poll());
    assert_pending!(two.poll());
    settle().await;
    upstream.next().answer("told");
    settle().await;
    assert_eq!((one.await, two.await), (Ok("told"), Ok("told")));
}

#[tokio::test]
async fn a_clone_of_the_service_uses_the_same_flights() {
    let (upstream, mut service) = coalesced();
    let mut clone = service.clone();
    let mut leader = call(&mut clone, (1, "leader"));
    let mut follower = call(&mut service, (1, "follower"));
    drop((service, clone));
    settle().await;
    upstream.next().answer("told");
    settle().await;
    assert_eq!((result(&mut leader), result(&mut follower)), (Ok("told"), Ok("told")));
    assert_eq!(upstream.total(), 1);
}

#[tokio::test]
async fn a_clone_of_the_layer_makes_services_as_the_layer_does() {
    let upstream = Upstream::<&str>::new();
    let layer = by_key().max_waiters(1);
    let mut service = layer.clone().layer(upstream.clone());
    let _calls =
        [call(&mut service, (1, "one")), call(&mut service, (1, "two"))].map(|mut call| {
            assert_pending!(call.poll());
            call
        });
    assert_eq!(upstream.total(), 2);
}

#[test]
fn the_inner_service_can_be_seen_and_taken_out() {
    let mut service = SingleflightLayer::by_key(|id: &u32| *id).layer(Fixed("inner"));
    assert_eq!(service.get_ref(), &Fixed("inner"));
    service.get_mut().0 = "changed";
    assert_eq!(service.into_inner(), Fixed("changed"));
}

#[tokio::test]
async fn a_change_through_get_mut_is_for_later_calls_of_this_value_only() {
    let mut service = SingleflightLayer::by_key(|id: &u32| *id).layer(Fixed("before"));
    let mut clone = service.clone();
    let mut earlier = call(&mut service, 1);
    service.get_mut().0 = "after";
    let mut later = call(&mut service, 2);
    let mut clones = call(&mut clone, 3);
    assert_eq!(result(&mut earlier), Ok("before"));
    assert_eq!(result(&mut later), Ok("after"));
    assert_eq!(result(&mut clones), Ok("before"));
}

#[test]
fn debug_shows_the_inner_service_and_the_settings() {
    let layer = by_key().name("users").max_waiters(7);
    let service: Layered<Upstream> = layer.layer(Upstream::new());
    let layer = format!("{layer:?}");
    assert!(layer.contains("users") && layer.contains("max_waiters: 7"), "{layer}");
    let service = format!("{service:?}");
    assert!(service.contains("Upstream") && service.contains("users"), "{service}");
}

#[tokio::test]
async fn debug_of_a_call_says_whether_it_waits_or_passes() {
    let upstream = Upstream::<&str>::new();
    let mut service = by_key().filter(|ask: &Ask| ask.1 != "apart").layer(upstream);
    let waiting = service.call((1, "ask"));
    assert!(format!("{waiting:?}").contains("waiting"), "{waiting:?}");
    let passing = service.call((1, "apart"));
    assert!(format!("{passing:?}").contains("passing"), "{passing:?}");
}

#[tokio::test]
async fn the_service_needs_no_named_future() {
    let mut service =
        by_key().layer(service_fn(|ask: Ask| async move { Ok::<_, Infallible>(ask.1) }));
    assert_eq!(service.ready().await.unwrap().call((1, "ask")).await, Ok("ask"));
}

/// Answers with what it holds.
#[derive(Clone, Debug, PartialEq)]
struct Fixed(&'static str);

impl Service<u32> for Fixed {
    type Response = &'static str;
    type Error = Infallible;
    type Future = std::future::Ready<Result<&'static str, Infallible>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: u32) -> Self::Future {
        std::future::ready(Ok(self.0))
    }
}
