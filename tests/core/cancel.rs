//! Waiters that are dropped: nobody notices, until the last takes the work along.

use crate::util::*;
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::Waker,
};
use tokio::runtime::Handle;
use tokio_test::{assert_pending, assert_ready_eq, task};
use tower_singleflight::Group;

// ---- before the work has moved to a task

#[test]
fn sole_caller_dropped_before_its_first_poll_never_starts_the_work() {
    let group = Group::<u32, ()>::new();
    let (remote, inner) = work();
    drop(group.run(1, inner));
    assert_eq!((remote.calls(), remote.drops(), group.in_flight()), (0, 1, 0));
}

#[test]
fn sole_caller_dropped_after_a_poll_takes_the_work_along_at_once() {
    let group = Group::<u32, ()>::new();
    let (remote, inner) = work();
    let mut run = task::spawn(group.run(1, inner));
    assert_pending!(run.poll());
    assert_eq!((remote.drops(), group.in_flight()), (0, 1));
    drop(run);
    assert_eq!((remote.drops(), group.in_flight()), (1, 0));
}

#[test]
fn sole_caller_dropped_after_the_last_wake_up_but_before_the_poll() {
    let group = Group::new();
    let (remote, inner) = work();
    let mut run = task::spawn(group.run(1, inner));
    assert_pending!(run.poll());
    remote.land("never taken");
    assert!(run.is_woken());
    drop(run);
    assert_eq!((remote.drops(), group.in_flight()), (1, 0));
    assert_eq!(ready_now(task::spawn(group.run(1, ready("new")))), led("new", false));
}

#[test]
fn sole_caller_dropped_after_it_was_ready_changes_nothing() {
    let group = Group::new();
    let (remote, inner) = work();
    let mut run = task::spawn(group.run(1, inner));
    remote.land("landed");
    assert_ready_eq!(run.poll(), led("landed", false));
    let newer = group.run(1, ready("newer"));
    drop(run);
    assert_eq!(group.in_flight(), 1);
    assert_eq!(ready_now(task::spawn(newer)), led("newer", false));
}

#[test]
fn a_newcomer_after_the_last_has_left_leads() {
    let group = Group::new();
    let (remote, inner) = work::<&str>();
    let mut run = task::spawn(group.run(1, inner));
    assert_pending!(run.poll());
    drop(run);
    assert_eq!(ready_now(task::spawn(group.run(1, ready("new")))), led("new", false));
    assert_eq!(remote.calls(), 1);
}

#[test]
fn a_newcomer_in_the_drop_of_the_dying_work_leads() {
    let group = Group::new();
    let found = Arc::new(Mutex::new(None));
    let on_drop = {
        let (group, found) = (group.clone(), found.clone());
        OnDrop(move || {
            *found.lock().unwrap() = Some(ready_now(task::spawn(group.run(1, ready("new")))))
        })
    };
    let run = group.run(1, move || async move {
        let _on_drop = on_drop;
        "old"
    });
    drop(run);
    assert_eq!(found.lock().unwrap().take(), Some(led("new", false)));
    assert_eq!(group.in_flight(), 0);
}

// ---- after it has

