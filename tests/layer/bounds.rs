//! What the public types can be used for, checked by the compiler.

use crate::support::{Broken, Upstream, result};
use std::{
    cell::Cell,
    convert::Infallible,
    marker::PhantomData,
    rc::Rc,
    task::{Context, Poll},
};
use tokio_test::{assert_pending, task::spawn};
use tower::{BoxError, Layer, Service, service_fn, util::BoxCloneService};
use tower_singleflight::{
    Handle, ResponseFuture, SharedError, Singleflight, SingleflightLayer, Stats,
    mode::{ByKey, OwnErrors, SharedErrors},
};

type Future<S, Req> = <S as Service<Req>>::Future;

fn is_anywhere<T: Send + Sync + Clone + 'static>() {}
fn moves<T: Send + 'static>() {}
fn is_debug<T: std::fmt::Debug>() {}

/// `Send`, but not `Sync`.
type Unsync = PhantomData<Cell<()>>;
/// Neither.
type Local = PhantomData<Rc<()>>;

#[test]
fn a_layer_is_send_sync_and_clone_whatever_it_layers() {
    is_anywhere::<SingleflightLayer<ByKey<u32, u32>>>();
    is_anywhere::<SingleflightLayer<ByKey<u32, u32>, SharedErrors>>();
    is_anywhere::<SingleflightLayer<ByKey<Local, u32>>>();
}

#[test]
fn a_handle_is_send_sync_and_clone() {
    is_anywhere::<Handle<u32>>();
    is_anywhere::<Handle<String>>();
    is_anywhere::<Stats>();
    is_debug::<Handle<Vec<u8>>>();
}

#[test]
fn a_service_is_send_sync_and_clone_as_the_inner_one_is() {
    is_anywhere::<Singleflight<Upstream, ByKey<u32, u32>, OwnErrors>>();
    is_anywhere::<Singleflight<Upstream, ByKey<Unsync, u32>, SharedErrors>>();
    moves::<Singleflight<BoxCloneService<u32, u32, BoxError>, ByKey<u32, u32>, SharedErrors>>();
}

#[test]
fn a_call_is_send_static_and_unpin_with_a_service_and_a_request_that_are_not_sync() {
    type Boxed = BoxCloneService<Unsync, u32, Broken>;
    moves::<Future<Singleflight<Boxed, ByKey<Unsync, u32>, OwnErrors>, Unsync>>();
    fn is_unpin<T: Unpin>() {}
    is_unpin::<Future<Singleflight<Boxed, ByKey<Unsync, u32>, OwnErrors>, Unsync>>();
    is_debug::<Future<Singleflight<Boxed, ByKey<Unsync, u32>, OwnErrors>, Unsync>>();
}

/// Code that knows no more of a service than what the docs ask for.
#[tokio::test]
async fn any_service_that_is_clone_and_send_with_results_that_are_can_be_layered() {
    fn coalesce<S, Req>(
        service: S,
    ) -> impl Service<Req, Response = S::Response, Error = S::Error> + Clone
    where
        S: Service<Req> + Clone + Send + 'static,
        S::Response: Clone + Send + Sync + 'static,
        S::Error: Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        Req: std::hash::Hash + Eq + Clone + Send + Sync + 'static,
    {
        SingleflightLayer::by_key(|request: &Req| request.clone()).layer(service)
    }
    let mut service = coalesce(service_fn(|id: u32| async move { Ok::<_, Infallible>(id) }));
    assert_eq!(service.call(7).await, Ok(7));
}

#[tokio::test]
async fn an_inner_service_that_is_not_sync_is_coalesced() {
    let upstream = Upstream::<&str, Infallible, Cell<u32>>::new();
    let boxed: BoxCloneService<Cell<u32>, &str, Infallible> =
        BoxCloneService::new(upstream.clone());
    let mut service = SingleflightLayer::by_key(|request: &Cell<u32>| request.get()).layer(boxed);
    let mut leader = spawn(service.call(Cell::new(1)));
    let mut follower = spawn(service.call(Cell::new(1)));
    assert_pending!(follower.poll());
    crate::support::settle().await;
    upstream.next().answer("told");
    crate::support::settle().await;
    assert_eq!((result(&mut leader), result(&mut follower)), (Ok("told"), Ok("told")));
    assert_eq!(upstream.total(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_can_be_spawned_on_many_threads() {
    let mut service =
        SingleflightLayer::by_key(|id: &u32| *id).layer(service_fn(|id: u32| async move {
            tokio::task::yield_now().await;
            Ok::<_, Infallible>(id)
        }));
    let calls: Vec<_> = (0..64).map(|n| tokio::spawn(service.call(n % 4))).collect();
    for (n, call) in (0..64).zip(calls) {
        assert_eq!(call.await.unwrap(), Ok(n % 4));
    }
}

#[test]
fn a_key_needs_no_clone_and_no_debug() {
    #[derive(PartialEq, Eq, Hash)]
    struct Bare(u32);
    let layer = SingleflightLayer::by_key(|id: &u32| Bare(*id));
    let mut service = layer.layer(service_fn(|_: u32| async { Ok::<_, Infallible>(()) }));
    let mut call = spawn(service.call(1));
    layer.handle().forget(&Bare(1));
    assert_eq!(result(&mut call), Ok(()));
}

/// No bound is needed to hold a layer or a service.
#[derive(Clone, Debug)]
struct Holder<S, M, E> {
    layer: SingleflightLayer<M, E>,
    service: Singleflight<S, M, E>,
}

#[tokio::test]
async fn a_struct_holds_a_layer_and_a_service_without_bounds() {
    let layer = SingleflightLayer::by_key(|id: &u32| *id).name("held");
    let service = layer.layer(service_fn(|id: u32| async move { Ok::<_, Infallible>(id) }));
    let Holder { layer, mut service } = Holder { layer, service }.clone();
    assert_eq!((service.call(7).await, layer.handle().stats().led), (Ok(7), 1));
}

/// A service around a `Singleflight` that names its future.
struct Users<S> {
    lookup: Singleflight<S, ByKey<u32, u32>, SharedErrors>,
}

impl<S> Service<u32> for Users<S>
where
    S: Service<u32> + Clone + Send + 'static,
    S::Response: Clone + Send + Sync + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = SharedError;
    type Future = ResponseFuture<S, u32, ByKey<u32, u32>, SharedErrors>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SharedError>> {
        self.lookup.poll_ready(cx)
    }

    fn call(&mut self, id: u32) -> Self::Future {
        self.lookup.call(id)
    }
}

#[tokio::test]
async fn the_future_of_a_generic_service_can_be_named() {
    let layer = SingleflightLayer::by_key(|id: &u32| *id).shared_errors();
    let mut users =
        Users { lookup: layer.layer(service_fn(|id: u32| async move { Ok::<_, BoxError>(id) })) };
    assert_eq!(users.call(7).await.unwrap(), 7);
}
