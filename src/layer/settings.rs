//! The layer and its settings.

use crate::{
    core::flight::Rules,
    layer::handle::Handle,
    layer::mode::{ByKey, Mode, OwnErrors, SharedErrors},
    layer::scope::Registry,
    layer::service::Singleflight,
    layer::site::Site,
};
use std::{fmt, hash::Hash, marker::PhantomData, sync::Arc, time::Duration};
use tower_layer::Layer;

/// Makes services that coalesce identical concurrent requests: see the [crate docs](crate).
///
/// `SingleflightLayer::new` is for HTTP, [`by_key`](SingleflightLayer::by_key) for everything else.
///
/// ```
/// use tower::{ServiceBuilder, ServiceExt};
/// use tower_singleflight::SingleflightLayer;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let lookup = ServiceBuilder::new()
///     .layer(SingleflightLayer::by_key(|id: &u32| *id))
///     .service_fn(|id: u32| async move { Ok::<_, std::convert::Infallible>(format!("user {id}")) });
///
/// let (one, two) = tokio::join!(lookup.clone().oneshot(7), lookup.oneshot(7));
/// assert_eq!(one, two); // one call of the inner service
/// # }
/// ```
///
/// # Calls inside a flight
///
/// An inner call that asks for its own key passes, as the [crate docs](crate#calls-inside-a-flight) say.
///
/// # Groups
///
/// Requests meet in a group. All services made by one layer value and its clones use one
/// ([`shared_group`](Self::shared_group)), or each has its own ([`separate_groups`](Self::separate_groups)). A setting on a
/// clone of a layer does not separate it from the others, except an HTTP policy.
///
/// # Its type
///
/// The first parameter says which constructor made the layer, the second says which errors its callers get. The names are
/// in the module [`mode`](crate::mode):
///
/// | Made by | Type |
/// |---|---|
/// | `new`, whose closure returns a `String` | `SingleflightLayer<mode::Http<String>>` |
/// | `by_key`, whose closure takes a `&u32` and returns a `u32` | `SingleflightLayer<mode::ByKey<u32, u32>>` |
/// | either, then [`shared_errors`](Self::shared_errors) | `SingleflightLayer<.., mode::SharedErrors>` |
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
/// # let service = tower::service_fn(|id: u32| async move { Ok::<_, std::convert::Infallible>(id) });
/// # let _ = Users { lookup: tower::Layer::layer(&flights(), service), handle: flights().handle() };
/// ```
///
/// # When it does not compile
///
/// | The compiler says | What helps |
/// |---|---|
/// | no method `oneshot`, `ready` or `call` | `ServiceExt::oneshot(service, request)`: it makes the compiler say which of the following it is |
/// | the response cannot be given to every waiter | derive `Clone` for it, or call `.map_response(Arc::new)` below the layer; for HTTP, use `new` in the place of `by_key` |
/// | the inner service's error cannot be given to every waiter | [`shared_errors`](Self::shared_errors) |
/// | type annotations needed | name the request in `by_key`'s closure: <code>\|lookup: &Lookup\| lookup.id</code> |
/// | type mismatch in closure arguments | `new`'s closure gets `&http::Request<()>`, the head without the body: leave its type out. `by_key`'s gets a reference |
/// | the trait bound `Infallible: From<SharedError>` is not satisfied | an axum router takes no errors: put a `HandleErrorLayer` above this layer, as [here](crate::guide::frameworks#a-timeout-or-a-limit-inside) |
/// | no `Service` for `HandleError<Singleflight<..>, ..>` | the closure of a `HandleErrorLayer` above `shared_errors` takes a `SharedError`, no `BoxError` |
/// | type mismatch, expected `Response<SharedBody>`, with `option_layer` | `.filter(move \|_\| enabled)` or [`set_enabled`](Handle::set_enabled): with and without the layer, a response has two types |
/// | mismatched types, in `forget("/x")` | the key has to be a `String`: `\|req\| req.uri().path().to_owned()` |
/// | lifetime may not live long enough, in the closure | the key borrows from the request: return an owned one |
/// | no `Hash`, `Eq`, `Send` or `Sync` for the key | a key has to have all of them |
/// | no `Clone` for the inner service | each flight calls a clone: box it with `BoxCloneService` or put a `Buffer` around it |
/// | cannot be sent, or shared, between threads | a flight may move to another one: the service, its future and the request are `Send`; the response and the error are `Sync` too |
///
/// So this says only that there is no method `oneshot`:
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
/// And this says why, and that `.shared_errors()` helps, because an [`io::Error`](std::io::Error) is not `Clone`:
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
/// The type of the request has to be named, before the service tells it:
///
/// ```compile_fail,E0282
/// # use tower_singleflight::SingleflightLayer;
/// let layer = SingleflightLayer::by_key(|path| path.clone());
/// ```
pub struct SingleflightLayer<M: Mode, E = OwnErrors> {
    settings: Arc<Settings<M>>,
    registry: Arc<Registry<M::Key>>,
    errors: PhantomData<fn() -> E>,
}