on_both_runtimes! {
    async fn leader_dropped_nobody_notices() {
        let group = Group::new();
        let (remote, inner) = work();
        let mut leader = task::spawn(group.run(1, inner));
        assert_pending!(leader.poll());
        let follower = tokio::spawn(group.run(1, never()));
        drop(leader);
        until("a task has polled the work", || remote.polls() >= 2).await;
        remote.land("landed");
        assert_eq!(follower.await.unwrap(), followed("landed"));
        assert_eq!((remote.calls(), remote.drops()), (1, 1));
    }

    async fn leader_dropped_before_anybody_was_polled_nobody_notices() {
        let group = Group::new();
        let (remote, inner) = work();
        let leader = group.run(1, inner);
        let follower = group.run(1, never());
        drop(leader);
        remote.land("landed");
        assert_eq!(follower.await, followed("landed"));
        assert_eq!(remote.calls(), 1);
    }

    async fn whichever_waiter_of_five_is_dropped_the_others_get_the_value() {
        for victim in 0..5 {
            let group = Group::new();
            let (remote, inner) = work();
            let mut waiters = vec![task::spawn(group.run(1, inner))];
            waiters.extend((1..5).map(|_| follow(&group, 1)));
            waiters.iter_mut().for_each(|waiter| assert!(waiter.poll().is_pending()));
            drop(waiters.remove(victim));
            remote.land("landed");
            until("it has landed", || group.in_flight() == 0).await;
            for waiter in waiters {
                until("every waiter is woken", || waiter.is_woken()).await;
                assert_eq!(ready_now(waiter).value, "landed");
            }
            assert_eq!((remote.calls(), remote.drops()), (1, 1), "victim {victim}");
        }
    }

    async fn all_but_one_are_dropped_and_the_one_gets_the_value() {
        for survivor in 0..5 {
            let group = Group::new();
            let (remote, inner) = work();
            let mut waiters = vec![task::spawn(group.run(1, inner))];
            waiters.extend((1..5).map(|_| follow(&group, 1)));
            waiters.iter_mut().for_each(|waiter| assert!(waiter.poll().is_pending()));
            let survivor = waiters.remove(survivor);
            drop(waiters);
            remote.land("landed");
            assert_eq!(survivor.into_inner().await.value, "landed");
        }
    }

    async fn all_waiters_dropped_and_the_work_goes_with_the_last() {
        let group = Group::<u32, ()>::new();
        let (remote, inner) = work();
        let leader = group.run(1, inner);
        let follower = group.run(1, never());
        until("a task has polled the work", || remote.polls() == 1).await;
        drop(leader);
        assert_eq!(remote.drops(), 0);
        drop(follower);
        assert_eq!(group.in_flight(), 0);
        until("the work is dropped", || remote.drops() == 1).await;
        until("the task has ended", || Handle::current().metrics().num_alive_tasks() == 0).await;
    }

    async fn a_newcomer_after_all_have_left_does_not_join_the_dying_flight() {
        for _ in 0..100 {
            let group = Group::new();
            let waiters = [(); 3].map(|()| group.run(1, never_ends));
            drop(waiters);
            assert_eq!(group.run(1, ready("new")).await, led("new", false));
        }
    }
}

async fn never_ends() -> &'static str {
    std::future::pending().await
}

#[tokio::test]
async fn last_waiter_drops_the_work_then_and_there_not_when_its_task_next_runs() {
    let group = Group::<u32, ()>::new();
    let (remote, inner) = work();
    let mut leader = task::spawn(group.run(1, inner));
    let mut follower = follow(&group, 1);
    assert_pending!(leader.poll());
    assert_pending!(follower.poll());
    settle().await;
    assert_eq!(remote.polls(), 1);
    drop(leader);
    assert_eq!(remote.drops(), 0);
    drop(follower);
    assert_eq!((remote.drops(), group.in_flight()), (1, 0));
}

#[tokio::test]
async fn last_waiter_drops_the_work_before_its_task_was_first_polled() {
    let group = Group::<u32, ()>::new();
    let (remote, inner) = work();
    let waiters = (group.run(1, inner), group.run(1, never()));
    drop(waiters);
    assert_eq!((remote.calls(), remote.drops(), group.in_flight()), (0, 1, 0));
    settle().await;
    assert_eq!((remote.calls(), remote.drops()), (0, 1));
}

#[tokio::test]
async fn the_task_of_a_deserted_flight_ends() {
    let group = Group::<u32, ()>::new();
    let waiters = (group.run(1, std::future::pending), group.run(1, never()));
    settle().await;
    assert_eq!(Handle::current().metrics().num_alive_tasks(), 1);
    drop(waiters);
    settle().await;
    assert_eq!(Handle::current().metrics().num_alive_tasks(), 0);
}

#[tokio::test]
async fn every_order_in_which_three_may_leave() {
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let group = Group::<u32, ()>::new();
        let (remote, inner) = work();
        let mut waiters =
            [Some(group.run(1, inner)), Some(group.run(1, never())), Some(group.run(1, never()))];
        settle().await;
        for (gone, n) in order.into_iter().enumerate() {
            assert_eq!((remote.drops(), group.in_flight()), (0, 1), "{order:?} after {gone}");
            waiters[n] = None;
        }
        assert_eq!((remote.calls(), remote.drops(), group.in_flight()), (1, 1, 0), "{order:?}");
    }
}

