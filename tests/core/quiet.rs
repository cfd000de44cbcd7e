//! A waiter that is alive but not polled delays nobody.

use crate::util::*;
use futures_util::{StreamExt, future, stream};
use std::{pin::pin, time::Duration};
use tokio::time::{sleep, timeout};
use tokio_test::{assert_pending, assert_ready_eq, task};
use tower_singleflight::Group;

const LONG: Duration = Duration::from_secs(3600);

on_both_runtimes! {
    async fn leader_goes_quiet_after_one_poll() {
        let group = Group::new();
        let (remote, inner) = work();
        let mut leader = task::spawn(group.run(1, inner));
        assert_pending!(leader.poll());
        let follower = tokio::spawn(group.run(1, never()));
        until("a task has polled the work", || remote.polls() == 2).await;
        remote.land("landed");
        assert_eq!(follower.await.unwrap(), followed("landed"));
        assert_ready_eq!(leader.poll(), led("landed", true));
    }

    async fn leader_is_never_polled() {
        let group = Group::new();
        let leader = group.run(1, ready("landed"));
        assert_eq!(group.run(1, never()).await, followed("landed"));
        drop(leader);
    }

    async fn follower_is_never_polled() {
        let group = Group::new();
        let leader = group.run(1, ready("landed"));
        let follower = group.run(1, never());
        assert_eq!(leader.await, led("landed", true));
        drop(follower);
    }

    async fn nobody_is_polled_and_the_flight_lands() {
        let group = Group::new();
        let leader = group.run(1, ready("landed"));
        let follower = group.run(1, never());
        until("it has landed", || group.in_flight() == 0).await;
        assert_eq!(follower.await, followed("landed"));
        assert_eq!(leader.await, led("landed", true));
    }

    async fn a_hundred_quiet_waiters_delay_nobody() {
        let group = Group::new();
        let (remote, inner) = work();
        let mut quiet = vec![task::spawn(group.run(1, inner))];
        quiet.extend((0..100).map(|_| follow(&group, 1)));
        quiet.iter_mut().step_by(2).for_each(|waiter| assert!(waiter.poll().is_pending()));
        let last = tokio::spawn(group.run(1, never()));
        until("the work is polled", || remote.polls() > 0).await;
        remote.land("landed");
        assert_eq!(last.await.unwrap(), followed("landed"));
        for waiter in quiet {
            assert_eq!(ready_now(waiter).value, "landed");
        }
    }
}

#[tokio::test]
async fn leader_that_joined_company_while_it_polled_hands_the_work_over() {
    let group = Group::new();
    let outer = group.clone();
    let (sender, receiver) = std::sync::mpsc::channel();
    let (remote, inner) = work();
    let mut leader = task::spawn(group.run(1, move || {
        // Outside of every flight, in the eyes of the group: another thread.
        let follower = std::thread::spawn(move || outer.run(1, never())).join().unwrap();
        sender.send(follower).unwrap();
        inner()
    }));
    assert_pending!(leader.poll());
    let mut follower = task::spawn(receiver.recv().unwrap());
    assert_pending!(follower.poll());
    remote.land("landed");
    settle().await;
    assert!(follower.is_woken());
    assert_ready_eq!(follower.poll(), followed("landed"));
    assert_ready_eq!(leader.poll(), led("landed", true));
}

#[tokio::test(start_paused = true)]
async fn two_waiters_in_one_slow_buffered_stream() {
    let group = Group::new();
    let load = |_: u32| {
        group.run(1, || async {
            sleep(Duration::from_secs(1)).await;
            "landed"
        })
    };
    let mut stream = pin!(stream::iter(0..8).map(load).buffered(4));
    let first = stream.next().await.unwrap();
    // The stream, and all who wait in it, are not polled while this goes on.
    let here =
        timeout(LONG, group.run(1, ready("anew"))).await.expect("a quiet stream delays nobody");
    assert!([first.value, here.value].iter().all(|value| ["landed", "anew"].contains(value)));
    let rest: Vec<_> = timeout(LONG, stream.collect()).await.expect("the stream goes on");
    assert_eq!(rest.len(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_quiet_leader_in_a_buffered_stream_delays_nobody() {
    let group = Group::new();
    let load = |key: u32| {
        group.run(key, move || async move {
            sleep(Duration::from_secs(u64::from(key))).await;
            key
        })
    };
    let mut stream = pin!(stream::iter([1, 5]).map(load).buffered(2));
    assert_eq!(stream.next().await, Some(led(1, false)));
    // Key 5 is led inside the stream, and is 1 s old.
    let follower = timeout(LONG, group.run(5, never())).await;
    assert_eq!(follower.expect("the leader's quiet delays nobody"), followed(5));
    assert_eq!(stream.next().await, Some(led(5, true)));
}

#[tokio::test(start_paused = true)]
async fn one_arm_of_a_select_leads_and_the_other_follows() {
    let group = Group::new();
    let mut leader = pin!(group.run(1, || async {
        sleep(Duration::from_secs(5)).await;
        "landed"
    }));
    tokio::select! {
        _ = &mut leader => unreachable!("it takes 5 s"),
        () = sleep(Duration::from_secs(1)) => {
            let follower = timeout(LONG, group.run(1, never())).await;
            let follower = follower.expect("this arm waits for the other's flight only");
            assert_eq!(follower, followed("landed"));
        }
    }
    assert_eq!(leader.await, led("landed", true));
}

#[tokio::test(start_paused = true)]
async fn leader_holds_what_a_quiet_follower_needs() {
    // The follower has been polled, waits, and now stands behind a lock that the leader's caller
    // takes.
    let group = Group::new();
    let mutex = tokio::sync::Mutex::new(());
    let slow = || async {
        sleep(Duration::from_secs(1)).await;
        "landed"
    };
    let locked = |run| async {
        let _guard = mutex.lock().await;
        timeout(LONG, run).await.expect("nobody hangs")
    };
    let (one, two) = future::join(locked(group.run(1, slow)), locked(group.run(1, never()))).await;
    assert_eq!((one, two), (led("landed", true), followed("landed")));
}
