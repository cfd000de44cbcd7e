//! What a call costs: allocations, clones of the response, tasks.

use allocation_counter::measure;
use std::{
    convert::Infallible,
    future::{Future, Ready, ready},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, Wake, Waker},
};
use tokio::runtime::{Builder, Handle};
use tower::{Layer, Service, service_fn};
use tower_singleflight::{
    Singleflight, SingleflightLayer,
    mode::{ByKey, OwnErrors},
};

type Layered<S> = Singleflight<S, ByKey<u64, u64>, OwnErrors>;

fn layered<S>(inner: S) -> Layered<S> {
    SingleflightLayer::by_key(|id: &u64| *id).layer(inner)
}

/// What the crate may allocate for a lone call.
const OF_A_LONE_CALL: u64 = 1;

/// Polls a future `times` times, the last of which gives its result.
fn polled<F: Future + Unpin>(mut future: F, times: usize) -> F::Output {
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 1..times {
        assert!(Pin::new(&mut future).poll(&mut cx).is_pending());
    }
    match Pin::new(&mut future).poll(&mut cx) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it takes more polls"),
    }
}

/// The allocations of one call, from `call` to the drop of its future.
fn allocations_of<S>(service: &mut Layered<S>, id: u64, polls: usize) -> u64
where
    S: Service<u64, Response = u64, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    measure(|| assert_eq!(polled(service.call(id), polls), Ok(id))).count_total
}

/// Answers at once, and allocates nothing.
fn at_once(id: u64) -> Ready<Result<u64, Infallible>> {
    ready(Ok(id))
}

/// Answers when polled for the second time, and allocates nothing.
struct AfterOneYield {
    id: u64,
    yielded: bool,
}

fn after_one_yield(id: u64) -> AfterOneYield {
    AfterOneYield { id, yielded: false }
}

