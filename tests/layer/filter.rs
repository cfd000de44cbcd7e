//! Requests that pass because the filter says so.

use crate::support::{Ask, Upstream, by_key, call, result, settle};
use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};
use tokio_test::assert_pending;
use tower::{Layer, Service};
use tower_singleflight::{PassReason, SingleflightLayer};

#[tokio::test]
async fn a_request_that_the_filter_refuses_passes_though_a_flight_is_in_progress() {
    let upstream = Upstream::<&str>::new();
    let mut service = by_key().filter(|ask: &Ask| ask.1 != "apart").layer(upstream.clone());
    let mut leader = call(&mut service, (1, "leader"));
    let mut apart = call(&mut service, (1, "apart"));
    assert_pending!(leader.poll());
    assert_pending!(apart.poll());
    upstream.next().answer("for the leader");
    let inner = upstream.next();
    assert_eq!(inner.request, (1, "apart"));
    inner.answer("for it alone");
    assert_eq!(result(&mut leader), Ok("for the leader"));
    assert_eq!(result(&mut apart), Ok("for it alone"));
}

#[tokio::test]
async fn nobody_joins_a_request_that_passes() {
    let upstream = Upstream::<&str>::new();
    let layer = by_key().filter(|ask: &Ask| ask.1 != "apart");
    let mut service = layer.layer(upstream.clone());
    let mut apart = call(&mut service, (1, "apart"));
    assert_pending!(apart.poll());
    let mut leader = call(&mut service, (1, "leader"));
    assert_pending!(leader.poll());
    assert_eq!(upstream.total(), 2);
    let stats = layer.handle().stats();
    assert_eq!(
        (stats.led, stats.joined, stats.passed, stats.passed_by(PassReason::Filter)),
        (1, 0, 1, 1)
    );
    assert_eq!(layer.handle().waiting(), 1);
}

#[tokio::test]
async fn a_request_that_the_filter_lets_in_is_coalesced() {
    let upstream = Upstream::<&str>::new();
    let layer = by_key().filter(|ask: &Ask| ask.1 != "apart");
    let mut service = layer.layer(upstream.clone());
    let _calls = [call(&mut service, (1, "one")), call(&mut service, (1, "two"))];
    settle().await;
    assert_eq!(upstream.total(), 1);
    assert_eq!(layer.handle().stats().passed, 0);
}

#[tokio::test]
async fn of_several_filters_each_has_to_agree() {
    let upstream = Upstream::<&str>::new();
    let layer = by_key().filter(|ask: &Ask| ask.0 != 1).filter(|ask: &Ask| ask.0 != 2);
    let mut service = layer.layer(upstream.clone());
    let _calls = [1, 2, 3].map(|key| call(&mut service, (key, "ask")));
    let stats = layer.handle().stats();
    assert_eq!((stats.passed_by(PassReason::Filter), stats.led), (2, 1));
}

#[tokio::test]
async fn the_extractor_does_not_see_what_the_filter_refused() {
    let seen = Arc::new(AtomicUsize::new(0));
    let layer = SingleflightLayer::by_key({
        let seen = seen.clone();
        move |ask: &Ask| {
            seen.fetch_add(1, Relaxed);
            ask.0
        }
    });
    let mut service = layer.filter(|ask: &Ask| ask.1 != "apart").layer(Upstream::<&str>::new());
    drop(service.call((1, "apart")));
    assert_eq!(seen.load(Relaxed), 0);
    drop(service.call((1, "ask")));
    assert_eq!(seen.load(Relaxed), 1);
}

#[tokio::test]
async fn a_pass_that_is_dropped_drops_its_own_inner_call_only() {
    let upstream = Upstream::<&str, Infallible>::new();
    let mut service = by_key().filter(|ask: &Ask| ask.1 != "apart").layer(upstream.clone());
    let mut leader = call(&mut service, (1, "leader"));
    let mut apart = call(&mut service, (1, "apart"));
    assert_pending!(leader.poll());
    assert_pending!(apart.poll());
    let (leaders, aparts) = (upstream.next(), upstream.next());
    drop(apart);
    assert!(aparts.is_dropped());
    assert!(!leaders.is_dropped());
}