#[tokio::test]
async fn a_seat_that_is_taken_again_does_not_make_its_new_owner_the_leader() {
    let group = Group::new();
    let (remote, inner) = work();
    let leader = group.run(1, inner);
    let mut first = follow(&group, 1);
    drop(leader);
    let mut second = follow(&group, 1);
    assert_pending!(second.poll());
    remote.land("landed");
    settle().await;
    assert_ready_eq!(second.poll(), followed("landed"));
    assert_ready_eq!(first.poll(), followed("landed"));
}

#[tokio::test]
async fn followers_come_and_go_and_the_leader_gets_the_value() {
    let group = Group::new();
    let (remote, inner) = work();
    let mut leader = task::spawn(group.run(1, inner));
    for _ in 0..100 {
        let mut follower = follow(&group, 1);
        assert_pending!(follower.poll());
    }
    assert_pending!(leader.poll());
    remote.land("landed");
    settle().await;
    assert!(leader.is_woken());
    assert_ready_eq!(leader.poll(), led("landed", true));
    assert_eq!(remote.calls(), 1);
}

#[tokio::test]
async fn a_relay_of_waiters_keeps_one_flight_alive() {
    let group = Group::new();
    let (remote, inner) = work();
    let mut last = group.run(1, inner);
    for _ in 0..100 {
        let next = group.run(1, never());
        drop(last);
        last = next;
        settle().await;
    }
    remote.land("landed");
    assert_eq!(last.await, followed("landed"));
    assert_eq!(remote.calls(), 1);
}

// ---- while it lands

#[tokio::test]
async fn a_woken_waiter_dropped_before_its_poll_leaves_the_value_to_the_others() {
    for victim in 0..3 {
        let group = Group::new();
        let (remote, inner) = work();
        let mut waiters =
            vec![task::spawn(group.run(1, inner)), follow(&group, 1), follow(&group, 1)];
        waiters.iter_mut().for_each(|waiter| assert!(waiter.poll().is_pending()));
        remote.land("landed");
        settle().await;
        assert!(waiters.iter().all(|waiter| waiter.is_woken()));
        drop(waiters.remove(victim));
        for waiter in waiters {
            assert_eq!(ready_now(waiter).value, "landed");
        }
    }
}

#[tokio::test]
async fn all_dropped_after_landing_and_the_value_goes_with_the_last() {
    let group = Group::new();
    let (remote, inner) = work();
    let value = Arc::new(());
    let mut waiters = vec![group.run(1, inner), group.run(1, never()), group.run(1, never())];
    remote.land(value.clone());
    settle().await;
    while let Some(waiter) = waiters.pop() {
        assert_eq!(Arc::strong_count(&value), 2);
        drop(waiter);
    }
    assert_eq!(Arc::strong_count(&value), 1);
}

#[tokio::test]
async fn a_waiter_dropped_by_its_own_wake_up_or_by_anothers() {
    for (waker_of, victim) in [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 1), (2, 2)] {
        let group = Group::new();
        let (remote, inner) = work();
        let first = group.run(1, inner);
        let slots: Arc<[_]> =
            [first, group.run(1, never()), group.run(1, never())].map(Some).map(Mutex::new).into();
        for n in 0..3 {
            let others = slots.clone();
            let waker = waker(move || {
                if n == waker_of {
                    drop(others[victim].lock().unwrap().take());
                }
            });
            assert_pending!(poll_with(slots[n].lock().unwrap().as_mut().unwrap(), &waker));
        }
        remote.land("landed");
        settle().await;
        let left: Vec<_> = slots.iter().filter_map(|slot| slot.lock().unwrap().take()).collect();
        assert_eq!(left.len(), 2);
        for waiter in left {
            assert_eq!(ready_now(task::spawn(waiter)).value, "landed");
        }
    }
}

#[tokio::test]
async fn a_waiter_dropped_by_the_clone_of_the_value_for_another() {
    #[derive(Debug)]
    struct Value(Arc<Mutex<Vec<tower_singleflight::Run<Value>>>>);
    impl Clone for Value {
        fn clone(&self) -> Self {
            let victims = std::mem::take(&mut *self.0.lock().unwrap());
            drop(victims);
            Self(self.0.clone())
        }
    }
    let group = Group::new();
    let (remote, inner) = work();
    let victims = Arc::new(Mutex::new(Vec::new()));
    let leader = group.run(1, inner);
    let follower = group.run(1, never());
    victims.lock().unwrap().push(leader);
    remote.land(Value(victims.clone()));
    settle().await;
    let value = ready_now(task::spawn(follower)).value;
    drop(value);
    assert!(victims.lock().unwrap().is_empty());
    assert_eq!(Arc::strong_count(&victims), 1);
}