impl Future for AfterOneYield {
    type Output = Result<u64, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.yielded {
            return Poll::Ready(Ok(self.id));
        }
        self.yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Runs `test` outside a runtime and inside one.
fn outside_and_inside_a_runtime(test: impl Fn()) {
    test();
    Builder::new_current_thread().enable_all().build().unwrap().block_on(async { test() });
}

#[test]
fn the_counter_counts() {
    assert_eq!(measure(|| drop(std::hint::black_box(Box::new(7)))).count_total, 1);
    assert_eq!(measure(|| ()).count_total, 0);
}

#[test]
fn the_inner_services_of_these_tests_allocate_nothing() {
    let allocated = measure(|| {
        assert_eq!(polled(at_once(1), 1), Ok(1));
        assert_eq!(polled(after_one_yield(1), 2), Ok(1));
    });
    assert_eq!(allocated.count_total, 0);
}

#[test]
fn a_lone_call_that_is_answered_at_once_allocates_once_at_most() {
    outside_and_inside_a_runtime(|| {
        let mut service = layered(service_fn(at_once));
        allocations_of(&mut service, 1, 1);
        let allocated = allocations_of(&mut service, 1, 1);
        assert!(allocated <= OF_A_LONE_CALL, "{allocated} allocations");
    });
}

#[test]
fn a_lone_call_that_waits_allocates_once_at_most() {
    outside_and_inside_a_runtime(|| {
        let mut service = layered(service_fn(after_one_yield));
        allocations_of(&mut service, 1, 2);
        let allocated = allocations_of(&mut service, 1, 2);
        assert!(allocated <= OF_A_LONE_CALL, "{allocated} allocations");
    });
}

#[test]
fn lone_calls_with_keys_never_seen_before_allocate_no_more() {
    let mut service = layered(service_fn(at_once));
    allocations_of(&mut service, 0, 1);
    for id in 1..10_000 {
        let allocated = allocations_of(&mut service, id, 1);
        assert!(allocated <= OF_A_LONE_CALL, "{allocated} allocations for key {id}");
    }
}

#[test]
fn settings_cost_a_lone_call_no_allocation() {
    let layer = SingleflightLayer::by_key(|id: &u64| *id)
        .filter(|_| true)
        .join_within(std::time::Duration::from_secs(30))
        .wait_at_most(std::time::Duration::from_secs(30))
        .max_waiters(10)
        .shared_group()
        .name("users");
    outside_and_inside_a_runtime(|| {
        let mut service = layer.layer(service_fn(after_one_yield));
        allocations_of(&mut service, 0, 2);
        for id in 0..100 {
            let allocated = allocations_of(&mut service, id, 2);
            assert!(allocated <= OF_A_LONE_CALL, "{allocated} allocations");
        }
    });
}

#[test]
fn a_lone_call_of_a_clone_of_the_service_allocates_no_more() {
    let service = layered(service_fn(at_once));
    allocations_of(&mut service.clone(), 1, 1);
    let mut warm = service.clone();
    allocations_of(&mut warm, 1, 1);
    let mut clone = None;
    assert_eq!(measure(|| clone = Some(warm.clone())).count_total, 0);
    let allocated = allocations_of(&mut clone.unwrap(), 1, 1);
    assert!(allocated <= OF_A_LONE_CALL, "{allocated} allocations");
}

#[test]
fn a_lone_call_beside_many_other_flights_allocates_no_more_but_for_the_tables_growth() {
    const SHARDS_AT_MOST: u64 = 64;
    let mut service = layered(service_fn(after_one_yield));
    let in_progress: Vec<_> = (0..1_000).map(|id| service.call(id)).collect();
    let more: u64 = (1_000..11_000)
        .map(|id| allocations_of(&mut service, id, 2).saturating_sub(OF_A_LONE_CALL))
        .sum();
    drop(in_progress);
    assert!(more <= SHARDS_AT_MOST, "{more} allocations for 10,000 calls");
}

#[test]
fn a_lone_call_leaves_nothing_allocated() {
    let mut service = layered(service_fn(after_one_yield));
    allocations_of(&mut service, 0, 2);
    let left = measure(|| {
        for id in 0..100 {
            assert_eq!(polled(service.call(id), 2), Ok(id));
            drop(service.call(id));
        }
    });
    assert_eq!((left.count_current, left.bytes_current), (0, 0));
}

#[test]
fn a_storm_of_keys_leaves_no_more_than_a_small_table_behind() {
    let mut service = layered(service_fn(after_one_yield));
    allocations_of(&mut service, 0, 2);
    let left = measure(|| drop((0..100_000).map(|id| service.call(id)).collect::<Vec<_>>()));
    assert!(left.bytes_max > 1_000_000, "{left:?}");
    assert!(left.bytes_current < 300_000, "{left:?}");
}

/// A response that counts its clones.
struct Counted(Arc<AtomicUsize>);

impl Clone for Counted {
    fn clone(&self) -> Self {
        self.0.fetch_add(1, Relaxed);
        Self(self.0.clone())
    }
}

fn answers_counted(
    clones: &Arc<AtomicUsize>,
) -> Layered<
    impl Service<u64, Response = Counted, Error = Infallible, Future: Send> + Clone + Send + use<>,
> {
    let clones = clones.clone();
    layered(service_fn(move |_| {
        let response = Counted(clones.clone());
        async move {
            tokio::task::yield_now().await;
            Ok::<_, Infallible>(response)
        }
    }))
}

#[tokio::test]
async fn the_response_of_a_lone_call_is_never_cloned() {
    let clones = Arc::new(AtomicUsize::new(0));
    let mut service = answers_counted(&clones);
    for id in 0..10 {
        service.call(id).await.unwrap();
    }
    assert_eq!(clones.load(Relaxed), 0);
}

#[tokio::test]
async fn the_response_of_a_shared_call_is_cloned_for_all_waiters_but_one() {
    let clones = Arc::new(AtomicUsize::new(0));
    let mut service = answers_counted(&clones);
    let calls: Vec<_> = (0..10).map(|_| service.call(1)).collect();
    for call in calls {
        call.await.unwrap();
    }
    assert_eq!(clones.load(Relaxed), 9);
}

#[tokio::test]
async fn a_response_is_cloned_for_nobody_who_left() {
    let clones = Arc::new(AtomicUsize::new(0));
    let mut service = answers_counted(&clones);
    let mut calls: Vec<_> = (0..10).map(|_| service.call(1)).collect();
    let last = calls.pop().unwrap();
    drop(calls);
    last.await.unwrap();
    assert_eq!(clones.load(Relaxed), 0);
}

#[tokio::test]
async fn a_lone_call_spawns_no_task() {
    let tasks = || Handle::current().metrics().num_alive_tasks();
    let mut service = layered(service_fn(after_one_yield));
    for id in 0..100 {
        let mut lone = service.call(id);
        assert_eq!(tasks(), 0);
        assert!(futures_util::poll!(&mut lone).is_pending());
        assert_eq!(tasks(), 0);
        assert_eq!(lone.await, Ok(id));
        assert_eq!(tasks(), 0);
    }
    drop(service.call(1));
    assert_eq!(tasks(), 0);
}

#[tokio::test]
async fn a_shared_flight_is_one_task_that_ends_with_it() {
    let tasks = || Handle::current().metrics().num_alive_tasks();
    let mut service = layered(service_fn(after_one_yield));
    let calls: Vec<_> = (0..100).map(|_| service.call(1)).collect();
    assert_eq!(tasks(), 1);
    for call in calls {
        assert_eq!(call.await, Ok(1));
    }
    tokio::task::yield_now().await;
    assert_eq!(tasks(), 0);
}

#[tokio::test]
async fn a_shared_flight_that_everybody_left_leaves_no_task() {
    let tasks = || Handle::current().metrics().num_alive_tasks();
    let mut service = layered(service_fn(|_| std::future::pending::<Result<u64, Infallible>>()));
    let calls = [service.call(1), service.call(1)];
    tokio::task::yield_now().await;
    assert_eq!(tasks(), 1);
    drop(calls);
    tokio::task::yield_now().await;
    assert_eq!(tasks(), 0);
}

/// A waker as executors have it: shared, and counted.
struct Silent;

impl Wake for Silent {
    fn wake(self: Arc<Self>) {}
}

const FOLLOWERS: usize = 1_000;

#[tokio::test]
async fn followers_allocate_nothing_but_their_seats() {
    let mut service = layered(service_fn(after_one_yield));
    let waker = Waker::from(Arc::new(Silent));
    let mut cx = Context::from_waker(&waker);
    let (mut leader, mut first) = (service.call(1), service.call(1));
    assert!(Pin::new(&mut leader).poll(&mut cx).is_pending());
    assert!(Pin::new(&mut first).poll(&mut cx).is_pending());

    let mut followers = Vec::with_capacity(FOLLOWERS);
    let joining = measure(|| followers.extend((0..FOLLOWERS).map(|_| service.call(1))));
    // The seats' slab doubles as it grows.
    assert!(joining.count_total <= u64::from(FOLLOWERS.ilog2()) + 1, "{joining:?}");
    let waiting = measure(|| {
        for follower in &mut followers {
            assert!(Pin::new(follower).poll(&mut cx).is_pending());
        }
    });
    assert_eq!(waiting.count_total, 0);
    for _ in 0..4 {
        tokio::task::yield_now().await;
    }
    let taking = measure(|| {
        for follower in &mut followers {
            assert_eq!(Pin::new(follower).poll(&mut cx), Poll::Ready(Ok(1)));
        }
    });
    assert_eq!(taking.count_total, 0);
}

#[tokio::test]
async fn a_follower_that_takes_a_seat_that_was_left_allocates_nothing_at_all() {
    let mut service = layered(service_fn(|_| std::future::pending::<Result<u64, Infallible>>()));
    let waker = Waker::from(Arc::new(Silent));
    let mut cx = Context::from_waker(&waker);
    let _leader = service.call(1);
    drop((0..FOLLOWERS).map(|_| service.call(1)).collect::<Vec<_>>());
    let costs = measure(|| {
        for _ in 0..FOLLOWERS {
            let mut follower = service.call(1);
            assert!(Pin::new(&mut follower).poll(&mut cx).is_pending());
        }
    });
    assert_eq!((costs.count_total, costs.count_current), (0, 0));
}

#[test]
fn a_pass_allocates_once_at_most() {
    let mut service =
        SingleflightLayer::by_key(|id: &u64| *id).filter(|_| false).layer(service_fn(at_once));
    let allocated = allocations_of(&mut service, 1, 1);
    assert!(allocated <= 1, "{allocated} allocations");
}
