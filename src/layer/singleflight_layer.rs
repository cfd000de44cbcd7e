//! The layer.

use crate::layer::{
    handle::Handle,
    keys::Keys,
    mode::{ByKey, Mode, OwnErrors, SharedErrors},
    service::Singleflight,
    settings::Settings,
};
use std::{fmt, hash::Hash, marker::PhantomData, sync::Arc};
use tower_layer::Layer;

/// Makes services that coalesce identical concurrent requests: see the [crate docs](crate).
///
/// `SingleflightLayer::new` is for HTTP, `SingleflightLayer::with_body` for HTTP requests that
/// share by their bodies, [`by_key`](SingleflightLayer::by_key) for everything else.
///
/// ```
/// use std::{convert::Infallible, time::Duration};
/// use tower::{ServiceBuilder, ServiceExt};
/// use tower_singleflight::SingleflightLayer;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let flights = SingleflightLayer::by_key(|id: &u32| *id);
/// let handle = flights.handle();
/// let lookup = ServiceBuilder::new().layer(flights).service_fn(|id: u32| async move {
///     tokio::time::sleep(Duration::from_millis(10)).await;
///     Ok::<_, Infallible>(format!("user {id}"))
/// });
///
/// let (one, two) = tokio::join!(lookup.clone().oneshot(7), lookup.oneshot(7));
/// assert_eq!(one, two);
/// assert_eq!(handle.stats().led, 1); // one call of the inner service
/// # }
/// ```
///
/// # Calls inside a flight
///
/// An inner call that asks for its own key passes: see the [crate
/// docs](crate#calls-inside-a-flight).
///
/// # Groups
///
/// A group is the table of flights that a service uses. Requests can only share a flight if their
/// services use the same group:
///
/// - With [`shared_group`](Self::shared_group), all services that a layer value and its clones make
///   use one group.
/// - With [`separate_groups`](Self::separate_groups), each service has a group of its own.
///
/// In a shared group, another setting on a clone of the layer does not keep its requests apart from
/// the others. Only another HTTP policy does.
///
/// # Its type
///
/// The first parameter says which constructor made the layer, the second says which errors its
/// callers get. The names are in the module [`mode`](crate::mode):
///
/// | Made by | Type |
/// |---|---|
/// | `new`, whose closure returns a `String` | `SingleflightLayer<mode::Http<String>>` |
/// | `with_body`, whose closure returns an `Option<String>` | `SingleflightLayer<mode::HttpBody<String>>` |
/// | `by_key`, whose closure takes a `&u32` and returns a `u32` | `SingleflightLayer<mode::ByKey<u32, u32>>` |
/// | any of them, then [`shared_errors`](Self::shared_errors) | `SingleflightLayer<.., mode::SharedErrors>` |
///
/// A struct can hold layers, services and handles:
///
/// ```
/// use tower_singleflight::{Handle, Singleflight, SingleflightLayer, mode};
///
/// struct Users<S> {
///     lookup: Singleflight<S, mode::ByKey<u32, u32>>,
///     handle: Handle<u32>,
/// }
///
/// fn flights() -> SingleflightLayer<mode::ByKey<u32, u32>> {
///     SingleflightLayer::by_key(|id: &u32| *id)
/// }
/// # let user = |id: u32| async move { Ok::<_, std::convert::Infallible>(id) };
/// # let lookup = tower::Layer::layer(&flights(), tower::service_fn(user));
/// # let _ = Users { lookup, handle: flights().handle() };
/// ```
///
/// # When it does not compile
///
/// | The compiler says | What helps |
/// |---|---|
/// | no method `oneshot`, `ready` or `call` | write `ServiceExt::oneshot(service, request)`: then the compiler says which of the problems below it is |
/// | the response cannot be given to every waiter | derive `Clone` for it, or call `.map_response(Arc::new)` below the layer; for HTTP, use `new` instead of `by_key` |
/// | the inner service's error cannot be given to every waiter | [`shared_errors`](Self::shared_errors) |
/// | type annotations needed | name the request's type in `by_key`'s closure: <code>\|lookup: &Lookup\| lookup.id</code> |
/// | type mismatch in closure arguments | leave the type out in `new`'s closure: it gets `&http::Request<()>`, the head without the body. `by_key`'s closure gets a reference |
/// | the trait bound `Infallible: From<SharedError>` is not satisfied, on an axum router | put a `HandleErrorLayer` above this layer, because an axum router takes no errors: [example](crate::guide::order#a-timeout-or-a-limit-inside) |
/// | the response `Response<axum::body::Body>` cannot be given to every waiter, in a `Router` | use `new` instead of `by_key`: it shares the body |
/// | the trait `hyper::service::Service<..>` is not implemented for `Singleflight<..>`, in `serve_connection` | wrap the service: `TowerToHyperService::new(service)`, [example](crate::guide::start#hypers-server) |
/// | no `Service` for `HandleError<Singleflight<..>, ..>` | the closure of a `HandleErrorLayer` above `shared_errors` takes a `SharedError`, not a `BoxError` |
/// | type mismatch, expected `Response<SharedBody>`, with `option_layer` | use `.filter(move \|_\| enabled)` or [`set_enabled`](Handle::set_enabled) instead: the response has another type with the layer than without it |
/// | mismatched types, expected `SingleflightLayer<String>` | the type is `SingleflightLayer<mode::Http<String>>`: see [its type](#its-type) |
/// | mismatched types, in `forget("/x")` | the key has to be a `String`: `\|req\| req.uri().path().to_owned()` |
/// | lifetime may not live long enough, in the closure | the key borrows from the request: return an owned one |
/// | no `Hash`, `Eq`, `Send` or `Sync` for the key | a key must implement all four. For a struct, derive `PartialEq, Eq, Hash` |
/// | the trait bound `f64: Hash` is not satisfied, or `f64: Eq` | a float is no key: return `price.to_bits()` |
/// | no `Clone` for the inner service | box it with `BoxCloneService` or put a `Buffer` around it, because each flight calls a clone |
/// | the request body cannot be read and handed on, or `RequestBody` is not implemented | `with_body` needs a body that it can make again: box the body in front of the layer, or implement `RequestBody` |
/// | cannot be sent, or shared, between threads | a flight may move to another thread: the service, its future and the request must be `Send`, the response and the error `Send + Sync` |
///
/// For example, the compiler says only that there is no method `oneshot` for this:
///
/// ```compile_fail,E0599
/// use tower::{Layer, ServiceExt, service_fn};
/// use tower_singleflight::SingleflightLayer;
///
/// let service = SingleflightLayer::by_key(|path: &String| path.clone())
///     .layer(service_fn(|path: String| async move { std::fs::read(path) }));
/// let call = service.oneshot("hosts".to_owned());
/// ```
///
/// For this it says why, and that `.shared_errors()` helps: an [`io::Error`](std::io::Error) is not
/// `Clone`.
///
/// ```compile_fail,E0277
/// use tower::{Layer, ServiceExt, service_fn};
/// use tower_singleflight::SingleflightLayer;
///
/// let service = SingleflightLayer::by_key(|path: &String| path.clone())
///     .layer(service_fn(|path: String| async move { std::fs::read(path) }));
/// let call = ServiceExt::oneshot(service, "hosts".to_owned());
/// ```
///
/// This compiles:
///
/// ```
/// use tower::{Layer, ServiceExt, service_fn};
/// use tower_singleflight::SingleflightLayer;
///
/// let service = SingleflightLayer::by_key(|path: &String| path.clone())
///     .shared_errors()
///     .layer(service_fn(|path: String| async move { std::fs::read(path) }));
/// let call = service.oneshot("hosts".to_owned());
/// ```
///
/// The closure of `by_key` must name the type of the request. This does not compile, even if the
/// service that follows has only one type of request:
///
/// ```compile_fail,E0282
/// # use tower_singleflight::SingleflightLayer;
/// let layer = SingleflightLayer::by_key(|path| path.clone());
/// ```
pub struct SingleflightLayer<M, E = OwnErrors> {
    pub(super) settings: Settings<M>,
    errors: PhantomData<fn() -> E>,
}

