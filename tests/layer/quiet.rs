//! A waiter that lives but is not polled delays nobody.

use crate::support::{Ask, Upstream, by_key, call, coalesced, result, settle};
use futures_util::{FutureExt, StreamExt, stream};
use std::{
    convert::Infallible,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};
use tokio_test::{assert_pending, task::spawn};
use tower::{Layer, Service, ServiceExt, service_fn};

#[tokio::test]
async fn a_leader_that_is_never_polled_delays_nobody() {
    let (upstream, mut service) = coalesced();
    let _leader = service.call((1, "leader"));
    let mut follower = call(&mut service, (1, "follower"));
    assert_pending!(follower.poll());
    settle().await;
    upstream.next().answer("told");
    settle().await;
    assert!(follower.is_woken());
    assert_eq!(result(&mut follower), Ok("told"));
}

#[tokio::test]
async fn a_leader_that_was_polled_and_then_no_more_delays_nobody() {
    let (upstream, mut service) = coalesced();
    let mut leader = call(&mut service, (1, "leader"));
    assert_pending!(leader.poll());
    let mut follower = call(&mut service, (1, "follower"));
    assert_pending!(follower.poll());
    upstream.next().answer("told");
    settle().await;
    assert_eq!(result(&mut follower), Ok("told"));
    assert_eq!(result(&mut leader), Ok("told"));
}

#[tokio::test]
async fn a_leader_that_was_woken_and_is_not_polled_delays_nobody() {
    let (upstream, mut service) = coalesced();
    let mut leader = call(&mut service, (1, "leader"));
    assert_pending!(leader.poll());
    upstream.next().answer("told");
    assert!(leader.is_woken());
    let mut follower = call(&mut service, (1, "follower"));
    assert_pending!(follower.poll());
    settle().await;
    assert_eq!(result(&mut follower), Ok("told"));
}

#[tokio::test]
async fn the_flight_lands_though_no_waiter_at_all_is_polled() {
    let (upstream, mut service) = coalesced();
    let mut calls = ["one", "two", "three"].map(|who| call(&mut service, (1, who)));
    settle().await;
    upstream.next().answer("told");
    settle().await;
    assert_eq!(calls.each_mut().map(|call| result(call).unwrap()), ["told"; 3]);
}

#[tokio::test]
async fn a_follower_that_takes_its_result_late_keeps_no_key_occupied() {
    let upstream = Upstream::<&str>::new();
    let layer = by_key();
    let mut service = layer.layer(upstream.clone());
    let _calls = ["one", "two"].map(|who| service.call((1, who)));
    settle().await;
    upstream.next().answer("told");
    settle().await;
    assert_eq!((layer.handle().in_flight(), layer.handle().waiting()), (0, 0));
}

#[tokio::test]
async fn a_buffered_stream_that_waits_for_its_consumer_delays_nobody() {
    let (upstream, service) = coalesced();
    let others = service.clone();
    let stream = stream::iter([(1, "buffered"), (2, "buffered")])
        .map(move |ask| others.clone().oneshot(ask));
    let mut stream = spawn(stream.buffered(2));
    assert_pending!(stream.poll_next());
    let (one, two) = (upstream.next(), upstream.next());

    // The consumer is busy with something else from here on.
    let mut elsewhere = spawn(service.oneshot((2, "elsewhere")));
    assert_pending!(elsewhere.poll());
    two.answer("told");
    settle().await;
    assert_eq!(elsewhere.poll(), std::task::Poll::Ready(Ok("told")));

    one.answer("first");
    assert_eq!(stream.next().await, Some(Ok("first")));
    assert_eq!(stream.next().await, Some(Ok("told")));
}

#[tokio::test(start_paused = true)]
async fn a_select_arm_that_waits_for_the_same_key_does_not_deadlock() {
    let service = by_key().layer(service_fn(|_: Ask| async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok::<_, Infallible>("told")
    }));
    let mut led = std::pin::pin!(service.clone().oneshot((1, "leader")));
    assert!(led.as_mut().now_or_never().is_none());
    let told = tokio::select! {
        biased;
        () = tokio::time::sleep(Duration::from_millis(1)) => service.oneshot((1, "follower")).await,
        told = &mut led => told,
    };
    assert_eq!(told, Ok("told"));
}

