//! Which runtime carries a flight, and what happens where there is none.

use crate::util::*;
use std::thread;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio_test::{assert_pending, assert_ready_eq, task};
use tower_singleflight::Group;

fn current_thread() -> Runtime {
    Builder::new_current_thread().build().unwrap()
}

fn tasks(runtime: &Runtime) -> usize {
    runtime.metrics().num_alive_tasks()
}

#[test]
fn without_a_runtime_the_leader_flies_and_its_followers_wait() {
    let group = Group::new();
    let (remote, inner) = work();
    let mut leader = task::spawn(group.run(1, inner));
    let mut follower = follow(&group, 1);
    assert_pending!(follower.poll());
    assert_eq!(remote.calls(), 0);
    assert_pending!(leader.poll());
    remote.land("landed");
    assert!(leader.is_woken() && !follower.is_woken());
    assert_ready_eq!(leader.poll(), led("landed", true));
    assert!(follower.is_woken());
    assert_ready_eq!(follower.poll(), followed("landed"));
}

#[test]
fn without_a_runtime_an_heir_flies_when_the_leader_leaves() {
    let group = Group::new();
    let (remote, inner) = work();
    let mut leader = task::spawn(group.run(1, inner));
    let mut follower = follow(&group, 1);
    assert_pending!(leader.poll());
    assert_pending!(follower.poll());
    drop(leader);
    assert!(follower.is_woken());
    assert_pending!(follower.poll());
    assert_eq!((remote.calls(), remote.polls()), (1, 2));
    remote.land("landed");
    assert!(follower.is_woken());
    assert_ready_eq!(follower.poll(), followed("landed"));
    assert_eq!(group.in_flight(), 0);
}

#[test]
fn without_a_runtime_the_next_heir_flies_when_the_first_leaves() {
    let group = Group::new();
    let (remote, inner) = work();
    let leader = group.run(1, inner);
    let mut heirs = vec![follow(&group, 1), follow(&group, 1), follow(&group, 1)];
    heirs.iter_mut().for_each(|heir| assert!(heir.poll().is_pending()));
    drop(leader);
    while heirs.len() > 1 {
        assert!(heirs.iter().all(|heir| heir.is_woken()));
        heirs.iter_mut().for_each(|heir| assert!(heir.poll().is_pending()));
        drop(heirs.remove(0));
    }
    remote.land("landed");
    assert_eq!(ready_now(heirs.remove(0)), followed("landed"));
    assert_eq!(remote.calls(), 1);
}

#[test]
fn without_a_runtime_an_heir_that_was_woken_but_leaves_before_its_poll_harms_nobody() {
    let group = Group::new();
    let leader = group.run(1, ready("landed"));
    let mut first = follow(&group, 1);
    let mut second = follow(&group, 1);
    assert_pending!(first.poll());
    assert_pending!(second.poll());
    drop(leader);
    drop(first);
    assert!(second.is_woken());
    assert_ready_eq!(second.poll(), followed("landed"));
}

#[test]
fn without_a_runtime_a_quiet_follower_delays_nobody() {
    let group = Group::new();
    let leader = group.run(1, ready("landed"));
    let quiet = group.run(1, never());
    let polled = group.run(1, never());
    assert_eq!(block_on(leader), led("landed", true));
    assert_eq!(block_on(polled), followed("landed"));
    drop(quiet);
}

#[test]
fn without_a_runtime_the_last_waiter_drops_the_work() {
    let group = Group::<u32, ()>::new();
    let (remote, inner) = work();
    let mut leader = task::spawn(group.run(1, inner));
    let follower = follow(&group, 1);
    assert_pending!(leader.poll());
    drop(leader);
    assert_eq!(remote.drops(), 0);
    drop(follower);
    assert_eq!((remote.drops(), group.in_flight()), (1, 0));
}

#[test]
fn without_a_runtime_threads_share_one_call() {
    let group = Group::new();
    let (remote, inner) = work();
    let leader = group.run(1, inner);
    let followers = [group.run(1, never()), group.run(1, never()), group.run(1, never())];
    let threads = followers.map(|run| thread::spawn(|| block_on(run)));
    let leader = thread::spawn(|| block_on(leader));
    remote.land("landed");
    assert_eq!(leader.join().unwrap(), led("landed", true));
    for thread in threads {
        assert_eq!(thread.join().unwrap(), followed("landed"));
    }
    assert_eq!(remote.calls(), 1);
}

#[test]
fn without_a_runtime_leaders_leave_on_racing_threads() {
    for _ in 0..200 {
        let group = Group::new();
        let (remote, inner) = work();
        let leader = group.run(1, inner);
        let quitter = group.run(1, never());
        let last = group.run(1, never());
        thread::scope(|scope| {
            scope.spawn(move || drop(leader));
            scope.spawn(move || drop(quitter));
            scope.spawn(|| assert_eq!(block_on(last), followed("landed")));
            scope.spawn(|| remote.land("landed"));
        });
        assert_eq!((remote.drops(), group.in_flight()), (1, 0));
    }
}

#[test]
fn without_a_runtime_spawn_says_so() {
    let group = Group::new();
    let text = panic_text(|| group.spawn(1, ready("never")));
    assert!(text.contains("tower-singleflight") && text.contains("runtime"), "{text}");
    assert_eq!(ready_now(task::spawn(group.run(1, ready("next")))), led("next", false));
    assert_eq!(group.in_flight(), 0);
}

