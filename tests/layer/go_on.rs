//! Followers that go on after an error, and everything that can go wrong meanwhile.

use crate::support::{
    Ask, Broken, Layered, Upstream, by_key, call, panic_text, result, settle, waker,
    without_deadlock,
};
use futures_util::future::BoxFuture;
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio_test::{assert_pending, task::spawn};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_singleflight::{SingleflightLayer, mode::ByKey};

type Failing = Upstream<&'static str, Broken>;

fn retrying(retries: u32) -> SingleflightLayer<ByKey<Ask, u32>> {
    by_key().followers_retry(retries)
}

fn failing(layer: &SingleflightLayer<ByKey<Ask, u32>>) -> (Failing, Layered<Failing>) {
    let upstream = Failing::new();
    (upstream.clone(), layer.layer(upstream))
}

/// Panics when it is dropped.
#[derive(Clone, Debug)]
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("the error");
        }
    }
}

#[tokio::test]
async fn an_error_that_panics_as_it_is_dropped_because_its_leader_left_keeps_nobody_waiting() {
    let upstream = Upstream::<&str, Bomb>::new();
    let layer = retrying(1);
    let mut service = layer.layer(upstream.clone());
    let leader = call(&mut service, (1, "leader"));
    let mut followers = [(); 2].map(|()| call(&mut service, (1, "follower")));
    settle().await;
    drop(leader);
    upstream.next().fail(Bomb);
    settle().await;
    followers.iter_mut().for_each(|follower| assert_pending!(follower.poll()));
    settle().await;
    upstream.next().answer("told");
    settle().await;
    for follower in &mut followers {
        assert!(matches!(result(follower), Ok("told")));
    }
    assert_eq!((layer.handle().in_flight(), layer.handle().waiting()), (0, 0));
}

#[tokio::test]
async fn a_leader_that_leaves_an_error_that_panics_as_it_is_dropped_has_the_panic_itself() {
    let upstream = Upstream::<&str, Bomb>::new();
    let layer = retrying(1);
    let mut service = layer.layer(upstream.clone());
    let leader = call(&mut service, (1, "leader"));
    let mut follower = call(&mut service, (1, "follower"));
    settle().await;
    upstream.next().fail(Bomb);
    settle().await;
    assert_eq!(panic_text(|| drop(leader)), "the error");
    assert_pending!(follower.poll());
    upstream.next().answer("told");
    assert!(matches!(result(&mut follower), Ok("told")));
    assert_eq!((layer.handle().in_flight(), layer.handle().waiting()), (0, 0));
}

#[tokio::test]
async fn a_waker_that_panics_leaves_no_other_follower_asleep() {
    let (upstream, mut service) = failing(&retrying(1));
    let mut leader = call(&mut service, (1, "leader"));
    let mut one = Box::pin(service.call((1, "follower")));
    let mut two = call(&mut service, (1, "follower"));
    let panics = waker(|| panic!("the waker"));
    assert!(one.as_mut().poll(&mut Context::from_waker(&panics)).is_pending());
    assert_pending!(two.poll());
    settle().await;
    upstream.next().fail(Broken("down"));
    settle().await;
    assert!(two.is_woken());
    assert_eq!(result(&mut leader), Err(Broken("down")));
    assert_pending!(two.poll());
    settle().await;
    upstream.next().answer("told");
    settle().await;
    assert_eq!(result(&mut two), Ok("told"));
}