#[tokio::test]
async fn a_new_flight_is_led_by_the_wake_up_of_a_landing() {
    let group = Group::new();
    let (remote, inner) = work();
    let mut runs = [group.run(1, inner), group.run(1, never())];
    let found = Arc::new(Mutex::new(Vec::new()));
    let waker = {
        let (group, found) = (group.clone(), found.clone());
        waker(move || {
            found.lock().unwrap().push(ready_now(task::spawn(group.run(1, ready("new")))))
        })
    };
    runs.iter_mut().for_each(|run| assert!(poll_with(run, &waker).is_pending()));
    remote.land("old");
    settle().await;
    assert_eq!(*found.lock().unwrap(), [led("new", false), led("new", false)]);
    for run in runs {
        assert_eq!(ready_now(task::spawn(run)).value, "old");
    }
}

#[tokio::test]
async fn all_dropped_by_the_work_while_it_is_polled() {
    let group = Group::<u32, ()>::new();
    let waiters = Arc::new(Mutex::new(Vec::new()));
    let drops = Arc::new(AtomicUsize::new(0));
    let (dropped, theirs) = (drops.clone(), waiters.clone());
    let leader = group.run(1, move || {
        let on_drop = OnDrop(move || {
            dropped.fetch_add(1, SeqCst);
        });
        async move {
            let _on_drop = on_drop;
            theirs.lock().unwrap().clear();
            std::future::pending().await
        }
    });
    waiters.lock().unwrap().extend([leader, group.run(1, never())]);
    settle().await;
    assert!(waiters.lock().unwrap().is_empty());
    assert_eq!((drops.load(SeqCst), group.in_flight()), (1, 0));
    assert_eq!(Handle::current().metrics().num_alive_tasks(), 0);
}

#[tokio::test]
async fn all_dropped_by_the_work_in_the_poll_in_which_it_ends() {
    let group = Group::new();
    let waiters = Arc::new(Mutex::new(Vec::new()));
    let value = Arc::new(());
    let (theirs, result) = (waiters.clone(), value.clone());
    let leader = group.run(1, move || async move {
        theirs.lock().unwrap().clear();
        result
    });
    waiters.lock().unwrap().extend([leader, group.run(1, never())]);
    settle().await;
    assert_eq!((Arc::strong_count(&value), group.in_flight()), (1, 0));
}

#[tokio::test]
async fn a_newcomer_that_comes_while_the_deserted_work_is_still_polled_leads() {
    let group = Group::new();
    let waiters = Arc::new(Mutex::new(Vec::new()));
    let newcomer = Arc::new(Mutex::new(None));
    let (theirs, next, same) = (waiters.clone(), newcomer.clone(), group.clone());
    let leader = group.run(1, move || async move {
        theirs.lock().unwrap().clear();
        *next.lock().unwrap() = Some(same.run(1, ready("new")));
        "old"
    });
    waiters.lock().unwrap().extend([leader, group.run(1, never())]);
    settle().await;
    let newcomer = newcomer.lock().unwrap().take().unwrap();
    assert_eq!(ready_now(task::spawn(newcomer)).value, "new");
    assert_eq!(group.in_flight(), 0);
}

// ---- spawned flights

on_both_runtimes! {
    async fn a_spawned_flight_that_everybody_left_finishes() {
        let group = Group::new();
        let (remote, inner) = work();
        drop(group.spawn(1, inner));
        until("the work is polled", || remote.polls() == 1).await;
        assert_eq!(group.in_flight(), 1);
        remote.land("landed");
        until("it has landed", || group.in_flight() == 0).await;
        assert_eq!(remote.drops(), 1);
    }

    async fn a_run_flight_that_was_spawned_meanwhile_finishes() {
        let group = Group::new();
        let (remote, inner) = work();
        let run = group.run(1, inner);
        drop(group.spawn(1, never()));
        drop(run);
        until("the work is polled", || remote.polls() == 1).await;
        remote.land("landed");
        until("it has landed", || group.in_flight() == 0).await;
    }

    async fn a_spawned_flight_that_everybody_left_takes_a_newcomer() {
        let group = Group::new();
        let (remote, inner) = work();
        drop(group.spawn(1, inner));
        until("the work is polled", || remote.polls() == 1).await;
        let newcomer = group.run(1, never());
        remote.land("landed");
        assert_eq!(newcomer.await, followed("landed"));
    }
}

