//! How many callers a flight takes.

use crate::support::{Upstream, by_key, call, panic_text, result, settle};
use tokio_test::assert_pending;
use tower::{Layer, Service};

#[tokio::test]
async fn the_leader_counts_and_the_next_arrival_leads_a_new_flight() {
    let upstream = Upstream::<&str>::new();
    let layer = by_key().max_waiters(2);
    let mut service = layer.layer(upstream.clone());
    let _calls = ["leader", "follower", "next"].map(|who| service.call((1, who)));
    let stats = layer.handle().stats();
    assert_eq!((stats.led, stats.joined, stats.in_flight, stats.waiting), (2, 1, 2, 3));
}

#[tokio::test]
async fn a_new_flight_takes_those_who_come_later_and_each_gets_its_own_result() {
    let upstream = Upstream::<&str>::new();
    let mut service = by_key().max_waiters(2).layer(upstream.clone());
    let mut calls = ["one", "two", "three", "four"].map(|who| call(&mut service, (1, who)));
    settle().await;
    let (first, second) = (upstream.next(), upstream.next());
    assert_eq!((first.request.1, second.request.1), ("one", "three"));
    first.answer("first");
    second.answer("second");
    settle().await;
    let results = calls.each_mut().map(|call| result(call).unwrap());
    assert_eq!(results, ["first", "first", "second", "second"]);
    assert_eq!(upstream.total(), 2);
}

#[tokio::test]
async fn a_seat_that_is_left_can_be_taken_again() {
    let upstream = Upstream::<&str>::new();
    let layer = by_key().max_waiters(2);
    let mut service = layer.layer(upstream.clone());
    let _leader = service.call((1, "leader"));
    drop(service.call((1, "follower")));
    let _newcomer = service.call((1, "newcomer"));
    let stats = layer.handle().stats();
    assert_eq!((stats.led, stats.joined), (1, 2));
}

#[tokio::test]
async fn a_full_flight_that_was_replaced_takes_nobody_even_when_a_seat_is_left() {
    let upstream = Upstream::<&str>::new();
    let layer = by_key().max_waiters(2);
    let mut service = layer.layer(upstream.clone());
    let [_one, two, _three] = ["one", "two", "three"].map(|who| service.call((1, who)));
    drop(two);
    let _four = service.call((1, "four"));
    let _five = service.call((1, "five"));
    let stats = layer.handle().stats();
    assert_eq!((stats.led, stats.joined), (3, 2));
}

#[tokio::test]
async fn with_one_nothing_is_coalesced() {
    let upstream = Upstream::<&str>::new();
    let layer = by_key().max_waiters(1);
    let mut service = layer.layer(upstream.clone());
    let mut calls = ["one", "two", "three"].map(|who| call(&mut service, (1, who)));
    for call in &mut calls {
        assert_pending!(call.poll());
    }
    for answer in ["first", "second", "third"] {
        upstream.next().answer(answer);
    }
    assert_eq!(calls.each_mut().map(|call| result(call).unwrap()), ["first", "second", "third"]);
    assert_eq!(layer.handle().stats().joined, 0);
}

#[tokio::test]
async fn the_landing_of_a_full_flight_leaves_the_new_one_joinable() {
    let upstream = Upstream::<&str>::new();
    let layer = by_key().max_waiters(2);
    let mut service = layer.layer(upstream.clone());
    let mut calls = ["one", "two", "three"].map(|who| call(&mut service, (1, who)));
    settle().await;
    upstream.next().answer("first");
    settle().await;
    assert_eq!(result(&mut calls[0]), Ok("first"));
    let _four = service.call((1, "four"));
    let stats = layer.handle().stats();
    assert_eq!((stats.led, stats.joined), (2, 2));
}

#[tokio::test]
async fn by_default_there_is_no_limit() {
    let upstream = Upstream::<&str>::new();
    let layer = by_key();
    let mut service = layer.layer(upstream.clone());
    let _calls: Vec<_> = (0..1_000).map(|_| service.call((1, "ask"))).collect();
    assert_eq!((layer.handle().in_flight(), layer.handle().waiting()), (1, 1_000));
}

#[test]
fn a_limit_of_zero_panics_in_the_builder_and_names_the_method() {
    let text = panic_text(|| by_key().max_waiters(0));
    assert!(text.contains("`max_waiters`") && text.contains("zero"), "{text}");
}