#[test]
fn a_follower_that_is_polled_by_its_own_waker_leads() {
    without_deadlock(|| async {
        let (upstream, mut service) = failing(&retrying(1));
        let mut leader = call(&mut service, (1, "leader"));
        let follower = Arc::new(Mutex::new(Some(Box::pin(service.call((1, "follower"))))));
        let polled = follower.clone();
        let again = waker(move || {
            let mut follower = polled.lock().unwrap().take().expect("it waits");
            assert!(follower.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            *polled.lock().unwrap() = Some(follower);
        });
        let mut waits = follower.lock().unwrap().take().unwrap();
        assert!(waits.as_mut().poll(&mut Context::from_waker(&again)).is_pending());
        *follower.lock().unwrap() = Some(waits);
        settle().await;
        upstream.next().fail(Broken("down"));
        settle().await;
        assert_eq!((result(&mut leader), upstream.total()), (Err(Broken("down")), 2));
        upstream.next().answer("told");
        settle().await;
        let mut follower = follower.lock().unwrap().take().unwrap();
        let polled = follower.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert_eq!(polled, Poll::Ready(Ok("told")));
    });
}

#[tokio::test]
async fn an_error_of_a_flight_that_everybody_left_is_retried_by_nobody() {
    let layer = retrying(3).run_to_completion(true);
    let (upstream, mut service) = failing(&layer);
    drop((service.call((1, "leader")), service.call((1, "follower"))));
    settle().await;
    upstream.next().fail(Broken("down"));
    settle().await;
    assert_eq!(
        (upstream.total(), layer.handle().in_flight(), layer.handle().stats().refused),
        (1, 0, 0)
    );
}

#[tokio::test]
async fn a_flight_that_went_on_runs_to_its_completion_though_everybody_left() {
    let layer = retrying(1).run_to_completion(true);
    let (upstream, mut service) = failing(&layer);
    let leader = call(&mut service, (1, "leader"));
    let mut follower = call(&mut service, (1, "follower"));
    settle().await;
    upstream.next().fail(Broken("down"));
    settle().await;
    assert_pending!(follower.poll());
    let second = upstream.next();
    drop((leader, follower));
    settle().await;
    assert!(!second.is_dropped());
    assert_eq!((layer.handle().in_flight(), layer.handle().waiting()), (1, 0));
    second.answer("told");
    settle().await;
    assert_eq!(layer.handle().in_flight(), 0);
}

#[test]
fn a_follower_that_leads_anew_inside_another_flight_may_call_that() {
    without_deadlock(|| async {
        let service = Arc::new(Mutex::new(None::<tower::util::BoxCloneService<Ask, u32, Broken>>));
        let (inside, calls, gate) =
            (service.clone(), Arc::new(AtomicUsize::new(0)), Arc::new(tokio::sync::Notify::new()));
        let opens = gate.clone();
        let layer = retrying(1);
        let coalesced = layer.layer(service_fn(move |ask: Ask| {
            let (mut call, gate) = (inside.lock().unwrap().clone().unwrap(), gate.clone());
            let nth = calls.fetch_add(1, SeqCst);
            let inner = match ask {
                // The outer work waits for key 2, whose first call fails.
                (1, "outer") => Some(call.call((2, "follower"))),
                // Led anew inside the outer flight, it calls that.
                (2, "follower") => Some(call.call((1, "inner"))),
                _ => None,
            };
            let work: BoxFuture<'static, Result<u32, Broken>> = Box::pin(async move {
                match inner {
                    Some(inner) => inner.await,
                    None if ask.1 == "leader" => {
                        gate.notified().await;
                        Err(Broken("down"))
                    }
                    None => Ok(nth as u32),
                }
            });
            work
        }));
        *service.lock().unwrap() = Some(coalesced.clone().boxed_clone());
        let mut leader = spawn(coalesced.clone().oneshot((2, "leader")));
        assert_pending!(leader.poll());
        let outer = tokio::spawn(coalesced.clone().oneshot((1, "outer")));
        settle().await;
        opens.notify_one();
        assert_eq!(
            tokio::time::timeout(Duration::from_secs(5), outer).await.expect("a deadlock").unwrap(),
            Ok(3)
        );
        assert_eq!(leader.await, Err(Broken("down")));
        service.lock().unwrap().take();
    });
}

#[test]
fn a_runtime_that_goes_down_after_an_error_strands_nobody() {
    let (upstream, mut service) = failing(&retrying(1));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (mut leader, mut followers) = runtime.block_on(async {
        let leader = call(&mut service, (1, "leader"));
        let mut followers = [(); 2].map(|()| call(&mut service, (1, "follower")));
        followers.iter_mut().for_each(|follower| assert_pending!(follower.poll()));
        settle().await;
        upstream.next().fail(Broken("down"));
        settle().await;
        (leader, followers)
    });
    drop(runtime);
    assert!(followers[1].is_woken());
    assert_pending!(followers[1].poll());
    assert_pending!(followers[0].poll());
    upstream.next().answer("told");
    // There is no runtime, so whoever leads does the work.
    assert_eq!((result(&mut followers[1]), result(&mut followers[0])), (Ok("told"), Ok("told")));
    assert_eq!((result(&mut leader), upstream.total()), (Err(Broken("down")), 2));
}

