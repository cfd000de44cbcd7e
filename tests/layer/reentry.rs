//! Calls of a key from inside its own flight.

use crate::support::{call, result, settle, without_deadlock};
use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};
use tokio::sync::Semaphore;
use tokio_test::assert_pending;
use tower::{Layer, Service, ServiceExt, util::BoxCloneService};
use tower_singleflight::{
    PassReason, Singleflight, SingleflightLayer,
    mode::{ByKey, OwnErrors},
};

/// The keys to ask for, each from inside the call of the one before.
type Path = VecDeque<u32>;
type Boxed = BoxCloneService<Path, usize, Infallible>;
type Layered = Singleflight<Nested, ByKey<Path, u32>, OwnErrors>;

/// An inner service that calls its own layered self for the rest of the path, and answers with how
/// long the path was.
#[derive(Clone)]
struct Nested {
    outer: Arc<Mutex<Option<Boxed>>>,
    gates: Arc<Gates>,
}

/// What a call waits for before and after its nested call.
struct Gates {
    before: Semaphore,
    after: Semaphore,
    /// The keys of the inner calls so far.
    calls: Mutex<Vec<u32>>,
}

impl Service<Path> for Nested {
    type Response = usize;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<usize, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut path: Path) -> Self::Future {
        let (outer, gates) = (self.outer.lock().unwrap().clone().unwrap(), self.gates.clone());
        Box::pin(async move {
            gates.calls.lock().unwrap().push(path.pop_front().unwrap());
            gates.before.acquire().await.unwrap().forget();
            let nested = if path.is_empty() { 0 } else { outer.oneshot(path).await? };
            gates.after.acquire().await.unwrap().forget();
            Ok(1 + nested)
        })
    }
}

struct Nest {
    layer: SingleflightLayer<ByKey<Path, u32>>,
    service: Layered,
    gates: Arc<Gates>,
}

impl Nest {
    fn new(before: usize, after: usize) -> Self {
        Self::of(SingleflightLayer::by_key(|path: &Path| path[0]), before, after)
    }

    fn of(layer: SingleflightLayer<ByKey<Path, u32>>, before: usize, after: usize) -> Self {
        let gates = Gates {
            before: Semaphore::new(before),
            after: Semaphore::new(after),
            calls: Mutex::default(),
        };
        let inner = Nested { outer: Arc::default(), gates: Arc::new(gates) };
        let gates = inner.gates.clone();
        let service = layer.layer(inner.clone());
        *inner.outer.lock().unwrap() = Some(service.clone().boxed_clone());
        Self { layer, service, gates }
    }

    fn open(&self) {
        self.gates.before.add_permits(1_000);
        self.gates.after.add_permits(1_000);
    }

    fn calls(&self) -> Vec<u32> {
        self.gates.calls.lock().unwrap().clone()
    }

    fn passed(&self) -> u64 {
        self.layer.handle().stats().passed_by(PassReason::Reentrant)
    }
}

impl Drop for Nest {
    /// The inner service holds the outer one, and that holds the inner one.
    fn drop(&mut self) {
        self.service.get_ref().outer.lock().unwrap().take();
    }
}

fn path<const N: usize>(keys: [u32; N]) -> Path {
    keys.into()
}

#[test]
fn a_call_of_its_own_key_passes() {
    without_deadlock(|| async {
        let mut nest = Nest::new(1_000, 1_000);
        let mut lone = call(&mut nest.service, path([1, 1]));
        assert_eq!(result(&mut lone), Ok(2));
        assert_eq!((nest.calls(), nest.passed()), (vec![1, 1], 1));
        let stats = nest.layer.handle().stats();
        assert_eq!((stats.led, stats.joined, stats.in_flight, stats.waiting), (1, 0, 0, 0));
    });
}

#[test]
fn a_call_of_its_own_key_passes_at_any_depth() {
    without_deadlock(|| async {
        let mut nest = Nest::new(1_000, 1_000);
        let mut lone = call(&mut nest.service, path([1; 20]));
        assert_eq!(result(&mut lone), Ok(20));
        assert_eq!(nest.passed(), 19);
    });
}

#[test]
fn a_call_of_its_own_key_through_another_key_passes() {
    without_deadlock(|| async {
        let mut nest = Nest::new(1_000, 1_000);
        let mut lone = call(&mut nest.service, path([1, 2, 1, 2, 3, 1]));
        assert_eq!(result(&mut lone), Ok(6));
        assert_eq!(nest.passed(), 3);
        assert_eq!((nest.layer.handle().stats().led, nest.layer.handle().in_flight()), (3, 0));
    });
}

#[test]
fn a_call_of_another_key_does_not_pass() {
    without_deadlock(|| async {
        let mut nest = Nest::new(1_000, 1_000);
        let mut lone = call(&mut nest.service, path([1, 2, 3]));
        assert_eq!(result(&mut lone), Ok(3));
        assert_eq!((nest.passed(), nest.layer.handle().stats().led), (0, 3));
    });
}

