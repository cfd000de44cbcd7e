//! The layer for HTTP.

use crate::http::{
    body::{BodyConfig, Budget},
    memory::Memory,
    policy::HttpPolicy,
};
use crate::{
    layer::mode::{Mode, sealed::Sealed},
    layer::settings::SingleflightLayer,
};
use http::Request;
use std::{
    fmt,
    hash::Hash,
    marker::PhantomData,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// HTTP requests and responses: the mode of [`SingleflightLayer::new`].
pub struct Http<K> {
    pub(super) id: PolicyId,
    pub(super) policy: Arc<HttpPolicy>,
    pub(super) bodies: Arc<BodyConfig>,
    pub(super) memory: Memory,
    key: PhantomData<fn() -> K>,
}

/// Tells policies apart, whatever they say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PolicyId(u64);

impl PolicyId {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl<K> Http<K> {
    fn new(policy: HttpPolicy) -> Self {
        let (bodies, memory) = (Self::bodies(&policy), Memory::new(&policy));
        Self { id: PolicyId::new(), policy: Arc::new(policy), bodies, memory, key: PhantomData }
    }

    fn bodies(policy: &HttpPolicy) -> Arc<BodyConfig> {
        Arc::new(BodyConfig {
            limit: usize::try_from(policy.flight.body_limit).unwrap_or(usize::MAX),
            slow: policy.flight.slow_reader,
            hold_back: policy.flight.hold_back_at_most,
            budget: Budget::new(policy.flight.body_budget),
        })
    }
}

impl<K: Hash + Eq + Send + Sync + 'static> Mode for Http<K> {
    type Head = Request<()>;
    type Key = K;

    fn part(&self, part: usize) -> Option<&str> {
        Some(self.policy.name_of(part))
    }

    /// Neither what one group holds nor what it remembers concerns another. The policy is the same, and so its id.
    fn apart(&self) -> Self {
        let (bodies, memory) = (Self::bodies(&self.policy), Memory::new(&self.policy));
        Self { bodies, memory, ..self.clone() }
    }
}

impl<K> Sealed for Http<K> {}

impl<K> Clone for Http<K> {
    fn clone(&self) -> Self {
        Self {
            id: self.id,
            policy: self.policy.clone(),
            bodies: self.bodies.clone(),
            memory: self.memory.clone(),
            key: PhantomData,
        }
    }
}

impl<K> fmt::Debug for Http<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("policy", &self.policy).finish_non_exhaustive()
    }
}

/// A newcomer joins only a flight that is younger, so that an upstream that hangs does not own its key for ever.
const JOIN_WITHIN: Duration = Duration::from_secs(30);

impl<K: Hash + Eq + Send + Sync + 'static> SingleflightLayer<Http<K>> {
    /// Coalesces identical concurrent HTTP requests. `key` sees the head of a request (method, URI, version, headers,
    /// extensions) and returns the name of the resource that it asks for. The closure needs no annotation.
    ///
    /// Two requests share a flight only if their keys are equal and [`HttpPolicy`] says that one response may answer
    /// both (RFC 9111 §4): by default `GET` and `HEAD`, with the same host, path, query, credentials and negotiation
    /// headers. Followers do not get a response that is for the leader alone, such as one with `Set-Cookie` or `private`.
    ///
    /// The response's body becomes a [`SharedBody`](crate::SharedBody), which streams to every waiter. The flight is over
    /// when the head of the response is there. All services made by this layer and its clones use one group, and a flight
    /// is joined for 30 s at most.
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
    /// The path makes a good key. Its query and host are compared besides; `forget` and writes reach all of its
    /// queries; and it is the same in HTTP/1.1 and HTTP/2, where the whole URI is not.
    ///
    /// # Nested routers, and several apps
    ///
    /// Inside a nested router, axum strips the prefix off the URI: under `/users/{id}`, the pages of two users have one
    /// URI, and one user would get the other's. The feature `axum` closes that: it compares the original path too. It
    /// knows axum 0.8. Without it, or with axum 0.7, put the layer outside of nested routers.
    ///
    /// The layer does not compare the inner services. Give apps that differ a layer value each.
    ///
    /// # Sessions and task-locals
    ///
    /// belong inside of the layer: [the order of a stack](crate::guide::order#sessions) says why.
    ///
    /// # Panics
    ///
    /// A panic in `key` reaches the caller of that one request.
    pub fn new(key: impl Fn(&Request<()>) -> K + Send + Sync + 'static) -> Self {
        let policy = HttpPolicy::default();
        let rounds = policy.rounds();
        let layer = Self::from_parts(Http::new(policy), Arc::new(key), true).join_within(JOIN_WITHIN);
        layer.set(|settings| settings.rules.rounds.after_refusals = rounds)
    }
}

impl<K: Hash + Eq + Send + Sync + 'static, E> SingleflightLayer<Http<K>, E> {
    /// Sets what may be shared over HTTP, and how.
    ///
    /// On a clone of a layer this parts its requests from those of the others: nobody gets what another
    /// policy shares and theirs does not. A write seals the flights of all of them.
    pub fn policy(self, policy: HttpPolicy) -> Self {
        self.set(|settings| {
            settings.rules.rounds.after_refusals = policy.rounds();
            settings.mode = Http::new(policy);
        })
    }
}
