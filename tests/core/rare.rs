//! Rare orders of events: steps of a flight that meet in the middle of another.

use crate::{shared::without_deadlock, util::*};
use std::{
    future::{pending, poll_fn},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};
use tokio::{
    runtime::{Builder, Runtime},
    sync::oneshot,
    time::timeout,
};
use tokio_test::{assert_pending, assert_ready_eq, task};
use tower::{Layer, Service, ServiceExt, service_fn, util::BoxCloneSyncService};
use tower_singleflight::{Group, SingleflightLayer};

type Answer = Result<&'static str, &'static str>;

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// A service that gives each call the next of these works.
macro_rules! service {
    ($works:expr) => {{
        let works = Arc::new(Mutex::new($works.into_iter()));
        SingleflightLayer::by_key(|key: &u32| *key).followers_retry(1).layer(service_fn(
            move |_: u32| {
                let work = works.lock().unwrap().next().expect("no more calls");
                async move { work().await }
            },
        ))
    }};
}

/// The leader's error is set aside, and its followers go on without a runtime. The one that leads
/// them leaves.
fn a_leader_with_a_result_set_aside(
    check: impl FnOnce(task::Spawn<BoxFuture>, task::Spawn<BoxFuture>, Remote<Answer>),
) {
    let rt = runtime();
    let (one, first) = work::<Answer>();
    let (two, second) = work::<Answer>();
    let mut service = service!([first, second]);
    let mut call = |key| task::spawn(Box::pin(service.call(key)) as BoxFuture);
    let leader = inside(&rt, || call(1));
    let (mut heir, mut follower) = (call(1), call(1));
    rt.block_on(until("a task polls it", || one.polls() > 0));
    one.land(Err("no"));
    rt.block_on(settle());
    // Now outside any runtime.
    assert_pending!(heir.poll());
    assert_eq!(two.polls(), 1);
    assert_pending!(follower.poll());
    drop(heir);
    assert!(follower.is_woken());
    check(leader, follower, two);
}

type BoxFuture = std::pin::Pin<Box<dyn Future<Output = Answer> + Send>>;

#[test]
fn a_leader_whose_result_is_set_aside_takes_it_and_not_the_work_of_its_followers() {
    a_leader_with_a_result_set_aside(|mut leader, mut follower, two| {
        assert_ready_eq!(leader.poll(), Err("no"));
        assert_pending!(follower.poll());
        two.land(Ok("yes"));
        assert_ready_eq!(follower.poll(), Ok("yes"));
    });
}

#[test]
fn no_follower_sleeps_on_after_a_leader_with_a_result_set_aside_was_polled() {
    a_leader_with_a_result_set_aside(|mut leader, mut follower, two| {
        let _ = leader.poll();
        let _ = follower.poll();
        drop(leader);
        two.land(Ok("yes"));
        assert!(follower.is_woken());
        assert_ready_eq!(follower.poll(), Ok("yes"));
    });
}

#[test]
fn what_a_runtime_owns_is_dropped_under_no_lock() {
    without_deadlock(|| {
        let follower = Arc::new(Mutex::new(None));
        let this =
            Arc::new(OnceLock::<BoxCloneSyncService<u32, &'static str, &'static str>>::new());
        let calls = Arc::new(AtomicUsize::new(0));
        let (joins, outer) = (follower.clone(), this.clone());
        let layer = SingleflightLayer::by_key(|key: &u32| *key).followers_retry(1);
        let service = layer.layer(service_fn(move |_: u32| {
            let (joins, outer, call) = (joins.clone(), outer.clone(), calls.fetch_add(1, SeqCst));
            async move {
                if call == 0 {
                    // From another thread: it is not a call from inside.
                    let join = move || outer.get().unwrap().clone().call(1);
                    *joins.lock().unwrap() = Some(thread::spawn(join).join().unwrap());
                    return Err("no");
                }
                Ok("yes")
            }
        }));
        this.set(BoxCloneSyncService::new(service)).ok().unwrap();
        let handle = layer.handle();
        let guard = OnDrop(move || handle.forget_all());
        let guard = Mutex::new(guard);
        let parks = move || {
            let _ = &guard;
        };
        let rt = Builder::new_current_thread().on_thread_park(parks).build().unwrap();
        let mut leader = task::spawn(inside(&rt, || this.get().unwrap().clone().call(1)));
        assert_ready_eq!(leader.poll(), Err("no"));
        drop((rt, leader));
        let mut follower = task::spawn(follower.lock().unwrap().take().unwrap());
        assert_ready_eq!(follower.poll(), Ok("yes"));
    });
}

