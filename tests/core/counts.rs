//! How often things are polled, woken and cloned.

use crate::util::*;
use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
};
use tokio_test::{
    assert_pending,
    task::{self, Spawn},
};
use tower_singleflight::{Group, Run};

/// Counts the clones of it.
#[derive(Debug, Default)]
struct Counted(Arc<AtomicUsize>);

impl Clone for Counted {
    fn clone(&self) -> Self {
        self.0.fetch_add(1, SeqCst);
        Self(self.0.clone())
    }
}

#[test]
fn a_solo_value_is_never_cloned() {
    let clones = Arc::new(AtomicUsize::new(0));
    let group = Group::new();
    let outcome = ready_now(task::spawn(group.run(1, ready(Counted(clones.clone())))));
    assert_eq!(clones.load(SeqCst), 0);
    drop(outcome);
}

#[tokio::test]
async fn a_value_whose_other_waiters_left_is_not_cloned() {
    let clones = Arc::new(AtomicUsize::new(0));
    let group = Group::new();
    let (remote, inner) = work();
    let leader = group.run(1, inner);
    let follower = group.run(1, never());
    drop(leader);
    remote.land(Counted(clones.clone()));
    let _outcome = follower.await;
    assert_eq!(clones.load(SeqCst), 0);
}

#[tokio::test]
async fn n_waiters_of_a_task_cost_n_minus_one_clones() {
    for waiters in 2..=8 {
        let clones = Arc::new(AtomicUsize::new(0));
        let (_group, remote, waiters) = crowd(waiters);
        remote.land(Counted(clones.clone()));
        settle().await;
        let n = waiters.len();
        let _outcomes: Vec<_> = waiters.into_iter().map(ready_now).collect();
        assert_eq!(clones.load(SeqCst), n - 1);
    }
}

#[test]
fn n_waiters_without_a_runtime_cost_n_minus_one_clones() {
    for waiters in 2..=8 {
        let clones = Arc::new(AtomicUsize::new(0));
        let (_group, remote, waiters) = crowd(waiters);
        remote.land(Counted(clones.clone()));
        let n = waiters.len();
        let _outcomes: Vec<_> = waiters.into_iter().map(ready_now).collect();
        assert_eq!(clones.load(SeqCst), n - 1);
    }
}

#[tokio::test]
async fn a_waiter_that_leaves_after_landing_saves_its_clone() {
    let clones = Arc::new(AtomicUsize::new(0));
    let (_group, remote, mut waiters) = crowd(4);
    remote.land(Counted(clones.clone()));
    settle().await;
    waiters.truncate(2);
    let _outcomes: Vec<_> = waiters.into_iter().map(ready_now).collect();
    assert_eq!(clones.load(SeqCst), 1);
}

#[tokio::test]
async fn a_waiter_that_takes_the_value_in_its_wake_up_gets_the_original() {
    // The task that landed it holds nothing back: the last to take it need not clone, however early
    // it comes.
    let clones = Arc::new(AtomicUsize::new(0));
    let group = Group::new();
    let (remote, inner) = work();
    let leader = group.run(1, inner);
    let follower = Arc::new(std::sync::Mutex::new(Some(group.run(1, never()))));
    drop(leader);
    let taken = follower.clone();
    let on_wake = waker(move || {
        let run = taken.lock().unwrap().take().unwrap();
        drop(ready_now(task::spawn(run)));
    });
    assert_pending!(poll_with(follower.lock().unwrap().as_mut().unwrap(), &on_wake));
    remote.land(Counted(clones.clone()));
    settle().await;
    assert!(follower.lock().unwrap().is_none());
    assert_eq!(clones.load(SeqCst), 0);
}

#[tokio::test]
async fn parked_waiters_are_woken_once_however_often_the_work_is() {
    let group = Group::new();
    let (remote, inner) = work();
    let (waker, wake_ups) = counting_waker();
    let mut waiters = vec![group.run(1, inner)];
    waiters.extend((0..99).map(|_| group.run(1, never())));
    waiters.iter_mut().for_each(|waiter| assert!(poll_with(waiter, &waker).is_pending()));
    for _ in 0..50 {
        remote.wake();
        settle().await;
    }
    assert_eq!(wake_ups.load(SeqCst), 0);
    remote.land("landed");
    settle().await;
    assert_eq!(wake_ups.load(SeqCst), 100);
    assert!(remote.polls() <= 53, "{} polls for 50 wake-ups", remote.polls());
}

