//! Flights that are lost without a result: their runtime is shut down, or their task is gone.

use crate::util::*;
use futures_util::future::join_all;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::SeqCst},
};
use tokio::runtime::{Builder, Runtime};
use tokio_test::{assert_pending, assert_ready_eq, task};
use tower_singleflight::Group;

fn current_thread() -> Runtime {
    Builder::new_current_thread().build().unwrap()
}

fn multi_thread() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).build().unwrap()
}

#[test]
fn follower_leads_anew_and_the_leader_waits_on() {
    for doomed in [current_thread(), multi_thread()] {
        let group = Group::new();
        let (old, inner) = work::<&str>();
        let mut leader = task::spawn(inside(&doomed, || group.run(1, inner)));
        let (new, inner) = work();
        let mut follower = task::spawn(group.run(1, inner));
        assert_pending!(leader.poll());
        assert_pending!(follower.poll());
        doomed.block_on(until("the work is polled", || old.polls() > 0));
        drop(doomed);
        assert_eq!((old.drops(), group.in_flight()), (1, 1));
        assert!(leader.is_woken() && follower.is_woken());
        assert_pending!(leader.poll());
        assert_pending!(follower.poll());
        assert_eq!(new.polls(), 1);
        new.land("anew");
        assert_ready_eq!(follower.poll(), led("anew", true));
        assert!(leader.is_woken());
        assert_ready_eq!(leader.poll(), followed("anew"));
        assert_eq!(group.in_flight(), 0);
    }
}

#[test]
fn one_of_many_followers_leads_anew_and_the_others_wait_on() {
    let group = Group::new();
    let doomed = current_thread();
    let leader = inside(&doomed, || group.run(1, std::future::pending));
    let (new, inner) = work();
    let mut heir = task::spawn(group.run(1, inner));
    let mut others = [follow(&group, 1), follow(&group, 1), follow(&group, 1)];
    others.iter_mut().for_each(|other| assert!(other.poll().is_pending()));
    drop((doomed, leader));
    assert!(others.iter().all(|other| other.is_woken()));
    assert_pending!(heir.poll());
    others.iter_mut().for_each(|other| assert!(other.poll().is_pending()));
    new.land("anew");
    assert_ready_eq!(heir.poll(), led("anew", true));
    for other in others {
        assert!(other.is_woken());
        assert_eq!(ready_now(other), followed("anew"));
    }
}

#[test]
fn a_lost_flight_goes_to_the_runtime_of_the_one_who_leads_anew() {
    let group = Group::new();
    let doomed = current_thread();
    let leader = inside(&doomed, || group.run(1, std::future::pending));
    let (new, inner) = work();
    let mut heir = task::spawn(group.run(1, inner));
    drop(doomed);
    let alive = current_thread();
    alive.block_on(async {
        assert_pending!(heir.poll());
        settle().await;
        assert_eq!(new.polls(), 1);
        new.land("anew");
        // The leader and the one who led anew are quiet meanwhile.
        settle().await;
        assert_eq!(group.in_flight(), 0);
    });
    assert_ready_eq!(heir.poll(), led("anew", true));
    assert_eq!(block_on(leader), followed("anew"));
}

#[test]
fn a_newcomer_leads_a_lost_flight_anew_at_once() {
    let group = Group::new();
    let doomed = current_thread();
    let mut leader = task::spawn(inside(&doomed, || group.run(1, std::future::pending)));
    let mut quiet = follow(&group, 1);
    assert_pending!(leader.poll());
    drop(doomed);
    let mut newcomer = task::spawn(group.run(1, ready("anew")));
    assert_pending!(quiet.poll());
    assert_ready_eq!(newcomer.poll(), led("anew", true));
    assert_ready_eq!(quiet.poll(), followed("anew"));
    assert_ready_eq!(leader.poll(), followed("anew"));
}

#[test]
fn the_last_waiter_of_a_lost_flight_leads_alone_and_shares_nothing() {
    let group = Group::new();
    let doomed = current_thread();
    let leader = inside(&doomed, || group.run(1, std::future::pending));
    let heir = group.run(1, ready("anew"));
    drop((leader, doomed));
    assert_eq!(ready_now(task::spawn(heir)), led("anew", false));
    assert_eq!(group.in_flight(), 0);
}

