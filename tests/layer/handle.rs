//! What a handle sees, and what it steers.

use crate::support::{Ask, Upstream, by_key, call, coalesced, panic_text, result, settle};
use std::convert::Infallible;
use tokio_test::assert_pending;
use tower::{Layer, Service, service_fn};
use tower_singleflight::{PassReason, SingleflightLayer, Stats, VetoReason};

#[tokio::test]
async fn a_call_after_forget_leads_and_the_old_waiters_get_the_old_result() {
    let upstream = Upstream::<&str>::new();
    let layer = by_key();
    let mut service = layer.layer(upstream.clone());
    let mut old = call(&mut service, (1, "old"));
    let mut follower = call(&mut service, (1, "follower"));
    settle().await;
    layer.handle().forget(&1);
    let mut new = call(&mut service, (1, "new"));
    assert_pending!(new.poll());
    upstream.next().answer("before");
    settle().await;
    assert_eq!((result(&mut old), result(&mut follower)), (Ok("before"), Ok("before")));
    assert_pending!(new.poll());
    upstream.next().answer("after");
    assert_eq!(result(&mut new), Ok("after"));
}

#[tokio::test]
async fn the_landing_of_a_forgotten_flight_leaves_the_new_one_joinable() {
    let upstream = Upstream::<&str>::new();
    let layer = by_key();
    let mut service = layer.layer(upstream.clone());
    let mut old = call(&mut service, (1, "old"));
    assert_pending!(old.poll());
    layer.handle().forget(&1);
    let _new = service.call((1, "new"));
    upstream.next().answer("before");
    assert_eq!(result(&mut old), Ok("before"));
    let _later = service.call((1, "later"));
    let stats = layer.handle().stats();
    assert_eq!((stats.led, stats.joined), (2, 1));
}

#[tokio::test]
async fn the_end_of_a_forgotten_flight_that_is_cancelled_leaves_the_new_one_joinable() {
    let layer = by_key();
    let mut service = layer.layer(Upstream::<&str>::new());
    let old = service.call((1, "old"));
    layer.handle().forget(&1);
    let _new = service.call((1, "new"));
    drop(old);
    let _later = service.call((1, "later"));
    assert_eq!(layer.handle().stats().joined, 1);
}

#[tokio::test]
async fn forget_takes_the_key_in_borrowed_form() {
    let layer = SingleflightLayer::by_key(|ask: &Ask| String::from(ask.1));
    let mut service = layer.layer(Upstream::<&str>::new());
    let _calls = [service.call((1, "alice")), service.call((1, "bob"))];
    layer.handle().forget("alice");
    let _calls = [service.call((1, "alice")), service.call((1, "bob"))];
    let stats = layer.handle().stats();
    assert_eq!((stats.led, stats.joined), (3, 1));
}

#[tokio::test]
async fn forget_reaches_services_made_before_and_after_the_handle() {
    for layer in [by_key().separate_groups(), by_key().shared_group()] {
        let mut before = layer.layer(Upstream::<&str>::new());
        let handle = layer.handle();
        let mut after = layer.clone().layer(Upstream::<u64>::new());
        let _calls = (before.call((1, "before")), after.call((1, "after")));
        handle.forget(&1);
        let _calls = (before.call((1, "before")), after.call((1, "after")));
        let stats = handle.stats();
        assert_eq!((stats.led, stats.joined), (4, 0));
    }
}

#[tokio::test]
async fn forget_of_a_key_that_is_not_in_flight_changes_nothing() {
    let layer = by_key();
    layer.handle().forget(&1);
    let mut service = layer.layer(Upstream::<&str>::new());
    layer.handle().forget(&1);
    let _leader = service.call((1, "leader"));
    layer.handle().forget(&2);
    let _follower = service.call((1, "follower"));
    assert_eq!(layer.handle().stats().joined, 1);
}

#[tokio::test]
async fn forgotten_flights_count_as_in_flight_and_their_waiters_as_waiting() {
    let upstream = Upstream::<&str>::new();
    let layer = by_key();
    let handle = layer.handle();
    let mut service = layer.layer(upstream.clone());
    let mut old = call(&mut service, (1, "old"));
    assert_pending!(old.poll());
    handle.forget(&1);
    handle.forget(&1);
    assert_eq!((handle.in_flight(), handle.waiting()), (1, 1));
    let new = service.call((1, "new"));
    assert_eq!((handle.in_flight(), handle.waiting()), (2, 2));
    upstream.next().answer("told");
    assert_eq!(result(&mut old), Ok("told"));
    assert_eq!((handle.in_flight(), handle.waiting()), (1, 1));
    drop(new);
    assert_eq!((handle.in_flight(), handle.waiting()), (0, 0));
}

