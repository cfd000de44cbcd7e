//! What happens while the inner call is being polled, held there by the test.

use crate::support::{Ask, by_key, call, result};
use std::{
    convert::Infallible,
    future::poll_fn,
    sync::{Arc, Mutex, mpsc},
    task::{Poll, Waker},
    thread,
    time::Duration,
};
use tokio::runtime::{Builder, Runtime};
use tokio_test::{assert_pending, task::spawn};
use tower::{Layer, Service, service_fn};
use tower_singleflight::{SingleflightLayer, mode::ByKey};

/// Holds the inner call in its poll.
struct Held {
    entered: mpsc::Receiver<Waker>,
    leave: mpsc::Sender<Poll<&'static str>>,
}

impl Held {
    /// Waits until the inner call is being polled.
    fn enter(&self) -> Waker {
        self.entered.recv_timeout(Duration::from_secs(20)).expect("the inner call is polled")
    }

    fn leave(&self, poll: Poll<&'static str>) {
        self.leave.send(poll).unwrap();
    }
}

/// A service whose calls are held in each of their polls, but for those that ask to be answered at
/// once.
fn held() -> (
    Held,
    SingleflightLayer<ByKey<Ask, u32>>,
    impl Service<Ask, Response = &'static str, Error = Infallible, Future: Unpin + Send> + Clone + Send,
) {
    let (enters, entered) = mpsc::channel();
    let (leave, leaves) = mpsc::channel();
    let leaves = Arc::new(Mutex::new(leaves));
    let layer = by_key();
    let service = layer.layer(service_fn(move |ask: Ask| {
        let (enters, leaves) = (enters.clone(), leaves.clone());
        async move {
            if ask.1 == "at once" {
                return Ok::<_, Infallible>(ask.1);
            }
            let told = poll_fn(|cx| {
                enters.send(cx.waker().clone()).unwrap();
                leaves.lock().unwrap().recv().unwrap()
            });
            Ok(told.await)
        }
    }));
    (Held { entered, leave }, layer, service)
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

#[test]
fn who_joins_while_the_leader_polls_is_served_though_the_leader_is_not_polled_again() {
    let (held, _layer, mut service) = held();
    let runtime = runtime();
    let _inside = runtime.enter();
    let mut leader = call(&mut service, (1, "leader"));
    thread::scope(|threads| {
        let polls = threads.spawn(|| assert_pending!(leader.poll()));
        held.enter();
        let mut follower = call(&mut service, (1, "follower"));
        assert_pending!(follower.poll());
        held.leave(Poll::Pending);
        polls.join().unwrap();
        held.enter();
        held.leave(Poll::Ready("told"));
        assert_eq!(runtime.block_on(follower), Ok("told"));
    });
    assert_eq!(result(&mut leader), Ok("told"));
}

#[test]
fn who_joins_while_the_leaders_last_poll_runs_gets_its_result() {
    let (held, layer, mut service) = held();
    let mut leader = call(&mut service, (1, "leader"));
    thread::scope(|threads| {
        let polls = threads.spawn(|| result(&mut leader));
        held.enter();
        let mut follower = call(&mut service, (1, "follower"));
        assert_pending!(follower.poll());
        held.leave(Poll::Ready("told"));
        assert_eq!(polls.join().unwrap(), Ok("told"));
        assert!(follower.is_woken());
        assert_eq!(result(&mut follower), Ok("told"));
    });
    assert_eq!((layer.handle().in_flight(), layer.handle().stats().led), (0, 1));
}

#[test]
fn joining_and_forgetting_do_not_wait_for_a_long_poll() {
    let (held, layer, mut service) = held();
    let mut leader = call(&mut service, (1, "leader"));
    thread::scope(|threads| {
        let polls = threads.spawn(|| result(&mut leader));
        held.enter();
        let (joins, joined) = mpsc::channel();
        let (mut clone, handle) = (service.clone(), layer.handle());
        threads.spawn(move || {
            drop(clone.call((1, "follower")));
            handle.forget(&1);
            joins.send(handle.stats().joined)
        });
        let joined = joined.recv_timeout(Duration::from_secs(20));
        held.leave(Poll::Ready("told"));
        assert_eq!(joined, Ok(1));
        assert_eq!(polls.join().unwrap(), Ok("told"));
    });
}

#[test]
fn a_key_is_free_when_all_have_left_though_the_inner_call_is_being_polled() {
    for end in [Poll::Pending, Poll::Ready("too late")] {
        let (held, layer, mut service) = held();
        let runtime = runtime();
        let _inside = runtime.enter();
        let calls = ["leader", "follower"].map(|who| service.call((1, who)));
        held.enter();
        drop(calls);
        let stats = layer.handle().stats();
        assert_eq!((stats.in_flight, stats.waiting, stats.cancelled), (0, 0, 1));

        let mut newcomer = call(&mut service, (1, "at once"));
        let follower = service.call((1, "follower"));
        assert_eq!(layer.handle().stats().led, 2);
        held.leave(end);
        assert_eq!(runtime.block_on(follower), Ok("at once"));
        assert_eq!(result(&mut newcomer), Ok("at once"));
        drop(runtime);
        let stats = layer.handle().stats();
        assert_eq!((stats.in_flight, stats.waiting, stats.cancelled, stats.lost), (0, 0, 1, 0));
    }
}

#[test]
fn a_runtime_that_shuts_down_while_the_inner_call_is_polled_loses_nothing_that_has_landed() {
    let (held, layer, mut service) = held();
    let runtime = runtime();
    let mut calls = {
        let _inside = runtime.enter();
        ["leader", "follower"].map(|who| call(&mut service, (1, who)))
    };
    held.enter();
    runtime.shutdown_background();
    for call in &mut calls {
        assert_pending!(call.poll());
    }
    held.leave(Poll::Ready("told"));
    for mut call in calls {
        assert_eq!(spin(|| call.poll()), Ok("told"));
    }
    assert_eq!(layer.handle().stats().lost, 0);
}

#[test]
fn a_runtime_that_shuts_down_while_the_inner_call_is_polled_loses_what_has_not_landed() {
    let (held, layer, mut service) = held();
    let runtime = runtime();
    let [mut leader, mut follower] = {
        let _inside = runtime.enter();
        [(1, "leader"), (1, "at once")].map(|ask| call(&mut service, ask))
    };
    held.enter();
    runtime.shutdown_background();
    assert_pending!(follower.poll());
    held.leave(Poll::Pending);
    assert_eq!(spin(|| follower.poll()), Ok("at once"));
    assert_eq!(spin(|| leader.poll()), Ok("at once"));
    assert_eq!(layer.handle().stats().lost, 1);
}

/// Polls until another thread is done; a flight that hangs fails.
#[track_caller]
fn spin<T>(mut poll: impl FnMut() -> Poll<T>) -> T {
    let start = std::time::Instant::now();
    while start.elapsed() < Duration::from_secs(20) {
        if let Poll::Ready(output) = poll() {
            return output;
        }
        thread::yield_now();
    }
    panic!("it hangs");
}

#[tokio::test]
async fn an_inner_call_that_drops_the_last_waiter_of_its_own_flight_ends_and_leaves_nothing() {
    type Slot = Arc<Mutex<Option<Box<dyn std::any::Any + Send>>>>;
    for ends in [true, false] {
        let (slot, layer) = (Slot::default(), by_key());
        let (mut service, dropped) = {
            let (slot, witness) = (slot.clone(), Arc::new(()));
            let dropped = Arc::downgrade(&witness);
            let service = layer.layer(service_fn(move |_: Ask| {
                let (slot, witness) = (slot.clone(), witness.clone());
                async move {
                    let _witness = witness;
                    drop(slot.lock().unwrap().take());
                    if ends { Ok::<_, Infallible>("told") } else { std::future::pending().await }
                }
            }));
            (service, dropped)
        };
        let calls = [service.call((1, "one")), service.call((1, "two"))];
        *slot.lock().unwrap() = Some(Box::new(calls));
        crate::support::settle().await;
        assert!(slot.lock().unwrap().is_none());
        let stats = layer.handle().stats();
        assert_eq!((stats.in_flight, stats.waiting, stats.cancelled), (0, 0, 1));
        drop(service);
        assert_eq!(dropped.strong_count(), 0);
    }
}

#[tokio::test]
async fn a_flight_that_everybody_left_while_its_call_panics_ends_once() {
    type Slot = Arc<Mutex<Option<Box<dyn std::any::Any + Send>>>>;
    let (slot, layer) = (Slot::default(), by_key());
    let leaves = slot.clone();
    let mut service = layer.layer(service_fn(move |_: Ask| {
        let slot = leaves.clone();
        async move {
            drop(slot.lock().unwrap().take());
            if slot.lock().unwrap().is_none() {
                panic!("nobody is there");
            }
            Ok::<_, Infallible>("told")
        }
    }));
    let calls = [service.call((1, "one")), service.call((1, "two"))];
    *slot.lock().unwrap() = Some(Box::new(calls));
    crate::support::settle().await;
    let stats = layer.handle().stats();
    assert_eq!((stats.in_flight, stats.cancelled, stats.panicked), (0, 1, 0));
}

#[tokio::test]
async fn a_call_that_is_leaked_delays_nobody() {
    let (upstream, mut service) = crate::support::coalesced();
    std::mem::forget(service.call((1, "leaked leader")));
    std::mem::forget(service.call((1, "leaked follower")));
    let mut follower = spawn(service.call((1, "follower")));
    crate::support::settle().await;
    upstream.next().answer("told");
    crate::support::settle().await;
    assert_eq!(result(&mut follower), Ok("told"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_from_many_threads_make_one_inner_call_while_it_lasts() {
    let (upstream, service) = crate::support::coalesced();
    let mut leader = call(&mut service.clone(), (1, "leader"));
    assert_pending!(leader.poll());
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let mut service = service.clone();
            let runtime = tokio::runtime::Handle::current();
            thread::spawn(move || {
                let _inside = runtime.enter();
                (0..100).map(|_| service.call((1, "follower"))).collect::<Vec<_>>()
            })
        })
        .collect();
    let calls: Vec<_> = calls.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    upstream.next().answer("told");
    for call in calls {
        assert_eq!(call.await, Ok("told"));
    }
    assert_eq!(leader.await, Ok("told"));
    assert_eq!(upstream.total(), 1);
}