#[test]
fn heir_that_leaves_before_it_leads_anew_leaves_that_to_the_next() {
    let group = Group::new();
    let doomed = current_thread();
    let leader = inside(&doomed, || group.run(1, std::future::pending));
    let mut first = follow(&group, 1);
    let mut second = task::spawn(group.run(1, ready("second")));
    assert_pending!(first.poll());
    assert_pending!(second.poll());
    drop((doomed, leader));
    assert!(first.is_woken() && second.is_woken());
    drop(first);
    assert_ready_eq!(second.poll(), led("second", false));
}

#[test]
fn heir_that_leaves_after_it_led_anew_leaves_its_work_to_the_others() {
    let group = Group::new();
    let doomed = current_thread();
    let leader = inside(&doomed, || group.run(1, std::future::pending));
    let (new, inner) = work();
    let mut heir = task::spawn(group.run(1, inner));
    let mut other = follow(&group, 1);
    drop((doomed, leader));
    assert_pending!(heir.poll());
    assert_pending!(other.poll());
    drop(heir);
    assert!(other.is_woken());
    new.land("anew");
    assert_ready_eq!(other.poll(), followed("anew"));
}

#[test]
fn a_flight_is_lost_again_and_again_until_somebody_lands_it() {
    let group = Group::new();
    let first = current_thread();
    let mut leader = task::spawn(inside(&first, || group.run(1, std::future::pending)));
    let (works, calls): (Vec<_>, Vec<_>) = (0..5).map(|_| work::<&str>()).unzip();
    let mut waiters: Vec<_> =
        calls.into_iter().map(|call| task::spawn(group.run(1, call))).collect();
    let mut last = task::spawn(group.run(1, ready("at last")));
    drop(first);
    for (work, waiter) in works.iter().zip(&mut waiters) {
        // Each leads anew on a runtime that goes as well.
        current_thread().block_on(async {
            assert_pending!(waiter.poll());
            settle().await;
            assert_eq!(work.polls(), 1);
        });
        assert_eq!((work.drops(), group.in_flight()), (1, 1));
    }
    assert_pending!(leader.poll());
    assert_ready_eq!(last.poll(), led("at last", true));
    for waiter in waiters.iter_mut().chain([&mut leader]) {
        assert!(waiter.is_woken());
        assert_ready_eq!(waiter.poll(), followed("at last"));
    }
    assert_eq!(group.in_flight(), 0);
}

#[test]
fn nobody_left_to_lead_anew_is_a_panic_that_names_the_crate() {
    let group = Group::new();
    let doomed = current_thread();
    let (old, inner) = work::<&str>();
    let mut ticket = task::spawn(inside(&doomed, || group.spawn(1, inner)));
    assert_pending!(ticket.poll());
    drop(doomed);
    assert!(ticket.is_woken());
    let text = panic_text(|| ticket.poll());
    assert!(text.contains("tower-singleflight") && text.contains("runtime"), "{text}");
    assert_eq!((old.drops(), group.in_flight()), (1, 0));
    assert_eq!(ready_now(task::spawn(group.run(1, ready("next")))), led("next", false));
}

#[test]
fn the_last_with_work_leaves_a_lost_flight_and_the_others_are_told() {
    let group = Group::new();
    let doomed = current_thread();
    let mut leader = task::spawn(inside(&doomed, || group.run(1, std::future::pending::<&str>)));
    let mut follower = follow(&group, 1);
    assert_pending!(leader.poll());
    assert_pending!(follower.poll());
    drop(doomed);
    assert_pending!(leader.poll());
    drop(follower);
    assert!(leader.is_woken());
    assert!(panic_text(|| leader.poll()).contains("tower-singleflight"));
    assert_eq!(group.in_flight(), 0);
}

#[test]
fn spawned_work_on_a_runtime_that_shuts_down_is_dropped_though_nobody_waits() {
    for doomed in [current_thread(), multi_thread()] {
        let group = Group::<u32, ()>::new();
        let (remote, inner) = work();
        drop(inside(&doomed, || group.spawn(1, inner)));
        doomed.block_on(until("the work is polled", || remote.polls() > 0));
        drop(doomed);
        assert_eq!((remote.drops(), group.in_flight()), (1, 0));
    }
}