#[tokio::test]
async fn waiting_counts_leaders_and_followers_until_the_landing() {
    let upstream = Upstream::<&str>::new();
    let layer = by_key();
    let handle = layer.handle();
    let mut service = layer.layer(upstream.clone());
    let mut calls = ["one", "two", "three"].map(|who| call(&mut service, (1, who)));
    assert_eq!((handle.in_flight(), handle.waiting()), (1, 3));
    settle().await;
    upstream.next().answer("told");
    settle().await;
    assert_eq!((handle.in_flight(), handle.waiting()), (0, 0));
    assert_eq!(result(&mut calls[2]), Ok("told"));
    drop(calls);
    assert_eq!((handle.in_flight(), handle.waiting()), (0, 0));
}

#[tokio::test]
async fn a_handle_and_its_clones_outlive_layer_and_services() {
    let upstream = Upstream::<&str>::new();
    let layer = by_key();
    let handle = layer.handle().clone();
    let mut service = layer.layer(upstream.clone());
    let leader = service.call((1, "leader"));
    drop((layer, service));
    assert_eq!(handle.in_flight(), 1);
    handle.forget(&1);
    drop(leader);
    assert_eq!((handle.in_flight(), handle.stats().led), (0, 1));
}

#[test]
fn a_fresh_handle_has_counted_nothing() {
    let stats = by_key().handle().stats();
    assert_eq!(stats, Stats::default());
    assert!(PassReason::ALL.iter().all(|reason| stats.passed_by(*reason) == 0));
    assert!(VetoReason::ALL.iter().all(|reason| stats.vetoed_by(*reason) == 0));
}

#[tokio::test]
async fn led_and_joined_count_each_call_once() {
    let upstream = Upstream::<&str>::new();
    let layer = by_key();
    let mut service = layer.layer(upstream.clone());
    let mut calls = ["one", "two", "three"].map(|who| call(&mut service, (1, who)));
    let _other = service.call((2, "other"));
    settle().await;
    upstream.next().answer("told");
    settle().await;
    for call in &mut calls {
        assert_eq!(result(call), Ok("told"));
    }
    let expected = (2, 2, 0, 0, 0, 0);
    let stats = layer.handle().stats();
    assert_eq!(
        (stats.led, stats.joined, stats.passed, stats.cancelled, stats.panicked, stats.lost),
        expected
    );
}

#[tokio::test(start_paused = true)]
async fn passes_are_counted_by_reason_and_in_sum() {
    let layer = by_key().filter(|ask: &Ask| ask.1 != "apart");
    let mut service = layer.layer(Upstream::<&str>::new());
    let _apart = [service.call((1, "apart")), service.call((1, "apart"))];
    let _leader = service.call((1, "leader"));
    let _follower = call(&mut service, (1, "follower"));
    layer.handle().set_enabled(false);
    let _off = service.call((1, "off"));
    let stats = layer.handle().stats();
    assert_eq!(
        (stats.passed_by(PassReason::Filter), stats.passed_by(PassReason::Disabled)),
        (2, 1)
    );
    assert_eq!((stats.passed_by(PassReason::Reentrant), stats.passed), (0, 3));
}

#[tokio::test]
async fn cancelled_counts_flights_and_not_waiters() {
    let layer = by_key();
    let mut service = layer.layer(Upstream::<&str>::new());
    drop([service.call((1, "one")), service.call((1, "two"))]);
    drop(service.call((2, "other")));
    assert_eq!(layer.handle().stats().cancelled, 2);
}

#[tokio::test]
async fn panicked_counts_flights_and_not_waiters() {
    let layer = by_key();
    let mut service =
        layer.layer(service_fn(|_: Ask| async { panic!("ouch") as Result<(), Infallible> }));
    let mut calls = [call(&mut service, (1, "one")), call(&mut service, (1, "two"))];
    settle().await;
    for call in &mut calls {
        assert_eq!(panic_text(|| call.poll()), "ouch");
    }
    let stats = layer.handle().stats();
    assert_eq!((stats.panicked, stats.in_flight, stats.waiting), (1, 0, 0));
}

#[test]
fn debug_shows_what_was_counted() {
    let layer = by_key();
    let mut service = layer.layer(Upstream::<&str>::new());
    let _leader = service.call((1, "leader"));
    let handle = format!("{:?}", layer.handle());
    assert!(handle.contains("Handle") && handle.contains("led: 1, joined: 0"), "{handle}");
}

#[tokio::test]
async fn the_handle_of_a_layer_sees_nothing_of_another() {
    let (_upstream, mut service) = coalesced();
    let other = by_key().handle();
    let _leader = service.call((1, "leader"));
    other.forget(&1);
    let follower = service.call((1, "follower"));
    drop(follower);
    assert_eq!(other.stats(), Stats::default());
}

#[tokio::test]
async fn reasons_read_as_words() {
    assert_eq!(PassReason::Patience.to_string(), "patience");
    assert_eq!(VetoReason::SetCookie.as_str(), "set-cookie");
}
