//! A result may be taken for a while after it landed.

use crate::support::{
    Ask, Broken, Layered, Upstream, by_key, call, panic_text, paused, result, settle,
    without_deadlock,
};
use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::{
    runtime::Handle as RuntimeHandle,
    task::spawn_blocking,
    time::{advance, sleep},
};
use tokio_test::assert_pending;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_singleflight::{Handle, SingleflightLayer, mode::ByKey};

const TIME: Duration = Duration::from_millis(50);
const TICK: Duration = Duration::from_millis(1);

fn holding() -> SingleflightLayer<ByKey<Ask, u32>> {
    by_key().hold_for(TIME)
}

/// A service whose every call gives a new value at once, and a count of its calls.
fn fresh_values()
-> (Arc<AtomicUsize>, impl Service<Ask, Response = Value, Error = Infallible, Future: Send> + Clone)
{
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let service = service_fn(move |_: Ask| {
        let value = Arc::new(counted.fetch_add(1, SeqCst));
        async move { Ok(value) }
    });
    (calls, service)
}

type Value = Arc<usize>;

/// Advances the clock, and lets the timers run.
async fn pass(time: Duration) {
    advance(time).await;
    settle().await;
}

#[tokio::test(start_paused = true)]
async fn five_calls_each_two_milliseconds_after_the_last_landed_are_one_call() {
    let (calls, inner) = fresh_values();
    let layer = holding();
    let service = layer.layer(inner);
    let mut values = Vec::new();
    for _ in 0..5 {
        values.push(service.clone().oneshot((1, "caller")).await.unwrap());
        pass(2 * TICK).await;
    }
    assert_eq!(calls.load(SeqCst), 1);
    assert!(values.iter().all(|value| Arc::ptr_eq(value, &values[0])));
    let stats = layer.handle().stats();
    assert_eq!((stats.led, stats.joined, stats.in_flight, stats.waiting), (1, 4, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_held_result_is_dropped_when_its_time_is_over_and_not_at_the_next_call() {
    let (calls, inner) = fresh_values();
    let service = holding().layer(inner);
    let held = held_by(&service).await;
    pass(TIME - TICK).await;
    assert!(held.upgrade().is_some());
    pass(TICK).await;
    assert!(held.upgrade().is_none());
    service.oneshot((1, "next")).await.unwrap();
    assert_eq!(calls.load(SeqCst), 2);
}

/// Makes one call, and gives what only the service holds now.
async fn held_by<S>(service: &S) -> Weak<usize>
where
    S: Service<Ask, Response = Value, Error = Infallible> + Clone,
{
    let value = service.clone().oneshot((1, "first")).await.unwrap();
    Arc::downgrade(&value)
}

#[tokio::test(start_paused = true)]
async fn the_time_counts_from_the_landing_and_not_from_the_last_call_that_took_the_result() {
    let (calls, inner) = fresh_values();
    let service = holding().layer(inner);
    for _ in 0..5 {
        service.clone().oneshot((1, "caller")).await.unwrap();
        pass(TIME / 5).await;
    }
    assert_eq!(calls.load(SeqCst), 1);
    service.clone().oneshot((1, "late")).await.unwrap();
    assert_eq!(calls.load(SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn a_call_never_takes_a_result_whose_time_is_over_though_its_timer_has_not_run() {
    let (calls, inner) = fresh_values();
    let mut service = holding().layer(inner);
    service.clone().oneshot((1, "first")).await.unwrap();
    // The timer's task runs when this one waits.
    advance_without_tasks(TIME).await;
    let mut late = call(&mut service, (1, "late"));
    result(&mut late).unwrap();
    assert_eq!(calls.load(SeqCst), 2);
}

async fn advance_without_tasks(time: Duration) {
    let mut advancing = Box::pin(advance(time));
    let _ = futures_util::poll!(&mut advancing);
}

#[tokio::test(start_paused = true)]
async fn without_hold_for_and_with_zero_nothing_is_held() {
    for layer in [by_key(), holding().hold_for(Duration::ZERO)] {
        let (calls, inner) = fresh_values();
        let service = layer.layer(inner);
        assert!(held_by(&service).await.upgrade().is_none());
        service.oneshot((1, "next")).await.unwrap();
        assert_eq!(calls.load(SeqCst), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_is_not_held() {
    let upstream = Upstream::<&str, Broken>::new();
    let mut service = holding().layer(upstream.clone());
    for _ in 0..2 {
        let mut lone = call(&mut service, (1, "lone"));
        assert_pending!(lone.poll());
        upstream.next().fail(Broken("pipe"));
        assert_eq!(result(&mut lone), Err(Broken("pipe")));
    }
    assert_eq!(upstream.total(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_error_that_reaches_the_followers_too_is_not_held() {
    let upstream = Upstream::<&str, Broken>::new();
    let mut service = holding().layer(upstream.clone());
    let mut calls = ["leader", "follower"].map(|who| call(&mut service, (1, who)));
    settle().await;
    upstream.next().fail(Broken("pipe"));
    settle().await;
    assert!(calls.each_mut().map(result).iter().all(Result::is_err));
    assert_pending!(call(&mut service, (1, "next")).poll());
    assert_eq!(upstream.total(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_the_followers_get_after_an_error_is_held() {
    let upstream = Upstream::<&str, Broken>::new();
    let mut service = holding().followers_retry(1).layer(upstream.clone());
    let mut leader = call(&mut service, (1, "leader"));
    let mut follower = call(&mut service, (1, "follower"));
    settle().await;
    upstream.next().fail(Broken("pipe"));
    settle().await;
    assert!(result(&mut leader).is_err());
    assert_pending!(follower.poll());
    upstream.next().answer("told");
    settle().await;
    assert_eq!(result(&mut follower), Ok("told"));
    assert_eq!(result(&mut call(&mut service, (1, "newcomer"))), Ok("told"));
    assert_eq!(upstream.total(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_not_held() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let mut service = holding().layer(service_fn(move |_: Ask| {
        let n = counted.fetch_add(1, SeqCst);
        async move { if n == 0 { panic!("boom") } else { Ok::<_, Infallible>(n) } }
    }));
    let mut lone = call(&mut service, (1, "lone"));
    assert_eq!(panic_text(|| result(&mut lone)), "boom");
    assert_eq!(result(&mut call(&mut service, (1, "next"))), Ok(1));
}

#[tokio::test(start_paused = true)]
async fn forget_and_its_siblings_and_the_switch_drop_what_is_held() {
    type End = fn(&Handle<u32>);
    let enders: [(&str, End); 4] = [
        ("forget", |handle| handle.forget(&1)),
        ("forget_if", |handle| handle.forget_if(|key| *key == 1)),
        ("forget_all", |handle| handle.forget_all()),
        ("set_enabled", |handle| handle.set_enabled(false)),
    ];
    for (name, end) in enders {
        let (calls, inner) = fresh_values();
        let layer = holding();
        let service = layer.layer(inner);
        let held = held_by(&service).await;
        assert!(held.upgrade().is_some(), "{name}");
        end(&layer.handle());
        assert!(held.upgrade().is_none(), "{name}");
        layer.handle().set_enabled(true);
        service.oneshot((1, "next")).await.unwrap();
        assert_eq!(calls.load(SeqCst), 2, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_held_stays_when_another_key_is_forgotten() {
    let (calls, inner) = fresh_values();
    let layer = holding();
    let service = layer.layer(inner);
    let held = held_by(&service).await;
    layer.handle().forget(&2);
    layer.handle().forget_if(|key| *key == 2);
    assert!(held.upgrade().is_some());
    service.oneshot((1, "next")).await.unwrap();
    assert_eq!(calls.load(SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_flight_that_was_forgotten_before_it_landed_is_not_held() {
    let upstream = Upstream::<&str>::new();
    let layer = holding();
    let mut service = layer.layer(upstream.clone());
    let mut lone = call(&mut service, (1, "lone"));
    assert_pending!(lone.poll());
    layer.handle().forget(&1);
    upstream.next().answer("from before");
    assert_eq!(result(&mut lone), Ok("from before"));
    assert_pending!(call(&mut service, (1, "newcomer")).poll());
    assert_eq!(upstream.total(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_flight_does_not_end_what_a_newer_one_holds() {
    let upstream = Upstream::<&str>::new();
    let layer = holding();
    let mut service = layer.layer(upstream.clone());
    let mut forgotten = call(&mut service, (1, "forgotten"));
    assert_pending!(forgotten.poll());
    layer.handle().forget(&1);
    let mut newer = call(&mut service, (1, "newer"));
    assert_pending!(newer.poll());
    let (old, new) = (upstream.next(), upstream.next());
    new.answer("new");
    assert_eq!(result(&mut newer), Ok("new"));
    old.answer("old");
    assert_eq!(result(&mut forgotten), Ok("old"));
    assert_eq!(result(&mut call(&mut service, (1, "newcomer"))), Ok("new"));
}

#[tokio::test(start_paused = true)]
async fn the_timer_of_a_forgotten_result_does_not_end_what_is_held_after_it() {
    let (calls, inner) = fresh_values();
    let layer = holding();
    let service = layer.layer(inner);
    held_by(&service).await;
    pass(TIME / 2).await;
    layer.handle().forget(&1);
    let held = held_by(&service).await;
    pass(TIME / 2).await;
    assert!(held.upgrade().is_some());
    assert_eq!(calls.load(SeqCst), 2);
    pass(TIME / 2).await;
    assert!(held.upgrade().is_none());
}

#[tokio::test(start_paused = true)]
async fn dropping_the_service_drops_what_is_held() {
    let layer = holding();
    let service = layer.layer(fresh_values().1);
    let held = held_by(&service).await;
    assert!(held.upgrade().is_some());
    drop(service);
    assert!(held.upgrade().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_common_group_drops_what_is_held_with_its_last_service_layer_and_handle() {
    let layer = holding().shared_group();
    let handle = layer.handle();
    let service = layer.layer(fresh_values().1);
    let held = held_by(&service).await;
    drop((service, layer));
    assert!(held.upgrade().is_some());
    drop(handle);
    assert!(held.upgrade().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_held_result_is_taken_only_while_its_flight_is_young_enough() {
    let (calls, inner) = fresh_values();
    let layer = holding().join_within(TIME / 2);
    let service = layer.layer(inner);
    held_by(&service).await;
    pass(TIME / 2 - TICK).await;
    service.clone().oneshot((1, "early")).await.unwrap();
    assert_eq!(calls.load(SeqCst), 1);
    pass(TICK).await;
    service.clone().oneshot((1, "late")).await.unwrap();
    assert_eq!(calls.load(SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn with_max_waiters_nothing_is_held() {
    let service = holding().max_waiters(10).layer(fresh_values().1);
    assert!(held_by(&service).await.upgrade().is_none());
}

#[test]
fn outside_a_runtime_nothing_is_held() {
    let (calls, inner) = fresh_values();
    let mut service = holding().layer(inner);
    for _ in 0..2 {
        result(&mut call(&mut service, (1, "lone"))).unwrap();
    }
    assert_eq!(calls.load(SeqCst), 2);
}

#[test]
fn what_is_held_is_dropped_with_the_runtime_of_its_timer() {
    let service = holding().layer(fresh_values().1);
    let runtime = paused();
    let held = runtime.block_on(held_by(&service));
    assert!(held.upgrade().is_some());
    drop(runtime);
    assert!(held.upgrade().is_none());
}

#[tokio::test(start_paused = true)]
async fn the_result_of_a_flight_that_everybody_left_is_held_if_it_runs_to_completion() {
    let upstream = Upstream::<&str>::new();
    let mut service = holding().run_to_completion(true).layer(upstream.clone());
    drop(call(&mut service, (1, "gone")));
    settle().await;
    upstream.next().answer("told");
    settle().await;
    assert_eq!(result(&mut call(&mut service, (1, "newcomer"))), Ok("told"));
    assert_eq!(upstream.total(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_was_not_polled_since_the_landing_keeps_its_result_and_nothing_else_of_it_is_left()
 {
    let upstream = Upstream::<Value>::new();
    let mut service = holding().layer(upstream.clone());
    let mut leader = call(&mut service, (1, "leader"));
    let mut follower = call(&mut service, (1, "follower"));
    settle().await;
    let value = Arc::new(7);
    let held = Arc::downgrade(&value);
    upstream.next().answer(value);
    settle().await;
    drop(result(&mut follower));
    pass(TIME).await;
    assert!(held.upgrade().is_some());
    assert_eq!(result(&mut leader).map(|value| *value), Ok(7));
    assert!(held.upgrade().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_leaves_after_the_landing_leaves_nothing_behind() {
    let upstream = Upstream::<Value>::new();
    let mut service = holding().layer(upstream.clone());
    let leader = call(&mut service, (1, "leader"));
    let follower = call(&mut service, (1, "follower"));
    settle().await;
    let value = Arc::new(7);
    let held = Arc::downgrade(&value);
    upstream.next().answer(value);
    settle().await;
    drop((leader, follower));
    assert!(held.upgrade().is_some());
    pass(TIME).await;
    assert!(held.upgrade().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_layer_without_hold_for_takes_nothing_that_another_of_its_group_holds() {
    let (calls, inner) = fresh_values();
    let holds = holding().shared_group();
    let does_not = holds.clone().hold_for(Duration::ZERO);
    let (holds, does_not) = (holds.layer(inner.clone()), does_not.layer(inner));
    held_by(&holds).await;
    held_by(&does_not).await;
    assert_eq!(calls.load(SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn a_call_inside_another_flight_takes_what_is_held() {
    let (calls, inner) = fresh_values();
    let service = holding().layer(inner);
    held_by(&service).await;
    let lookup = service.clone();
    let outer = by_key().layer(service_fn(move |_: Ask| lookup.clone().oneshot((1, "inside"))));
    outer.oneshot((1, "outer")).await.unwrap();
    assert_eq!(calls.load(SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_takes_a_held_result_when_it_is_made_and_not_when_it_is_polled() {
    let (calls, inner) = fresh_values();
    let mut service = holding().layer(inner);
    held_by(&service).await;
    let mut early = call(&mut service, (1, "early"));
    pass(TIME).await;
    assert_eq!(result(&mut early).map(|value| *value), Ok(0));
    assert_eq!(calls.load(SeqCst), 1);
}

/// A value that uses the layer as it is cloned and dropped.
struct Entangled(Act);

type Act = Arc<Mutex<Option<Box<dyn FnMut() + Send>>>>;

impl Entangled {
    fn act(&self) {
        let act = self.0.lock().unwrap().take();
        if let Some(mut act) = act {
            act();
            self.0.lock().unwrap().get_or_insert(act);
        }
    }
}

impl Clone for Entangled {
    fn clone(&self) -> Self {
        self.act();
        Self(self.0.clone())
    }
}

impl Drop for Entangled {
    fn drop(&mut self) {
        self.act();
    }
}

#[test]
fn a_held_result_is_cloned_and_dropped_under_no_lock() {
    without_deadlock(|| async {
        let act = Act::default();
        let value = act.clone();
        let layer = holding();
        let (handle, acts) = (layer.handle(), Arc::new(AtomicUsize::new(0)));
        let service = layer.layer(service_fn(move |_: Ask| {
            let value = Entangled(value.clone());
            async move { Ok::<_, Infallible>(value) }
        }));
        let first = service.clone().oneshot((1, "first")).await.unwrap();
        let counted = acts.clone();
        *act.lock().unwrap() = Some(Box::new(move || {
            counted.fetch_add(1, SeqCst);
            handle.forget(&2);
            handle.forget_if(|_| false);
        }));
        drop(service.clone().oneshot((1, "second")).await.unwrap());
        drop(first);
        let before = acts.load(SeqCst);
        assert!(before >= 3, "a clone, and two drops");
        pass(TIME).await;
        assert_eq!(acts.load(SeqCst), before + 1);
        act.lock().unwrap().take();
    });
}

#[test]
fn a_clone_that_panics_reaches_the_call_that_takes_the_held_result_and_no_other() {
    #[derive(Debug)]
    struct Fragile(Arc<AtomicUsize>);
    impl Clone for Fragile {
        fn clone(&self) -> Self {
            assert!(self.0.fetch_add(1, SeqCst) != 1, "the clone");
            Self(self.0.clone())
        }
    }
    paused().block_on(async {
        let value = Fragile(Arc::default());
        let clones = value.0.clone();
        let mut service = holding().layer(service_fn(move |_: Ask| {
            let value = Fragile(value.0.clone());
            async move { Ok::<_, Infallible>(value) }
        }));
        result(&mut call(&mut service, (1, "first"))).unwrap();
        assert_eq!(panic_text(|| result(&mut call(&mut service, (1, "second")))), "the clone");
        result(&mut call(&mut service, (1, "third"))).unwrap();
        assert_eq!(clones.load(SeqCst), 3);
    });
}

fn block_on<F: Future>(future: F) -> F::Output {
    RuntimeHandle::current().block_on(future)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn in_a_storm_each_key_is_called_once_while_its_result_is_held_and_nothing_is_left() {
    let (calls, inner) = fresh_values();
    let layer = by_key().hold_for(Duration::from_secs(600));
    let service: Layered<_> = layer.layer(inner);
    let storm = (0..8).map(|_| {
        let service = service.clone();
        spawn_blocking(move || {
            block_on(async move {
                for n in 0..500 {
                    service.clone().oneshot((n / 5, "caller")).await.unwrap();
                    if n % 7 == 0 {
                        tokio::task::yield_now().await;
                    }
                }
            })
        })
    });
    for task in storm.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    assert_eq!(calls.load(SeqCst), 100);
    let stats = layer.handle().stats();
    assert_eq!((stats.led, stats.led + stats.joined), (100, 4000));
    assert_eq!((stats.in_flight, stats.waiting), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn in_a_storm_of_short_times_and_forgets_no_result_outlives_its_time() {
    let living = Arc::new(());
    let counted = living.clone();
    let layer = by_key().hold_for(Duration::from_micros(1500));
    let handle = layer.handle();
    let service = layer.layer(service_fn(move |_: Ask| {
        let value = counted.clone();
        async move {
            tokio::task::yield_now().await;
            Ok::<_, Infallible>(value)
        }
    }));
    let storm = (0..8).map(|_| {
        let (service, handle) = (service.clone(), handle.clone());
        spawn_blocking(move || {
            block_on(async move {
                for n in 0..1000 {
                    let mut lone = Box::pin(service.clone().oneshot((n % 3, "caller")));
                    match fastrand::u8(..8) {
                        0 => handle.forget(&(n % 3)),
                        1 => drop(futures_util::poll!(&mut lone)),
                        _ => drop(lone.await),
                    }
                }
            })
        })
    });
    for task in storm.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    for _ in 0..200 {
        if Arc::strong_count(&living) == 2 {
            break;
        }
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(Arc::strong_count(&living), 2, "the test's, and the service's");
    assert_eq!((handle.in_flight(), handle.waiting()), (0, 0));
}