/// Work that lets another thread do something while it is polled for the first time.
fn work_with<F: FnOnce() + Send + 'static>(
    meanwhile: F,
) -> (Remote<u32>, impl Future<Output = u32> + Send) {
    let (remote, inner) = work::<u32>();
    let (mut inner, mut meanwhile) = (inner(), Some(meanwhile));
    let future = poll_fn(move |cx| {
        let polled = std::pin::Pin::new(&mut inner).poll(cx);
        if let Some(meanwhile) = meanwhile.take() {
            thread::spawn(meanwhile).join().unwrap();
        }
        polled
    });
    (remote, future)
}

#[test]
fn spawn_finishes_what_it_joined_during_a_poll_though_nobody_keeps_the_ticket() {
    let (rt, group) = (runtime(), Group::<u32, u32>::new());
    let (same, handle) = (group.clone(), rt.handle().clone());
    let (remote, future) = work_with(move || {
        let _inside = handle.enter();
        drop(same.spawn(1, pending));
    });
    let mut leader = task::spawn(inside(&rt, || group.run(1, || future)));
    inside(&rt, || assert_pending!(leader.poll()));
    // The leader is alive, and nobody polls it again.
    remote.land(7);
    rt.block_on(settle());
    assert_eq!(group.in_flight(), 0, "it runs though nobody polls or keeps the ticket");
}

#[test]
fn a_joiner_lends_its_runtime_also_while_the_work_is_polled() {
    let (rt, group) = (runtime(), Group::<u32, u32>::new());
    let (same, handle) = (group.clone(), rt.handle().clone());
    let joined = Arc::new(Mutex::new(None));
    let joins = joined.clone();
    let (remote, future) = work_with(move || {
        let _inside = handle.enter();
        let mut follower = task::spawn(same.run(1, pending));
        assert_pending!(follower.poll());
        *joins.lock().unwrap() = Some(follower);
    });
    // Outside any runtime.
    let mut leader = task::spawn(group.run(1, || future));
    assert_pending!(leader.poll());
    let mut follower = joined.lock().unwrap().take().unwrap();
    remote.land(7);
    rt.block_on(settle());
    assert!(follower.is_woken(), "a leader that is not polled delays nobody");
    assert_ready_eq!(follower.poll(), followed(7));
}

#[tokio::test]
async fn flights_led_inside_one_that_went_on_still_know_it() {
    type Outer = BoxCloneSyncService<u32, &'static str, &'static str>;
    let group = Group::<u32, Answer>::new();
    let this = Arc::new(OnceLock::<Outer>::new());
    let calls = Arc::new(AtomicUsize::new(0));
    let (fail, failed) = oneshot::channel::<()>();
    let (descend, descends) = oneshot::channel::<()>();
    let (join, joins) = oneshot::channel::<()>();
    let gates = Arc::new(Mutex::new((Some(failed), Some(descends), Some(joins))));
    let (inner, outer) = (group.clone(), this.clone());
    let service = SingleflightLayer::by_key(|key: &u32| *key).followers_retry(1).layer(service_fn(
        move |_: u32| {
            let (group, outer, call) = (inner.clone(), outer.clone(), calls.fetch_add(1, SeqCst));
            let gates = gates.clone();
            async move {
                match call {
                    // Leads a flight of key 10, which calls this service later, through a flight of
                    // key 11.
                    0 => {
                        let descends = gates.lock().unwrap().1.take().unwrap();
                        let through = group.clone();
                        drop(group.spawn(10, move || async move {
                            descends.await.unwrap();
                            let call = move || async move {
                                outer.get().unwrap().clone().oneshot(1).await
                            };
                            through.run(11, call).await.value
                        }));
                        let failed = gates.lock().unwrap().0.take().unwrap();
                        failed.await.unwrap();
                        Err("no")
                    }
                    // The followers' try joins the flight of key 10.
                    1 => {
                        let joins = gates.lock().unwrap().2.take().unwrap();
                        joins.await.unwrap();
                        group.run(10, ready(Ok("passed"))).await.value
                    }
                    _ => Ok("passed"),
                }
            }
        },
    ));
    this.set(BoxCloneSyncService::new(service)).ok().unwrap();
    let call = || tokio::spawn(this.get().unwrap().clone().oneshot(1));
    let (leader, follower) = (call(), call());
    settle().await;
    fail.send(()).unwrap();
    assert_eq!(leader.await.unwrap(), Err("no"));
    settle().await;
    descend.send(()).unwrap();
    settle().await;
    join.send(()).unwrap();
    let answer =
        timeout(Duration::from_secs(5), follower).await.expect("a flight never waits for itself");
    assert_eq!(answer.unwrap(), Ok("passed"));
}