#[tokio::test]
async fn a_lock_held_by_a_follower_and_awaited_by_the_leaders_task_does_not_deadlock() {
    let (upstream, service) = coalesced();
    let lock = Arc::new(tokio::sync::Mutex::new(()));
    let held = lock.clone().lock_owned().await;
    let mut leader = spawn(Box::pin({
        let (service, lock) = (service.clone(), lock.clone());
        async move {
            let led = service.oneshot((1, "leader"));
            tokio::pin!(led);
            assert!((&mut led).now_or_never().is_none());
            let _lock = lock.lock().await;
            led.await
        }
    }));
    assert_pending!(leader.poll());
    let mut follower = spawn(service.oneshot((1, "follower")));
    assert_pending!(follower.poll());
    upstream.next().answer("told");
    settle().await;
    assert_eq!(follower.poll(), std::task::Poll::Ready(Ok("told")));
    drop(held);
    assert_eq!(leader.await, Ok("told"));
}

#[test]
fn without_any_runtime_a_flight_is_polled_by_its_leader_and_lands_for_all() {
    let (upstream, mut service) = coalesced();
    let mut leader = call(&mut service, (1, "leader"));
    let mut follower = call(&mut service, (1, "follower"));
    assert_pending!(follower.poll());
    assert_eq!(upstream.total(), 0);
    assert_pending!(leader.poll());
    upstream.next().answer("told");
    assert!(leader.is_woken());
    assert_eq!(result(&mut leader), Ok("told"));
    assert!(follower.is_woken());
    assert_eq!(result(&mut follower), Ok("told"));
}

#[test]
fn without_any_runtime_a_follower_takes_over_when_the_leader_leaves() {
    let (upstream, mut service) = coalesced();
    let mut leader = call(&mut service, (1, "leader"));
    let mut follower = call(&mut service, (1, "follower"));
    assert_pending!(leader.poll());
    assert_pending!(follower.poll());
    drop(leader);
    assert!(follower.is_woken());
    assert_pending!(follower.poll());
    upstream.next().answer("told");
    assert!(follower.is_woken());
    assert_eq!(result(&mut follower), Ok("told"));
    assert_eq!(upstream.total(), 1);
}

#[test]
fn a_flight_led_outside_a_runtime_moves_to_that_of_its_first_joiner() {
    let (upstream, mut service) = coalesced();
    let mut leader = call(&mut service, (1, "leader"));
    assert_pending!(leader.poll());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut follower = call(&mut service, (1, "follower"));
        assert_pending!(follower.poll());
        upstream.next().answer("told");
        settle().await;
        assert_eq!(result(&mut follower), Ok("told"));
    });
    assert!(leader.is_woken());
    assert_eq!(result(&mut leader), Ok("told"));
}

#[test]
fn a_shared_flight_is_carried_by_its_leaders_runtime() {
    let (upstream, mut service) = coalesced();
    let [leaders, joiners] =
        [(); 2].map(|()| tokio::runtime::Builder::new_current_thread().build().unwrap());
    let [mut leader] = leaders.block_on(async { [call(&mut service, (1, "leader"))] });
    let [mut follower] = joiners.block_on(async {
        let follower = call(&mut service, (1, "follower"));
        settle().await;
        [follower]
    });
    assert_eq!((upstream.total(), joiners.metrics().num_alive_tasks()), (0, 0));
    leaders.block_on(settle());
    upstream.next().answer("told");
    leaders.block_on(settle());
    assert_eq!((result(&mut leader), result(&mut follower)), (Ok("told"), Ok("told")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thread_that_is_blocked_with_a_call_in_hand_delays_nobody_on_other_threads() {
    let (upstream, service) = coalesced();
    let (led, leads) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let blocked = thread::spawn({
        let (mut service, runtime) = (service.clone(), tokio::runtime::Handle::current());
        move || {
            let _inside = runtime.enter();
            let mut leader = call(&mut service, (1, "leader"));
            assert_pending!(leader.poll());
            led.send(()).unwrap();
            released.recv().unwrap();
            result(&mut leader)
        }
    });
    leads.recv().unwrap();
    let follower = tokio::spawn(service.oneshot((1, "follower")));
    upstream.next().answer("told");
    assert_eq!(follower.await.unwrap(), Ok("told"));
    release.send(()).unwrap();
    assert_eq!(blocked.join().unwrap(), Ok("told"));
}