impl<Req: 'static, K: Hash + Eq + Send + Sync + 'static> SingleflightLayer<ByKey<Req, K>> {
    /// Coalesces calls of any service whose response is `Clone`.
    ///
    /// `key` sees the request and returns its key. Requests with equal keys get one and the same
    /// response. Name the request's type in the closure: `|request: &Lookup| request.id`. If the
    /// compiler then says that `Service` is not implemented, see [what
    /// helps](Self#when-it-does-not-compile).
    ///
    /// Each service that the layer makes has a group of its own, and a call can join a flight at
    /// any time until it lands.
    ///
    /// # Panics
    ///
    /// A panic in `key`, in the key's `Hash`, `Eq` or `Drop`, or in the response's `Clone` or
    /// `Drop` reaches only the caller that ran it. For panics of the inner service, see
    /// [`ResponseFuture`](crate::ResponseFuture).
    pub fn by_key(key: impl Fn(&Req) -> K + Send + Sync + 'static) -> Self {
        Self::with_settings(Settings::new(ByKey { extract: Arc::new(key), keys: Keys::new() }))
            .separate_groups()
    }
}

impl<M: Mode> SingleflightLayer<M> {
    pub(crate) fn with_settings(settings: Settings<M>) -> Self {
        Self { settings, errors: PhantomData }
    }

    /// Gives callers a [`SharedError`](crate::SharedError), for inner services whose error is not
    /// `Clone`, such as tower's `BoxError` or hyper's errors.
    ///
    /// All waiters hold the same error. `SharedError` displays like the inner error, has it as its
    /// source, and finds it by `downcast_ref`.
    #[must_use]
    pub fn shared_errors(self) -> SingleflightLayer<M, SharedErrors> {
        SingleflightLayer { settings: self.settings, errors: PhantomData }
    }
}

impl<M: Mode, E> SingleflightLayer<M, E> {
    /// Returns a handle that watches and steers all services that this layer and its clones make.
    pub fn handle(&self) -> Handle<M::Key> {
        Handle::new(self.settings.mode.keys().layer.clone())
    }
}

impl<S, M: Mode, E> Layer<S> for SingleflightLayer<M, E> {
    type Service = Singleflight<S, M, E>;

    fn layer(&self, inner: S) -> Self::Service {
        Singleflight::new(inner, self.settings.for_service())
    }
}

impl<M: Clone, E> Clone for SingleflightLayer<M, E> {
    fn clone(&self) -> Self {
        Self { settings: self.settings.clone(), errors: PhantomData }
    }
}

impl<M, E> fmt::Debug for SingleflightLayer<M, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SingleflightLayer")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
