//! `forget`: later calls do not join the flight in progress, and nothing else changes.

use crate::util::*;
use tokio_test::{assert_pending, assert_ready_eq, task};
use tower_singleflight::Group;

#[test]
fn later_calls_do_not_join_a_forgotten_flight() {
    let group = Group::new();
    let mut old = task::spawn(group.run(1, ready("old")));
    group.forget(&1);
    let mut new = task::spawn(group.run(1, ready("new")));
    assert_ready_eq!(old.poll(), led("old", false));
    assert_ready_eq!(new.poll(), led("new", false));
}

#[tokio::test]
async fn waiters_of_a_forgotten_flight_get_its_result() {
    let group = Group::new();
    let (remote, inner) = work();
    let mut leader = task::spawn(group.run(1, inner));
    let mut follower = follow(&group, 1);
    group.forget(&1);
    assert_pending!(leader.poll());
    assert_pending!(follower.poll());
    remote.land("old");
    settle().await;
    assert_ready_eq!(leader.poll(), led("old", true));
    assert_ready_eq!(follower.poll(), followed("old"));
}

#[tokio::test]
async fn landing_of_a_forgotten_flight_leaves_the_newer_one_listed() {
    let group = Group::new();
    let (remote, inner) = work();
    let mut old = task::spawn(group.run(1, inner));
    assert_pending!(old.poll());
    group.forget(&1);
    let mut new = task::spawn(group.run(1, ready("new")));
    remote.land("old");
    assert_ready_eq!(old.poll(), led("old", false));
    let mut follower = follow(&group, 1);
    settle().await;
    assert_ready_eq!(follower.poll(), followed("new"));
    assert_ready_eq!(new.poll(), led("new", true));
}

#[tokio::test]
async fn cancelling_a_forgotten_flight_leaves_the_newer_one_listed() {
    let group = Group::new();
    let old = group.run(1, never());
    group.forget(&1);
    let _new = group.run(1, ready("new"));
    drop(old);
    let mut follower = follow(&group, 1);
    settle().await;
    assert_ready_eq!(follower.poll(), followed("new"));
}

#[test]
fn a_panic_in_a_forgotten_flight_leaves_the_newer_one_listed() {
    let group = Group::new();
    let (remote, inner) = work::<&str>();
    let mut old = task::spawn(group.run(1, inner));
    assert_pending!(old.poll());
    group.forget(&1);
    let mut new = task::spawn(group.run(1, ready("new")));
    remote.panic_with("old");
    assert_eq!(panic_text(|| old.poll()), "old");
    let mut follower = follow(&group, 1);
    assert_ready_eq!(new.poll(), led("new", true));
    assert_ready_eq!(follower.poll(), followed("new"));
}

#[test]
fn a_forgotten_flight_is_in_flight_until_it_ends() {
    let group = Group::new();
    let mut old = task::spawn(group.run(1, ready("old")));
    group.forget(&1);
    assert_eq!(group.in_flight(), 1);
    let new = group.run(1, never());
    assert_eq!(group.in_flight(), 2);
    assert_ready_eq!(old.poll(), led("old", false));
    assert_eq!(group.in_flight(), 1);
    drop(new);
    assert_eq!(group.in_flight(), 0);
}

#[test]
fn forgetting_takes_off_one_flight_and_a_second_time_the_newer_one() {
    let group = Group::new();
    let flights: Vec<_> = (0..3)
        .map(|n| {
            let run = group.run(1, ready(n));
            group.forget(&1);
            run
        })
        .collect();
    for (n, run) in (0..).zip(flights) {
        assert_eq!(ready_now(task::spawn(run)), led(n, false));
    }
}

#[tokio::test]
async fn forgetting_what_is_not_there_does_nothing() {
    let group = Group::new();
    group.forget(&1);
    let _one = group.run(1, ready("one"));
    group.forget(&2);
    assert_eq!(group.run(1, never()).await, followed("one"));
}

#[test]
fn forgets_by_a_borrowed_key() {
    let group = Group::new();
    let mut old = task::spawn(group.run(String::from("key"), ready("old")));
    group.forget("key");
    let mut new = task::spawn(group.run(String::from("key"), ready("new")));
    assert_ready_eq!(new.poll(), led("new", false));
    assert_ready_eq!(old.poll(), led("old", false));
}

#[test]
fn work_may_forget_its_own_flight() {
    let group = Group::new();
    let forgetful = group.clone();
    let mut old = task::spawn(group.run(1, || async move {
        forgetful.forget(&1);
        tokio::task::yield_now().await;
        "old"
    }));
    assert_pending!(old.poll());
    let mut new = task::spawn(group.run(1, ready("new")));
    assert_ready_eq!(new.poll(), led("new", false));
    assert_ready_eq!(old.poll(), led("old", false));
}

#[tokio::test]
async fn everybody_leaves_a_forgotten_flight_and_it_is_dropped_at_once() {
    let group = Group::<u32, ()>::new();
    let (remote, inner) = work();
    let leader = group.run(1, inner);
    let follower = group.run(1, never());
    settle().await;
    group.forget(&1);
    drop(leader);
    assert_eq!(remote.drops(), 0);
    drop(follower);
    assert_eq!((remote.drops(), group.in_flight()), (1, 0));
}