#[test]
fn who_has_a_result_finds_its_flight_counted_out() {
    /// All keys collide, so that it takes a while to take a flight off the table.
    #[derive(Default)]
    struct Same;
    impl std::hash::Hasher for Same {
        fn finish(&self) -> u64 {
            0
        }
        fn write(&mut self, _: &[u8]) {}
    }
    const OTHERS: u32 = 4000;
    let group = Group::<u32, u32, _>::with_hasher(std::hash::BuildHasherDefault::<Same>::default());
    let _others: Vec<_> = (0..OTHERS).map(|key| group.run(key, pending)).collect();
    for _ in 0..20 {
        let (remote, inner) = work();
        let mut leader = task::spawn(group.run(OTHERS, inner));
        let mut follower = task::spawn(group.run(OTHERS, never()));
        assert_pending!(leader.poll());
        let same = group.clone();
        let follower = thread::spawn(move || {
            while follower.poll().is_pending() {
                let wait = std::time::Instant::now();
                while wait.elapsed() < Duration::from_micros(20) {}
            }
            (same.in_flight(), same.stats().waiting)
        });
        thread::sleep(Duration::from_millis(1));
        remote.land(7);
        assert!(leader.poll().is_ready());
        assert_eq!(follower.join().unwrap(), (OTHERS as usize, OTHERS as usize));
    }
}

/// `cargo test --features metrics --test core review`
#[cfg(feature = "metrics")]
#[test]
fn the_gauge_of_waiters_returns_to_zero_though_the_key_panics_in_its_drop() {
    use metrics_util::debugging::{DebugValue, DebuggingRecorder};

    #[derive(PartialEq, Eq, Hash)]
    struct Key;
    impl Drop for Key {
        fn drop(&mut self) {
            panic!("key");
        }
    }
    let recorder = DebuggingRecorder::new();
    metrics::with_local_recorder(&recorder, || {
        let group = Group::<Key, ()>::new();
        let run = group.run(Key, pending);
        assert_eq!(panic_text(|| drop(run)), "key");
        assert_eq!((group.in_flight(), group.stats().waiting), (0, 0));
    });
    let gauges = recorder.snapshotter().snapshot().into_vec().into_iter().filter_map(
        |(key, _, _, value)| match value {
            DebugValue::Gauge(value) => Some((key.key().name().to_owned(), value.into_inner())),
            _ => None,
        },
    );
    for (name, value) in gauges {
        assert_eq!(value, 0.0, "{name}");
    }
}

#[test]
fn a_leader_whose_waker_panics_in_its_drop_is_out_of_the_flight_that_went_on() {
    struct Bomb;
    impl std::task::Wake for Bomb {
        fn wake(self: Arc<Self>) {}
    }
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("the waker");
        }
    }
    // Outside any runtime.
    let (one, first) = work::<Answer>();
    let (two, second) = work::<Answer>();
    let mut service = service!([first, second]);
    let mut leader = Box::pin(service.call(1));
    {
        let bomb = std::task::Waker::from(Arc::new(Bomb));
        assert!(poll_with(&mut leader, &bomb).is_pending());
    }
    let mut follower = task::spawn(service.call(1));
    one.land(Err("no"));
    assert_eq!(panic_text(|| poll_with(&mut leader, std::task::Waker::noop())), "the waker");
    // Were this dropped by the same panic, as in any task, the process would abort.
    let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(leader)));
    assert!(dropped.is_ok(), "it had left the flight");
    assert_pending!(follower.poll());
    two.land(Ok("yes"));
    assert_ready_eq!(follower.poll(), Ok("yes"));
}

/// Over HTTP a leader takes the response unjudged, so this would hand it one that must not be
/// shared.
#[test]
fn an_opener_that_lands_the_work_of_another_is_its_follower() {
    let (group, doomed) = (Group::<u32, &str>::new(), runtime());
    let mut opener = task::spawn(inside(&doomed, || group.run(1, pending)));
    let (new, inner) = work();
    let mut heir = task::spawn(group.run(1, inner));
    drop(doomed);
    // Outside any runtime: the heir leads anew, and leaves.
    assert_pending!(opener.poll());
    assert_pending!(heir.poll());
    assert_eq!(new.polls(), 1);
    drop(heir);
    assert_pending!(opener.poll());
    new.land("another's");
    assert_ready_eq!(opener.poll(), followed("another's"));
}