#[tokio::test]
async fn a_leader_that_was_polled_alone_costs_one_wake_up_more_at_most() {
    let group = Group::new();
    let (remote, inner) = work();
    let (waker, wake_ups) = counting_waker();
    let mut leader = group.run(1, inner);
    assert_pending!(poll_with(&mut leader, &waker));
    let mut follower = group.run(1, never());
    assert_pending!(poll_with(&mut follower, &waker));
    for _ in 0..50 {
        remote.wake();
        settle().await;
    }
    remote.land("landed");
    settle().await;
    assert!((2..=3).contains(&wake_ups.load(SeqCst)), "{wake_ups:?}");
}

#[tokio::test]
async fn tasks_that_wait_are_polled_twice() {
    let group = Group::new();
    let (remote, inner) = work();
    let polls = Arc::new(AtomicUsize::new(0));
    let counted = |run: Run<&'static str>| {
        let polls = polls.clone();
        tokio::spawn(async move {
            let mut run = pin!(run);
            std::future::poll_fn(move |cx: &mut Context<'_>| -> Poll<_> {
                polls.fetch_add(1, SeqCst);
                run.as_mut().poll(cx)
            })
            .await
        })
    };
    let mut tasks = vec![counted(group.run(1, inner))];
    tasks.extend((0..49).map(|_| counted(group.run(1, never()))));
    settle().await;
    for _ in 0..20 {
        remote.wake();
        settle().await;
    }
    remote.land("landed");
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(polls.load(SeqCst), 100);
}

#[tokio::test]
async fn a_waiter_polled_without_need_keeps_one_waker_only() {
    let group = Group::new();
    let (remote, inner) = work();
    let _leader = group.run(1, inner);
    let mut follower = group.run(1, never());
    let ((old_waker, old), (new_waker, new)) = (counting_waker(), counting_waker());
    for _ in 0..10 {
        assert_pending!(poll_with(&mut follower, &old_waker));
    }
    assert_pending!(poll_with(&mut follower, &new_waker));
    remote.land("landed");
    settle().await;
    assert_eq!((old.load(SeqCst), new.load(SeqCst)), (0, 1));
}

#[tokio::test]
async fn a_leader_that_changes_tasks_while_it_waits_is_woken_in_the_new_one() {
    let (_group, remote, mut waiters) = crowd(2);
    let mut leader = waiters.remove(0).into_inner();
    let (waker, old) = counting_waker();
    assert_pending!(poll_with(&mut leader, &waker));
    let mut leader = task::spawn(leader);
    assert_pending!(leader.poll());
    remote.land("landed");
    settle().await;
    assert!(leader.is_woken());
    assert_eq!(old.load(SeqCst), 0);
}

#[test]
fn a_sole_caller_that_changes_tasks_is_woken_in_the_new_one() {
    let group = Group::new();
    let (remote, inner) = work();
    let mut run = group.run(1, inner);
    assert_pending!(poll_with(&mut run, &waker(|| unreachable!("it has moved on"))));
    let mut run = task::spawn(run);
    assert_pending!(run.poll());
    remote.land("landed");
    assert!(run.is_woken());
    assert_eq!(ready_now(run), led("landed", false));
}

#[tokio::test]
async fn one_task_carries_a_flight_however_many_wait() {
    let (_group, remote, mut waiters) = crowd(50);
    waiters.iter_mut().for_each(|waiter| assert!(waiter.poll().is_pending()));
    settle().await;
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 1);
    remote.land("landed");
    settle().await;
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0);
    assert_eq!(remote.calls(), 1);
}

type Crowd<T> = (Group<u32, T>, Remote<T>, Vec<Spawn<Run<T>>>);

/// A flight with that many waiters.
fn crowd<T: Clone + Send + Sync + 'static>(waiters: usize) -> Crowd<T> {
    let group = Group::new();
    let (remote, inner) = work();
    let mut all = vec![task::spawn(group.run(1, inner))];
    all.extend((1..waiters).map(|_| follow(&group, 1)));
    (group, remote, all)
}

#[test]
fn all_are_woken_before_the_leader_is_done_though_nobody_drives_its_runtime_any_more() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let group = Group::<u32, u32>::new();
    let (remote, inner) = work();
    let leader = inside(&runtime, || group.run(1, inner));
    let mut followers: Vec<_> = (0..600).map(|_| task::spawn(group.run(1, never()))).collect();
    followers.iter_mut().for_each(|follower| assert_pending!(follower.poll()));
    let got = runtime.block_on(async {
        tokio::spawn(async move {
            for _ in 0..64 {
                tokio::spawn(settle());
            }
            tokio::task::yield_now().await;
            remote.land(7);
        });
        leader.await.value
    });
    assert_eq!(got, 7);
    assert_eq!(followers.iter().filter(|follower| follower.is_woken()).count(), 600);
}