#[test]
fn a_call_of_its_own_key_passes_after_the_flight_moved_to_a_task() {
    without_deadlock(|| async {
        let mut nest = Nest::new(0, 0);
        let mut leader = call(&mut nest.service, path([1, 1]));
        let mut follower = call(&mut nest.service, path([1]));
        assert_pending!(leader.poll());
        assert_pending!(follower.poll());
        settle().await;
        nest.open();
        settle().await;
        assert_eq!((result(&mut leader), result(&mut follower)), (Ok(2), Ok(2)));
        assert_eq!((nest.calls(), nest.passed()), (vec![1, 1], 1));
    });
}

#[test]
fn a_call_through_another_key_passes_after_both_flights_moved_to_tasks() {
    without_deadlock(|| async {
        let mut nest = Nest::new(1, 0);
        let mut leader = call(&mut nest.service, path([1, 2, 1]));
        assert_pending!(leader.poll());
        assert_eq!(nest.calls(), [1, 2]);
        // Both flights are parked: the outer one inside its nested call, the nested one before its
        // own.
        let mut of_one = call(&mut nest.service, path([1]));
        let mut of_two = call(&mut nest.service, path([2]));
        settle().await;
        assert_eq!(nest.layer.handle().stats().joined, 2);
        nest.open();
        settle().await;
        assert_eq!(
            (result(&mut leader), result(&mut of_one), result(&mut of_two)),
            (Ok(3), Ok(3), Ok(2))
        );
        assert_eq!((nest.calls(), nest.passed()), (vec![1, 2, 1], 1));
    });
}

#[test]
fn a_call_through_another_key_passes_though_only_the_nested_flight_moved_to_a_task() {
    without_deadlock(|| async {
        let mut nest = Nest::new(1, 0);
        let mut leader = call(&mut nest.service, path([1, 2, 1]));
        assert_pending!(leader.poll());
        let mut of_two = call(&mut nest.service, path([2]));
        settle().await;
        nest.open();
        settle().await;
        assert_eq!(result(&mut of_two), Ok(2));
        assert!(leader.is_woken());
        assert_eq!(result(&mut leader), Ok(3));
        assert_eq!(nest.passed(), 1);
    });
}

#[test]
fn a_nested_flight_that_outlives_the_one_it_was_led_in_may_join_its_successor() {
    without_deadlock(|| async {
        let mut nest = Nest::new(1, 0);
        let mut leader = call(&mut nest.service, path([1, 2, 1]));
        assert_pending!(leader.poll());
        let mut of_two = call(&mut nest.service, path([2]));
        drop(leader);
        let mut successor = call(&mut nest.service, path([1]));
        assert_pending!(successor.poll());
        nest.open();
        settle().await;
        assert!(successor.is_woken());
        assert_eq!(result(&mut successor), Ok(1));
        settle().await;
        assert_eq!(result(&mut of_two), Ok(2));
        assert_eq!((nest.passed(), nest.calls()), (0, vec![1, 2, 1]));
    });
}

#[test]
fn the_pass_is_for_the_call_inside_alone_and_others_still_join() {
    without_deadlock(|| async {
        let mut nest = Nest::new(1_000, 0);
        let mut leader = call(&mut nest.service, path([1, 1]));
        assert_pending!(leader.poll());
        let mut follower = call(&mut nest.service, path([1]));
        assert_eq!((nest.layer.handle().stats().joined, nest.passed()), (1, 1));
        nest.open();
        settle().await;
        assert_eq!((result(&mut leader), result(&mut follower)), (Ok(2), Ok(2)));
    });
}

#[test]
fn a_call_of_its_own_key_passes_when_the_flight_is_full() {
    without_deadlock(|| async {
        let layer = SingleflightLayer::by_key(|path: &Path| path[0]).max_waiters(1);
        let mut nest = Nest::of(layer, 1_000, 1_000);
        let mut lone = call(&mut nest.service, path([1, 1]));
        assert_eq!(result(&mut lone), Ok(2));
        assert_eq!((nest.passed(), nest.layer.handle().stats().led), (1, 1));
    });
}

#[test]
fn a_call_of_its_own_key_passes_when_the_flight_is_too_old_to_be_joined() {
    without_deadlock(|| async {
        let age = std::time::Duration::from_secs(10);
        let layer = SingleflightLayer::by_key(|path: &Path| path[0]).join_within(age);
        let mut nest = Nest::of(layer, 0, 1_000);
        let mut lone = call(&mut nest.service, path([1, 1]));
        assert_pending!(lone.poll());
        tokio::time::advance(age).await;
        nest.open();
        assert_eq!(result(&mut lone), Ok(2));
        assert_eq!((nest.passed(), nest.layer.handle().stats().led), (1, 1));
    });
}