#[tokio::test]
async fn the_value_of_a_spawned_flight_that_everybody_left_is_dropped() {
    let group = Group::new();
    let value = Arc::new(());
    drop(group.spawn(1, ready(value.clone())));
    settle().await;
    assert_eq!((Arc::strong_count(&value), group.in_flight()), (1, 0));
}

// ---- drops that call back into the group

/// A value whose clones all do something when they are dropped.
#[derive(Clone)]
struct Reentrant(Group<u32, Reentrant>, Arc<AtomicUsize>);

impl Drop for Reentrant {
    fn drop(&mut self) {
        if self.1.fetch_add(1, SeqCst) < 10 {
            self.0.forget(&1);
            let again = Reentrant(self.0.clone(), self.1.clone());
            let _outcome = ready_now(task::spawn(self.0.run(1, ready(again))));
            self.0.forget(&2);
        }
    }
}

#[tokio::test]
async fn a_value_may_call_its_own_key_when_it_is_dropped() {
    let group = Group::new();
    let drops = Arc::new(AtomicUsize::new(0));
    let (remote, inner) = work();
    let mut waiters = vec![group.run(1, inner), group.run(1, never()), group.run(1, never())];
    remote.land(Reentrant(group.clone(), drops.clone()));
    settle().await;
    drop(waiters.pop());
    drop(ready_now(task::spawn(waiters.remove(0))).value);
    drop(waiters);
    assert!(drops.load(SeqCst) > 10);
    assert_eq!(group.in_flight(), 0);
}

#[tokio::test]
async fn a_value_that_nobody_waits_for_may_call_its_own_key_when_it_is_dropped() {
    let group = Group::new();
    let drops = Arc::new(AtomicUsize::new(0));
    drop(group.spawn(1, ready(Reentrant(group.clone(), drops.clone()))));
    settle().await;
    assert!(drops.load(SeqCst) > 10);
    assert_eq!(group.in_flight(), 0);
}

#[tokio::test]
async fn work_may_drop_another_waiter_when_it_is_dropped() {
    let group = Group::<u32, ()>::new();
    let other = group.run(2, never());
    let mut other = Some(other);
    let on_drop = OnDrop(move || drop(other.take()));
    let run = group.run(1, move || async move { drop(on_drop) });
    assert_eq!(group.in_flight(), 2);
    drop(run);
    assert_eq!(group.in_flight(), 0);
}

#[tokio::test]
async fn work_may_forget_and_spawn_its_own_key_when_it_is_dropped() {
    let group = Group::new();
    let same = group.clone();
    let on_drop = OnDrop(move || {
        same.forget(&1);
        drop(same.spawn(1, ready("new")));
    });
    let leader = group.run(1, move || async move {
        let _on_drop = on_drop;
        never_ends().await
    });
    let follower = group.run(1, never());
    settle().await;
    drop((leader, follower));
    assert_eq!(group.in_flight(), 1);
    settle().await;
    assert_eq!(group.in_flight(), 0);
}

#[tokio::test]
async fn a_value_may_call_its_own_key_when_it_is_cloned() {
    struct Value(Group<u32, Value>, u32);
    impl Clone for Value {
        fn clone(&self) -> Self {
            let (one, two) = (Value(self.0.clone(), self.1 + 1), Value(self.0.clone(), 0));
            drop(self.0.run(1, ready(two)));
            ready_now(task::spawn(self.0.run(1, ready(one)))).value
        }
    }
    let group = Group::new();
    let waiters = [group.run(1, ready(Value(group.clone(), 1))), group.run(1, never())];
    settle().await;
    let values = waiters.map(|waiter| ready_now(task::spawn(waiter)).value.1);
    assert_eq!((values, group.in_flight()), ([2, 1], 0));
}