#[test]
fn spawn_on_a_runtime_that_has_shut_down_is_a_panic_of_the_ticket() {
    for dead in [current_thread(), multi_thread()] {
        let group = Group::new();
        let handle = dead.handle().clone();
        drop(dead);
        let _inside = handle.enter();
        let (remote, inner) = work::<&str>();
        let mut ticket = task::spawn(group.spawn(1, inner));
        assert_eq!((remote.calls(), remote.drops(), group.in_flight()), (0, 1, 0));
        assert!(panic_text(|| ticket.poll()).contains("tower-singleflight"));
        assert_eq!(ready_now(task::spawn(group.run(1, ready("next")))), led("next", false));
    }
}

#[test]
fn joining_on_a_runtime_that_has_shut_down_loses_the_flight_until_nobody_is_left_to_lead() {
    for dead in [current_thread(), multi_thread()] {
        let group = Group::new();
        let handle = dead.handle().clone();
        drop(dead);
        let _inside = handle.enter();
        let (old, inner) = work::<&str>();
        let mut leader = task::spawn(group.run(1, inner));
        let mut joiner = task::spawn(group.run(1, ready("anew")));
        assert_eq!((old.calls(), old.drops()), (0, 1));
        assert_pending!(leader.poll());
        // Where the joiner is polled there is no live runtime either.
        assert!(panic_text(|| joiner.poll()).contains("tower-singleflight"));
        assert!(leader.is_woken());
        assert!(panic_text(|| leader.poll()).contains("tower-singleflight"));
        assert_eq!(group.in_flight(), 0);
    }
}

#[test]
fn leader_on_a_dead_runtime_polls_its_work_in_place_while_it_is_alone() {
    let group = Group::new();
    let dead = current_thread();
    let run = inside(&dead, || group.run(1, ready("landed")));
    drop(dead);
    assert_eq!(block_on(run), led("landed", false));
}

#[test]
fn work_may_join_its_own_lost_flight_when_it_is_dropped() {
    for doomed in [current_thread(), multi_thread()] {
        let group = Group::new();
        let same = group.clone();
        let (sender, receiver) = std::sync::mpsc::channel();
        let on_drop = OnDrop(move || sender.send(same.run(1, ready("anew"))).unwrap());
        let started = Arc::new(AtomicBool::new(false));
        let start = started.clone();
        let leader = inside(&doomed, || {
            group.run(1, move || async move {
                let _on_drop = on_drop;
                start.store(true, SeqCst);
                std::future::pending().await
            })
        });
        let follower = group.run(1, ready("anew"));
        doomed.block_on(until("the work is polled", || started.load(SeqCst)));
        drop(doomed);
        let all = join_all([leader, follower, receiver.recv().unwrap()]);
        assert!(block_on(all).iter().all(|outcome| outcome.value == "anew"));
        assert_eq!(group.in_flight(), 0);
    }
}

#[test]
fn runtimes_shut_down_under_racing_callers() {
    let group = Group::new();
    for _ in 0..50 {
        let doomed = multi_thread();
        let leader = inside(&doomed, || group.run(1, std::future::pending));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| assert_eq!(block_on(group.run(1, ready("anew"))).value, "anew"));
            }
            scope.spawn(|| drop(doomed));
        });
        drop(leader);
        assert_eq!(group.in_flight(), 0);
    }
}

/// A leader on a runtime that is about to go, and a `spawn` that joined it from another.
#[test]
fn a_ticket_whose_flight_is_lost_runs_its_own_work_when_it_is_polled() {
    let (group, doomed, alive) = (Group::new(), current_thread(), current_thread());
    let mut leader = task::spawn(inside(&doomed, || group.run(1, std::future::pending)));
    let (new, inner) = work();
    let mut ticket = task::spawn(inside(&alive, || group.spawn(1, inner)));
    assert_pending!(leader.poll());
    drop(doomed);
    assert_eq!(new.polls(), 0);
    let _inside = alive.enter();
    assert_pending!(ticket.poll());
    alive.block_on(until("the spawned work runs", || new.polls() > 0));
    new.land("again");
    alive.block_on(until("it lands", || group.in_flight() == 0));
    assert!(leader.is_woken());
    assert_ready_eq!(leader.poll(), followed("again"));
    assert_ready_eq!(ticket.poll(), led("again", true));
}