#[test]
fn a_call_of_a_key_that_was_forgotten_meanwhile_leads_a_flight_of_its_own() {
    without_deadlock(|| async {
        let mut nest = Nest::new(0, 1_000);
        let mut lone = call(&mut nest.service, path([1, 1, 1]));
        assert_pending!(lone.poll());
        nest.layer.handle().forget(&1);
        nest.open();
        assert_eq!(result(&mut lone), Ok(3));
        assert_eq!((nest.passed(), nest.layer.handle().stats().led), (1, 2));
    });
}

#[test]
fn a_call_of_its_own_key_made_as_the_inner_call_is_dropped_leads_anew() {
    without_deadlock(|| async {
        let mut nest = Nest::new(0, 0);
        let mut lone = call(&mut nest.service, path([1, 1]));
        assert_pending!(lone.poll());
        drop(lone);
        let mut afterwards = call(&mut nest.service, path([1]));
        assert_pending!(afterwards.poll());
        nest.open();
        assert_eq!(result(&mut afterwards), Ok(1));
        assert_eq!(nest.passed(), 0);
    });
}

#[test]
fn without_any_runtime_a_call_of_its_own_key_passes_too() {
    let mut nest = Nest::new(0, 1_000);
    let mut leader = call(&mut nest.service, path([1, 2, 1]));
    let mut follower = call(&mut nest.service, path([1]));
    assert_pending!(leader.poll());
    drop(leader);
    assert_pending!(follower.poll());
    nest.open();
    assert!(follower.is_woken());
    assert_eq!(result(&mut follower), Ok(3));
    assert_eq!(nest.passed(), 1);
}

#[test]
fn a_service_of_another_layer_inside_a_flight_has_its_own_flights() {
    without_deadlock(|| async {
        let (mut one, mut two) = (Nest::new(1_000, 1_000), Nest::new(1_000, 1_000));
        *one.service.get_ref().outer.lock().unwrap() = Some(two.service.clone().boxed_clone());
        let mut lone = call(&mut one.service, path([1, 1, 1]));
        assert_eq!(result(&mut lone), Ok(3));
        assert_eq!((one.passed(), two.passed()), (0, 1));
        drop(call(&mut two.service, path([1])));
    });
}

fn on_a_runtime_that_ends<T>(calls: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(calls)
}

#[test]
fn a_follower_inside_a_flight_that_leads_its_lost_flight_anew_passes_calls_of_the_outer_key() {
    let mut nest = Nest::new(1, 0);
    let (mut of_two, mut lone) = on_a_runtime_that_ends(async {
        let of_two = call(&mut nest.service, path([2]));
        let mut lone = call(&mut nest.service, path([1, 2, 1]));
        assert_pending!(lone.poll());
        settle().await;
        assert_eq!(nest.calls(), [1, 2]);
        (of_two, lone)
    });
    assert!(lone.is_woken());
    nest.open();
    on_a_runtime_that_ends(async {
        assert_pending!(lone.poll());
        settle().await;
        assert_eq!((result(&mut lone), result(&mut of_two)), (Ok(3), Ok(2)));
    });
    assert_eq!((nest.calls(), nest.passed()), (vec![1, 2, 2, 1], 1));
}

#[test]
fn a_newcomer_inside_a_flight_that_leads_a_lost_flight_anew_passes_calls_of_the_outer_key() {
    let mut nest = Nest::new(0, 0);
    let mut of_two = on_a_runtime_that_ends(async {
        let calls = [(); 2].map(|()| call(&mut nest.service, path([2])));
        settle().await;
        calls
    });
    nest.open();
    on_a_runtime_that_ends(async {
        let mut lone = call(&mut nest.service, path([1, 2, 1]));
        assert_pending!(lone.poll());
        settle().await;
        assert_eq!(result(&mut lone), Ok(3));
        assert_eq!(of_two.each_mut().map(|call| result(call).unwrap()), [2, 2]);
    });
    assert_eq!((nest.calls(), nest.passed()), (vec![2, 1, 2, 1], 1));
}

#[tokio::test]
async fn a_layer_twice_in_a_stack_with_a_buffer_between_does_not_wait_for_itself() {
    let layer = SingleflightLayer::by_key(|key: &u32| *key).shared_group().shared_errors();
    let handle = layer.handle();
    let service = tower::ServiceBuilder::new()
        .layer(layer.clone())
        .buffer(8)
        .layer(layer)
        .service_fn(|key: u32| async move { Ok::<_, tower::BoxError>(key + 1) });
    let answer = tokio::time::timeout(std::time::Duration::from_secs(20), service.oneshot(1)).await;
    assert_eq!(answer.expect("it passes").unwrap(), 2);
    assert_eq!(handle.stats().passed_by(PassReason::Reentrant), 1);
}