pub(crate) type Extract<M> = Arc<dyn Fn(&<M as Mode>::Head) -> <M as Mode>::Key + Send + Sync>;
type Filter<M> = Arc<dyn Fn(&<M as Mode>::Head) -> bool + Send + Sync>;

pub(crate) struct Settings<M: Mode> {
    pub(crate) mode: M,
    pub(crate) extract: Extract<M>,
    filter: Option<Filter<M>>,
    pub(crate) rules: Rules,
    pub(crate) patience: Option<Duration>,
    one_group: bool,
    name: Option<Arc<str>>,
}

impl<Req: 'static, K: Hash + Eq + Send + Sync + 'static> SingleflightLayer<ByKey<Req, K>> {
    /// Coalesces calls of any service whose response is `Clone`. `key` sees the request and names the answer: two
    /// requests with equal keys must be content with one and the same response.
    ///
    /// Name the request's type in the closure: `|request: &Lookup| request.id`. If the compiler then says that `Service`
    /// is not implemented, see [what helps](Self#when-it-does-not-compile). Each service that the layer makes has a group
    /// of its own, and a flight may be joined for as long as it lasts.
    ///
    /// # Panics
    ///
    /// A panic in `key`, or in the `Hash`, `Eq` or `Drop` of what it returns, reaches the caller of that one request;
    /// so does one in the `Clone` or `Drop` of a response. See [`ResponseFuture`](crate::ResponseFuture) for those of
    /// the inner service.
    pub fn by_key(key: impl Fn(&Req) -> K + Send + Sync + 'static) -> Self {
        Self::from_parts(ByKey::new(), Arc::new(key), false)
    }
}

impl<M: Mode> SingleflightLayer<M> {
    pub(crate) fn from_parts(mode: M, extract: Extract<M>, one_group: bool) -> Self {
        let rules = Rules::default();
        let settings = Settings { mode, extract, filter: None, rules, patience: None, one_group, name: None };
        Self { settings: Arc::new(settings), registry: Registry::new(), errors: PhantomData }
    }

    /// Callers get a [`SharedError`](crate::SharedError), for inner services whose error is not `Clone`: tower's
    /// `BoxError`, hyper's errors.
    ///
    /// All waiters hold one error. It displays as the inner one does, which is its source, and `downcast_ref` finds it.
    #[must_use]
    pub fn shared_errors(self) -> SingleflightLayer<M, SharedErrors> {
        SingleflightLayer { settings: self.settings, registry: self.registry, errors: PhantomData }
    }
}

impl<M: Mode, E> SingleflightLayer<M, E> {
    /// Requests for which `filter` says `false` pass: they go straight to the inner service. Of several filters, all
    /// have to say `true`. A panic in it reaches the caller of that one request.
    ///
    /// With HTTP, the `key` closure is called for every write, also for one that `filter` refuses, because a write
    /// seals the flights of its key.
    #[must_use]
    pub fn filter(self, filter: impl Fn(&M::Head) -> bool + Send + Sync + 'static) -> Self {
        self.set(|settings| {
            settings.filter = Some(match settings.filter.take() {
                Some(earlier) => Arc::new(move |head| earlier(head) && filter(head)),
                None => Arc::new(filter),
            });
        })
    }

    /// Whether a flight that everybody left goes on to its end (`true`), or its inner call is dropped at once (`false`,
    /// the default).
    ///
    /// Going on takes a tokio runtime: the one in which the leader was called, or else that of whoever leaves last.
    /// Where there is none, or the leader's was shut down, the inner call is dropped all the same.
    #[must_use]
    pub fn run_to_completion(self, run_to_completion: bool) -> Self {
        self.set(|settings| settings.rules.run_to_completion = run_to_completion)
    }

    /// A newcomer joins only a flight that is younger than this, by tokio's clock; else it leads a new one, which
    /// takes those who come later. So one inner call that hangs does not own its key for ever.
    ///
    /// 30 s for HTTP; no bound for `by_key`. The clock is read only for those who have one: set on a clone of a layer
    /// that has flights in progress already, it takes them for too old.
    ///
    /// # Panics
    ///
    /// When `age` is zero: nobody could join.
    #[must_use]
    #[track_caller]
    pub fn join_within(self, age: Duration) -> Self {
        assert!(!age.is_zero(), "tower-singleflight: `join_within` of zero would let nobody join a flight");
        self.registry.observer().want_ages();
        self.set(|settings| settings.rules.join_within = Some(age))
    }

