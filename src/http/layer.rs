//! The layer for HTTP: its constructor and its policy.

use crate::http::{
    body::{BodyConfig, Budget},
    policy::HttpPolicy,
    unshareable::UnshareableKeys,
};
use crate::layer::{
    keys::Keys,
    mode::{Mode, sealed},
    settings::Settings,
    singleflight_layer::SingleflightLayer,
};
use http::Request;
use std::{
    fmt,
    hash::Hash,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// HTTP requests and responses: the mode of [`SingleflightLayer::new`].
pub struct Http<K> {
    pub(super) keys: Keys<Request<()>, K>,
    pub(super) id: PolicyId,
    pub(super) policy: Arc<HttpPolicy>,
    pub(super) bodies: Arc<BodyConfig>,
    pub(super) unshareable: UnshareableKeys,
}

/// Identifies a policy value. Two policies with the same rules have different numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PolicyId(u64);

impl PolicyId {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl<K> Http<K> {
    fn new(keys: Keys<Request<()>, K>, policy: HttpPolicy) -> Self {
        let (bodies, unshareable) = (Self::bodies(&policy), UnshareableKeys::new(&policy));
        Self { keys, id: PolicyId::new(), policy: Arc::new(policy), bodies, unshareable }
    }

    fn bodies(policy: &HttpPolicy) -> Arc<BodyConfig> {
        Arc::new(BodyConfig {
            limit: usize::try_from(policy.flight.body_limit).unwrap_or(usize::MAX),
            slow: policy.flight.slow_reader,
            keep_start: policy.flight.keep_start,
            hold_back: policy.flight.hold_back_at_most,
            budget: Budget::new(policy.flight.body_budget),
        })
    }
}

impl<K: Hash + Eq + Send + Sync + 'static> Mode for Http<K> {
    type Head = Request<()>;
    type Key = K;
}

impl<K: Hash + Eq + Send + Sync + 'static> sealed::Mode<Request<()>, K> for Http<K> {
    fn keys(&self) -> &Keys<Request<()>, K> {
        &self.keys
    }

    fn keys_mut(&mut self) -> &mut Keys<Request<()>, K> {
        &mut self.keys
    }

    /// Gives each separate group its own body budget and its own unshareable keys. The policy and its number stay.
    fn in_separate_group(&self) -> Self {
        let (bodies, unshareable) = (Self::bodies(&self.policy), UnshareableKeys::new(&self.policy));
        let keys = self.keys.in_separate_group();
        Self { keys, id: self.id, policy: self.policy.clone(), bodies, unshareable }
    }

    fn part_name(&self, part: usize) -> Option<&str> {
        Some(self.policy.name_of(part))
    }
}

impl<K> Clone for Http<K> {
    fn clone(&self) -> Self {
        Self {
            keys: self.keys.clone(),
            id: self.id,
            policy: self.policy.clone(),
            bodies: self.bodies.clone(),
            unshareable: self.unshareable.clone(),
        }
    }
}

impl<K> fmt::Debug for Http<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("policy", &self.policy).finish_non_exhaustive()
    }
}

/// The default of `join_within`. An upstream that hangs must not own its key for ever.
const JOIN_WITHIN: Duration = Duration::from_secs(30);

impl<K: Hash + Eq + Send + Sync + 'static> SingleflightLayer<Http<K>> {
    /// Coalesces identical concurrent HTTP requests. `key` sees the head of a request (method, URI, version, headers,
    /// extensions) and returns the name of the requested resource. The closure needs no annotation.
    ///
    /// Two requests share a flight only if their keys are equal and [`HttpPolicy`] says that one response may answer
    /// both (RFC 9111 §4): by default `GET` and `HEAD`, with the same host, path, query, credentials and negotiation
    /// headers. Followers do not get a response that is for the leader alone, such as one with `Set-Cookie` or `private`.
    ///
    /// The response's body becomes a [`SharedBody`](crate::SharedBody), which streams to every waiter. A flight lands when
    /// the head of its response arrives. All services made by this layer and its clones use one group. Requests join a
    /// flight for 30 s at most.
    ///
    /// ```
    /// use axum::{Router, routing::get};
    /// use tower_singleflight::SingleflightLayer;
    ///
    /// let layer = SingleflightLayer::new(|req| req.uri().path().to_owned());
    /// let handle = layer.handle();
    /// let app: Router = Router::new().route("/report", get(|| async { "expensive" })).layer(layer);
    ///
    /// handle.forget("/report"); // with any query
    /// ```
    ///
    /// The path is a good key. The layer compares query and host as well, while `forget` and writes reach all queries of
    /// a path. And HTTP/1.1 and HTTP/2 requests have the same path, but not the same URI.
    ///
    /// # Nested routers, and several apps
    ///
    /// Inside a nested router, axum strips the prefix off the URI: under `/users/{id}`, the pages of two users have one
    /// URI, and one user would get the other's page. The feature `axum` prevents that: it compares the original path too.
    /// It supports axum 0.8. Without it, or with axum 0.7, put the layer outside of nested routers.
    ///
    /// The layer does not compare inner services. Make a layer value for each app.
    ///
    /// # Sessions and task-locals
    ///
    /// Put layers that set them inside of this one: [the order of a stack](crate::guide::order#sessions) says why.
    ///
    /// # Panics
    ///
    /// A panic in `key` reaches the caller of that request alone.
    pub fn new(key: impl Fn(&Request<()>) -> K + Send + Sync + 'static) -> Self {
        let policy = HttpPolicy::default();
        let rounds = policy.rounds();
        let layer = Self::with_settings(Settings::new(Http::new(Keys::new(key), policy))).join_within(JOIN_WITHIN);
        layer.set(|settings| settings.rules.rounds.after_refusals = rounds)
    }
}

impl<K: Hash + Eq + Send + Sync + 'static, E> SingleflightLayer<Http<K>, E> {
    /// Sets what may be shared over HTTP, and how.
    ///
    /// A layer and a clone of it with another policy share no flights, because a response that one policy shares may be
    /// private under the other. A write through either seals the flights of both.
    #[must_use]
    pub fn policy(self, policy: HttpPolicy) -> Self {
        self.set(|settings| {
            settings.rules.rounds.after_refusals = policy.rounds();
            settings.mode = Http::new(settings.mode.keys.clone(), policy);
        })
    }
}