/// A waker that calls its group when the last clone of it is dropped.
fn reentrant_waker(group: &Group<u32, &'static str>, drops: &Arc<AtomicUsize>) -> Waker {
    let (group, drops) = (group.clone(), drops.clone());
    let on_drop = OnDrop(move || {
        group.forget(&2);
        drop(group.run(1, ready("unheard")));
        assert_eq!(ready_now(task::spawn(group.run(2, ready("new")))), led("new", false));
        drops.fetch_add(1, SeqCst);
    });
    waker(move || {
        let _ = &on_drop;
    })
}

#[tokio::test]
async fn a_waker_may_call_back_into_its_group_when_it_is_dropped() {
    let group = Group::new();
    let drops = Arc::new(AtomicUsize::new(0));
    let (remote, inner) = work();
    let mut waiters = [group.run(1, inner), group.run(1, never()), group.run(1, never())];
    // Each waker is replaced by the next, then goes with its waiter or with the landing.
    for _ in 0..3 {
        for waiter in &mut waiters {
            assert_pending!(poll_with(waiter, &reentrant_waker(&group, &drops)));
        }
    }
    assert_eq!(drops.load(SeqCst), 6);
    let [leader, left, follower] = waiters;
    drop(left);
    assert_eq!(drops.load(SeqCst), 7);
    remote.land("landed");
    settle().await;
    assert_eq!(drops.load(SeqCst), 9);
    assert_eq!(ready_now(task::spawn(leader)), led("landed", true));
    assert_eq!(ready_now(task::spawn(follower)), followed("landed"));
}

#[test]
fn a_sole_callers_waker_may_call_back_into_its_group_when_it_is_dropped() {
    let group = Group::new();
    let drops = Arc::new(AtomicUsize::new(0));
    let mut run = group.run(1, std::future::pending);
    for _ in 0..3 {
        assert_pending!(poll_with(&mut run, &reentrant_waker(&group, &drops)));
    }
    assert_eq!(drops.load(SeqCst), 2);
    drop(run);
    assert_eq!((drops.load(SeqCst), group.in_flight()), (3, 0));
}

#[test]
fn a_key_may_call_back_into_its_group_when_it_is_dropped() {
    #[derive(Clone)]
    struct Key(u32, Option<Group<Key, u32>>, Arc<AtomicUsize>);
    impl PartialEq for Key {
        fn eq(&self, other: &Self) -> bool {
            self.0 == other.0
        }
    }
    impl Eq for Key {}
    impl std::hash::Hash for Key {
        fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
            self.0.hash(state);
        }
    }
    impl Drop for Key {
        fn drop(&mut self) {
            if let Some(group) = self.1.take() {
                self.2.fetch_add(1, SeqCst);
                let same = |value| group.run(Key(self.0, None, self.2.clone()), ready(value));
                group.forget(&Key(self.0, None, self.2.clone()));
                drop(same(8));
                assert_eq!(ready_now(task::spawn(same(9))).value, 9);
            }
        }
    }
    let group = Group::new();
    let drops = Arc::new(AtomicUsize::new(0));
    let key = || Key(1, Some(group.clone()), drops.clone());
    // Led and landed, joined, forgotten, cancelled: each drops a key.
    assert_eq!(ready_now(task::spawn(group.run(key(), ready(1)))).value, 1);
    assert_eq!(drops.load(SeqCst), 1);
    let leader = group.run(key(), ready(2));
    let follower = group.run(key(), never());
    // The joiner's key forgot the flight, and that dropped its leader's.
    assert_eq!(drops.load(SeqCst), 3);
    group.forget(&Key(1, None, drops.clone()));
    drop(follower);
    drop(leader);
    drop(group.run(key(), never()));
    assert_eq!(drops.load(SeqCst), 4);
    assert_eq!(group.in_flight(), 0);
}

#[test]
fn a_follower_that_was_served_holds_its_own_work_no_more() {
    let group = Group::new();
    let (unused, spare) = work::<&str>();
    let mut leader = task::spawn(group.run(1, ready("value")));
    let mut follower = task::spawn(group.run(1, spare));
    assert!(leader.poll().is_ready());
    assert!(follower.poll().is_ready());
    assert_eq!((unused.calls(), unused.drops()), (0, 1));
}
