//! What a call costs that nobody joins.
#![allow(missing_docs, reason = "a test says what it tests in its name")]

use allocation_counter::measure;
use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};
use tokio::runtime::Builder;
use tower_singleflight::Group;

/// One flight, from the call to the value, in place.
fn fly(group: &Group<u64, u64>, key: u64) {
    let mut run = pin!(group.run(key, move || async move { key + 1 }));
    let Poll::Ready(outcome) = run.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("the work is ready at once");
    };
    assert_eq!((outcome.value, outcome.shared), (key + 1, false));
}

/// One flight that is pending twice.
fn fly_slowly(group: &Group<u64, u64>, key: u64) {
    let mut polls = 0;
    let mut run = pin!(group.run(key, move || {
        std::future::poll_fn(move |_| {
            polls += 1;
            if polls == 3 { Poll::Ready(key) } else { Poll::Pending }
        })
    }));
    let mut cx = Context::from_waker(Waker::noop());
    while run.as_mut().poll(&mut cx).is_pending() {}
}

fn allocations(calls: u64, call: impl Fn(u64)) -> u64 {
    call(calls);
    let info = measure(|| (0..calls).for_each(call));
    assert_eq!(info.count_current, 0, "every allocation is freed");
    info.count_total
}

#[test]
fn a_solo_call_allocates_once() {
    let group = Group::new();
    assert!(allocations(100, |_| fly(&group, 7)) <= 100);
}

#[test]
fn a_solo_call_with_a_key_never_seen_before_allocates_once() {
    let group = Group::new();
    assert!(allocations(100, |n| fly(&group, n)) <= 100);
}

#[test]
fn a_solo_call_that_has_to_wait_allocates_once() {
    let group = Group::new();
    assert!(allocations(100, |n| fly_slowly(&group, n)) <= 100);
}

#[test]
fn a_solo_call_that_is_dropped_allocates_once() {
    let group = Group::<u64, u64>::new();
    assert!(allocations(100, |n| drop(group.run(n, std::future::pending))) <= 100);
}

#[test]
fn a_solo_call_in_a_runtime_allocates_once_and_spawns_nothing() {
    let runtime = Builder::new_current_thread().build().unwrap();
    let _inside = runtime.enter();
    let group = Group::new();
    assert!(allocations(100, |n| fly_slowly(&group, n)) <= 100);
    assert_eq!(runtime.metrics().num_alive_tasks(), 0);
}

#[test]
fn a_group_allocates_no_table_before_its_first_flight() {
    let info = measure(|| drop(Group::<u64, u64>::new()));
    assert!(info.bytes_total < 1024, "{info:?}");
}

#[test]
fn a_storm_of_keys_leaves_no_memory_behind() {
    let group = Group::<u64, u64>::new();
    fly(&group, 0);
    let info = measure(|| {
        let flights: Vec<_> = (0..10_000).map(|key| group.run(key, std::future::pending)).collect();
        assert_eq!(group.in_flight(), 10_000);
        drop(flights);
    });
    assert!(info.bytes_current < 64 * 1024, "{info:?}");
}

#[test]
fn a_waiter_that_leaves_allocates_nothing() {
    let group = Group::<u64, u64>::new();
    let _leader = group.run(1, std::future::pending);
    let mut followers: Vec<_> = (0..1000).map(|_| group.run(1, std::future::pending)).collect();
    let info = measure(|| followers.truncate(1));
    assert_eq!(info.count_total, 0);
}

#[test]
fn followers_cost_no_more_when_there_are_many() {
    let group = Group::<u64, u64>::new();
    let _leader = group.run(1, std::future::pending);
    let mut followers = Vec::with_capacity(2000);
    let mut join = || {
        measure(|| followers.extend((0..1000).map(|_| group.run(1, std::future::pending))))
            .count_total
    };
    let (first, second) = (join(), join());
    assert!(second <= first, "{first} and then {second}");
}