#[tokio::test]
async fn a_panic_in_the_second_flight_reaches_those_who_are_in_it() {
    let layer = retrying(2);
    let upstream = Failing::new();
    let inner = upstream.clone();
    let mut service = layer.layer(service_fn(move |ask: Ask| {
        let answer = inner.clone().call(ask);
        let work: BoxFuture<'static, Result<&str, Broken>> = Box::pin(async move {
            match answer.await {
                Ok("panic") => panic!("the second"),
                end => end,
            }
        });
        work
    }));
    let mut leader = call(&mut service, (1, "leader"));
    let mut followers = [(); 2].map(|()| call(&mut service, (1, "follower")));
    settle().await;
    upstream.next().fail(Broken("down"));
    settle().await;
    followers.iter_mut().for_each(|follower| assert_pending!(follower.poll()));
    settle().await;
    upstream.next().answer("panic");
    settle().await;
    for follower in &mut followers {
        assert_eq!(panic_text(|| follower.poll()), "the second");
    }
    assert_eq!(result(&mut leader), Err(Broken("down")));
    assert_eq!((layer.handle().in_flight(), layer.handle().waiting()), (0, 0));
}

#[tokio::test]
async fn a_full_flight_that_goes_on_takes_nobody_and_one_that_lost_its_leader_does() {
    let layer = retrying(1).max_waiters(2);
    let (upstream, mut service) = failing(&layer);
    let _leader = call(&mut service, (1, "leader"));
    let mut follower = call(&mut service, (1, "follower"));
    settle().await;
    upstream.next().fail(Broken("down"));
    settle().await;
    // The leader waits no more, so there is one seat, and whoever takes it leads.
    let mut newcomer = call(&mut service, (1, "newcomer"));
    let mut another = call(&mut service, (1, "another"));
    let stats = layer.handle().stats();
    assert_eq!((stats.led, stats.joined, stats.waiting), (2, 2, 3));
    assert_pending!(newcomer.poll());
    assert_pending!(follower.poll());
    assert_pending!(another.poll());
    settle().await;
    let (one, two) = (upstream.next(), upstream.next());
    assert_eq!((one.request.1, two.request.1), ("another", "newcomer"));
    one.answer("another's");
    two.answer("told");
    settle().await;
    assert_eq!((result(&mut newcomer), result(&mut follower)), (Ok("told"), Ok("told")));
    assert_eq!(result(&mut another), Ok("another's"));
}

#[tokio::test(start_paused = true)]
async fn a_flight_that_goes_on_is_as_young_as_its_newest_call() {
    let layer = retrying(1).join_within(Duration::from_secs(1));
    let (upstream, mut service) = failing(&layer);
    let _leader = call(&mut service, (1, "leader"));
    let mut follower = call(&mut service, (1, "follower"));
    settle().await;
    tokio::time::advance(Duration::from_millis(900)).await;
    upstream.next().fail(Broken("down"));
    settle().await;
    assert_pending!(follower.poll());
    tokio::time::advance(Duration::from_millis(900)).await;
    let _young = service.call((1, "young"));
    assert_eq!(layer.handle().stats().led, 1);
    tokio::time::advance(Duration::from_millis(100)).await;
    let _late = service.call((1, "late"));
    assert_eq!(layer.handle().stats().led, 2);
}

#[tokio::test]
async fn a_leader_that_is_dropped_by_its_own_work_leaves_its_error_to_nobody() {
    let layer = retrying(1);
    let held = Arc::new(Mutex::new(None));
    let dropped = held.clone();
    let mut service = layer.layer(service_fn(move |ask: Ask| {
        let leader: Option<BoxFuture<'static, Result<&str, Broken>>> =
            dropped.lock().unwrap().take();
        let work: BoxFuture<'static, Result<&str, Broken>> = Box::pin(async move {
            tokio::task::yield_now().await;
            if ask.1 == "leader" {
                drop(leader);
                return Err(Broken("down"));
            }
            Ok("told")
        });
        work
    }));
    let leader: BoxFuture<'static, Result<&str, Broken>> = Box::pin(service.call((1, "leader")));
    *held.lock().unwrap() = Some(leader);
    let mut followers = [(); 2].map(|()| call(&mut service, (1, "follower")));
    followers.iter_mut().for_each(|follower| assert_pending!(follower.poll()));
    settle().await;
    followers.iter_mut().for_each(|follower| drop(follower.poll()));
    settle().await;
    let stats = layer.handle().stats();
    assert_eq!((stats.refused, stats.in_flight, stats.waiting), (1, 0, 0));
}
