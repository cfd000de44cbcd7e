//! A call joins or leads when it is made, not when it is first polled.

use crate::util::*;
use tokio_test::{assert_pending, assert_ready_eq, task};
use tower_singleflight::Group;

#[tokio::test]
async fn first_call_leads_though_the_second_is_polled_first() {
    let group = Group::new();
    let (remote, inner) = work();
    let mut first = task::spawn(group.run(1, inner));
    let mut second = follow(&group, 1);
    assert_pending!(second.poll());
    remote.land("first");
    settle().await;
    assert_ready_eq!(second.poll(), followed("first"));
    assert_ready_eq!(first.poll(), led("first", true));
}

#[tokio::test]
async fn a_call_opens_its_flight_before_any_poll() {
    let group = Group::new();
    let run = group.run(1, ready("one"));
    assert_eq!(group.in_flight(), 1);
    drop(run);
    assert_eq!(group.in_flight(), 0);
}

#[tokio::test]
async fn a_call_made_before_landing_gets_the_value_though_first_polled_long_after() {
    let group = Group::new();
    let (remote, inner) = work();
    let mut leader = task::spawn(group.run(1, inner));
    let mut late = follow(&group, 1);
    remote.land("old");
    settle().await;
    assert_ready_eq!(leader.poll(), led("old", true));
    assert_eq!(ready_now(task::spawn(group.run(1, ready("new")))), led("new", false));
    assert_ready_eq!(late.poll(), followed("old"));
}

#[tokio::test]
async fn a_call_made_after_landing_leads_though_others_have_not_taken_the_value() {
    let group = Group::new();
    let (remote, inner) = work();
    let _leader = task::spawn(group.run(1, inner));
    let mut follower = follow(&group, 1);
    remote.land("old");
    settle().await;
    assert_eq!(group.in_flight(), 0);
    let mut newcomer = task::spawn(group.run(1, ready("new")));
    assert_ready_eq!(newcomer.poll(), led("new", false));
    assert_ready_eq!(follower.poll(), followed("old"));
}

#[test]
fn a_sole_caller_starts_the_work_when_it_is_first_polled() {
    let group = Group::<u32, ()>::new();
    let (remote, inner) = work();
    let mut run = task::spawn(group.run(1, inner));
    assert_eq!(remote.calls(), 0);
    assert_pending!(run.poll());
    assert_eq!(remote.calls(), 1);
}

#[tokio::test]
async fn a_second_caller_starts_the_work_though_nobody_is_polled() {
    let group = Group::<u32, ()>::new();
    let (remote, inner) = work();
    let _first = group.run(1, inner);
    let _second = group.run(1, never());
    settle().await;
    assert_eq!(remote.polls(), 1);
}

#[test]
fn one_after_the_other_each_leads() {
    let group = Group::new();
    for n in 0..3 {
        assert_eq!(ready_now(task::spawn(group.run(1, ready(n)))), led(n, false));
    }
}

#[test]
fn keys_never_wait_for_one_another() {
    let group = Group::new();
    let mut slow = task::spawn(group.run(1, std::future::pending::<&str>));
    assert_pending!(slow.poll());
    assert_eq!(ready_now(task::spawn(group.run(2, ready("two")))), led("two", false));
    assert_pending!(slow.poll());
}

#[test]
fn keys_with_one_hash_are_told_apart() {
    let group = Group::with_hasher(Colliding);
    let mut runs: Vec<_> =
        (0..100_u32).map(|key| task::spawn(group.run(key, ready(key)))).collect();
    assert_eq!(group.in_flight(), 100);
    for (key, run) in (0..).zip(&mut runs) {
        assert_ready_eq!(run.poll(), led(key, false));
    }
    assert_eq!(group.in_flight(), 0);
}

#[test]
fn a_clone_is_the_same_group() {
    let group = Group::new();
    let mut leader = task::spawn(group.clone().run(1, ready("one")));
    let mut follower = follow(&group, 1);
    assert_ready_eq!(leader.poll(), led("one", true));
    assert_ready_eq!(follower.poll(), followed("one"));
}

#[test]
fn groups_are_apart() {
    let (one, two) = (Group::new(), Group::new());
    let mut first = task::spawn(one.run(1, ready("one")));
    let mut second = task::spawn(two.run(1, ready("two")));
    assert_ready_eq!(first.poll(), led("one", false));
    assert_ready_eq!(second.poll(), led("two", false));
}

#[test]
fn waiters_outlive_their_group() {
    let group = Group::new();
    let mut leader = task::spawn(group.run(1, ready("one")));
    let mut follower = follow(&group, 1);
    drop(group);
    assert_ready_eq!(leader.poll(), led("one", true));
    assert_ready_eq!(follower.poll(), followed("one"));
}

on_both_runtimes! {
    async fn a_hundred_callers_and_one_call() {
        let group = Group::new();
        let (remote, inner) = work();
        let leader = tokio::spawn(group.run(1, inner));
        let followers: Vec<_> = (0..99).map(|_| tokio::spawn(group.run(1, never()))).collect();
        until("the work is polled", || remote.polls() > 0).await;
        remote.land("shared");
        assert_eq!(leader.await.unwrap(), led("shared", true));
        for follower in followers {
            assert_eq!(follower.await.unwrap(), followed("shared"));
        }
        assert_eq!((remote.calls(), remote.drops(), group.in_flight()), (1, 1, 0));
    }
}

/// Gives every key the same hash.
struct Colliding;

impl std::hash::BuildHasher for Colliding {
    type Hasher = Constant;

    fn build_hasher(&self) -> Constant {
        Constant
    }
}

struct Constant;

impl std::hash::Hasher for Constant {
    fn finish(&self) -> u64 {
        7
    }

    fn write(&mut self, _: &[u8]) {}
}