    /// How long a follower waits for a flight, from when it joined. Then it leaves the flight, and joins one for its key
    /// that is newer; if there is none it leads one, with its own request, and takes those who come later. So followers
    /// whose patience ends together make one call together, and an upstream that hangs sees one call more for each
    /// `patience`. The flight that was left goes on for those who still wait for it. A leader waits as long as its inner
    /// call takes. No bound by default.
    ///
    /// With `by_key`, the `key` closure is called again when patience ends; a panic in it reaches that caller.
    ///
    /// # Panics
    ///
    /// When `patience` is zero: nobody could follow. With a patience, a follower's future panics when it is
    /// polled outside a tokio runtime, or in one without its timer.
    #[must_use]
    #[track_caller]
    pub fn wait_at_most(self, patience: Duration) -> Self {
        assert!(!patience.is_zero(), "tower-singleflight: `wait_at_most` of zero would let no follower wait");
        self.set(|settings| settings.patience = Some(patience))
    }

    /// After an `Err`: how often the followers of a flight go on together before the error is theirs too. The leader has
    /// its error at once; its followers all belong to one next flight, which the first of them to be polled leads with
    /// its own request. So a backend that fails costs `retries + 1` calls, however many wait for it. 0 by default: an
    /// error reaches every waiter. Over HTTP, refusals are counted apart: see `HttpPolicy::refusals`.
    #[must_use]
    pub fn followers_retry(self, retries: u32) -> Self {
        self.set(|settings| settings.rules.rounds.after_errors = retries.try_into().unwrap_or(u16::MAX))
    }

    /// How many callers one flight takes, its leader included. The next to arrive leads a new flight, which takes
    /// those who come later. No limit by default.
    ///
    /// # Panics
    ///
    /// When `waiters` is zero: a leader waits for its own flight. With one, nobody joins a flight that somebody waits
    /// for.
    #[must_use]
    #[track_caller]
    pub fn max_waiters(self, waiters: usize) -> Self {
        assert!(waiters > 0, "tower-singleflight: `max_waiters` counts the leader, and cannot be zero");
        self.set(|settings| settings.rules.max_waiters = waiters)
    }

    /// All services made by this layer value and its clones use one group. The default of `new`, because axum
    /// applies a router's layers anew for each route and each connection.
    ///
    /// Use it only where equal keys mean equal answers in all those services.
    #[must_use]
    pub fn shared_group(self) -> Self {
        self.set(|settings| settings.one_group = true)
    }

    /// Each call of [`Layer::layer`] makes a service with its own group, shared by that service's clones. The
    /// default of [`by_key`](SingleflightLayer::by_key).
    #[must_use]
    pub fn separate_groups(self) -> Self {
        self.set(|settings| settings.one_group = false)
    }

    /// What metrics and traces call it ([as the guide says](crate::guide::watch)); the layer and its services show it in
    /// their `Debug` as well.
    ///
    /// Like [`Stats`](crate::Stats), this is one for a layer and its clones: the first that makes a service decides.
    #[must_use]
    pub fn name(self, name: impl Into<String>) -> Self {
        self.set(|settings| settings.name = Some(name.into().into()))
    }

    /// Watches and steers all services that this layer and its clones made or will make.
    pub fn handle(&self) -> Handle<M::Key> {
        Handle::new(self.registry.clone())
    }

    pub(crate) fn set(mut self, change: impl FnOnce(&mut Settings<M>)) -> Self {
        change(Arc::make_mut(&mut self.settings));
        self
    }
}

impl<S, M: Mode, E> Layer<S> for SingleflightLayer<M, E> {
    type Service = Singleflight<S, M, E>;

    fn layer(&self, inner: S) -> Self::Service {
        self.registry.observer().set_name(self.settings.name.as_ref());
        let registry = self.registry.clone();
        let (settings, scope) = if self.settings.one_group {
            (self.settings.clone(), registry.common())
        } else {
            (Arc::new(self.settings.apart()), registry.separate())
        };
        Singleflight::new(inner, Site::new(settings, registry, scope))
    }
}

impl<M: Mode> Settings<M> {
    pub(crate) fn wants(&self, head: &M::Head) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter(head))
    }

    fn apart(&self) -> Self {
        Self { mode: self.mode.apart(), ..self.clone() }
    }
}

impl<M: Mode> Clone for Settings<M> {
    fn clone(&self) -> Self {
        Self {
            mode: self.mode.clone(),
            extract: self.extract.clone(),
            filter: self.filter.clone(),
            rules: self.rules,
            patience: self.patience,
            one_group: self.one_group,
            name: self.name.clone(),
        }
    }
}

impl<M: Mode, E> Clone for SingleflightLayer<M, E> {
    fn clone(&self) -> Self {
        Self { settings: self.settings.clone(), registry: self.registry.clone(), errors: PhantomData }
    }
}

impl<M: Mode, E> fmt::Debug for SingleflightLayer<M, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SingleflightLayer").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl<M: Mode> fmt::Debug for Settings<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("name", &self.name)
            .field("rules", &self.rules)
            .field("wait_at_most", &self.patience)
            .field("shared_group", &self.one_group)
            .finish_non_exhaustive()
    }
}