#[test]
fn a_flight_is_carried_by_its_leaders_runtime() {
    let (leaders, joiners) = (current_thread(), current_thread());
    let group = Group::<u32, ()>::new();
    let _leader = inside(&leaders, || group.run(1, std::future::pending));
    let _joiner = inside(&joiners, || group.run(1, never()));
    assert_eq!((tasks(&leaders), tasks(&joiners)), (1, 0));
}

#[test]
fn a_leader_without_a_runtime_is_carried_by_the_joiners() {
    let joiners = current_thread();
    let group = Group::new();
    let (remote, inner) = work();
    let mut leader = task::spawn(group.run(1, inner));
    assert_pending!(leader.poll());
    joiners.block_on(async {
        let mut joiner = follow(&group, 1);
        assert_pending!(joiner.poll());
        settle().await;
        remote.land("landed");
        settle().await;
        assert!(leader.is_woken());
        assert_ready_eq!(joiner.poll(), followed("landed"));
    });
    assert_ready_eq!(leader.poll(), led("landed", true));
}

#[test]
fn a_flight_without_a_runtime_moves_when_a_waiter_is_polled_in_one() {
    let group = Group::new();
    let (remote, inner) = work();
    let leader = group.run(1, inner);
    let mut heir = follow(&group, 1);
    let mut other = follow(&group, 1);
    assert_pending!(other.poll());
    drop(leader);
    current_thread().block_on(async {
        assert_pending!(heir.poll());
        settle().await;
        remote.land("landed");
        settle().await;
    });
    assert!(other.is_woken());
    assert_ready_eq!(other.poll(), followed("landed"));
    assert_ready_eq!(heir.poll(), followed("landed"));
}

#[test]
fn a_third_caller_with_a_runtime_frees_two_without() {
    let group = Group::new();
    let _quiet_leader = group.run(1, ready("landed"));
    let mut waiting = follow(&group, 1);
    assert_pending!(waiting.poll());
    let third = current_thread().block_on(async { group.run(1, never()).await });
    assert_eq!(third, followed("landed"));
    assert!(waiting.is_woken());
    assert_ready_eq!(waiting.poll(), followed("landed"));
}

#[tokio::test]
async fn a_sole_caller_spawns_no_task() {
    let group = Group::new();
    let (remote, inner) = work();
    let mut run = task::spawn(group.run(1, inner));
    for _ in 0..3 {
        assert_pending!(run.poll());
        settle().await;
        assert_eq!(Handle::current().metrics().num_alive_tasks(), 0);
    }
    remote.land("landed");
    assert_ready_eq!(run.poll(), led("landed", false));
}

#[tokio::test]
async fn work_that_moves_is_polled_again_and_its_old_waker_is_of_no_use() {
    let group = Group::new();
    let (remote, inner) = work();
    let mut leader = task::spawn(group.run(1, inner));
    assert_pending!(leader.poll());
    let mut follower = follow(&group, 1);
    settle().await;
    assert_eq!(remote.polls(), 2);
    remote.wake();
    settle().await;
    assert_eq!(remote.polls(), 3);
    assert!(!leader.is_woken());
    remote.land("landed");
    settle().await;
    assert_ready_eq!(follower.poll(), followed("landed"));
    assert!(leader.is_woken());
}

#[tokio::test]
async fn work_woken_between_its_last_poll_in_place_and_its_first_in_a_task_lands() {
    let group = Group::new();
    let (remote, inner) = work();
    let mut leader = task::spawn(group.run(1, inner));
    assert_pending!(leader.poll());
    let mut follower = follow(&group, 1);
    remote.land("landed");
    settle().await;
    assert_ready_eq!(follower.poll(), followed("landed"));
    assert_ready_eq!(leader.poll(), led("landed", true));
}

#[tokio::test]
async fn work_ready_at_its_first_poll_lands_in_a_task() {
    let group = Group::new();
    let _leader = group.run(1, ready("landed"));
    let _follower = group.run(1, never());
    settle().await;
    assert_eq!(group.in_flight(), 0);
}

#[test]
fn waiters_are_polled_on_other_threads_than_those_that_made_them() {
    let runtime = Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let group = Group::new();
    let (leader, follower) =
        runtime.block_on(async { (group.run(1, ready("landed")), group.run(1, never())) });
    let follower = thread::spawn(|| block_on(follower));
    let leader = thread::spawn(|| block_on(leader));
    assert_eq!(follower.join().unwrap(), followed("landed"));
    assert_eq!(leader.join().unwrap(), led("landed", true));
}

#[test]
fn a_group_in_a_thread_local_is_dropped_with_its_thread() {
    thread_local! {
        static GROUP: Group<u32, ()> = Group::new();
        static RUN: std::cell::RefCell<Option<tower_singleflight::Run<()>>> = const { std::cell::RefCell::new(None) };
    }
    let (remote, inner) = work();
    let ended = thread::spawn(move || {
        RUN.with(|_| ());
        let mut run = GROUP.with(|group| group.run(1, inner));
        assert_pending!(poll_with(&mut run, std::task::Waker::noop()));
        RUN.set(Some(run));
    });
    assert!(ended.join().is_ok());
    assert_eq!(remote.drops(), 1);
}

#[test]
fn a_follower_polled_in_a_runtime_gets_the_work_carried_though_both_calls_were_made_outside_one() {
    let group = Group::new();
    let (remote, inner) = work();
    let _quiet = group.run(1, inner);
    let follower = group.run(1, never());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut follower = task::spawn(follower);
        assert!(follower.poll().is_pending());
        until("the work is polled", || remote.polls() > 0).await;
        remote.land("landed");
        until("it lands", || group.in_flight() == 0).await;
        assert!(follower.is_woken());
        assert!(follower.poll().is_ready());
    });
}
