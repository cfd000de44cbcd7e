//! The layer for HTTP requests with a body: its constructor and its policy.

use crate::http::{
    policy::HttpPolicy,
    settings::{HttpMode, HttpSettings},
};
use crate::layer::{
    keys::Keys,
    mode::{Mode, sealed},
    singleflight_layer::SingleflightLayer,
};
use bytes::Bytes;
use http::Request;
use std::{fmt, hash::Hash, sync::Arc};

type ExtractFromBody<K> = Arc<dyn Fn(&Request<Bytes>) -> Option<K> + Send + Sync>;

/// HTTP requests with a body: the mode of [`SingleflightLayer::with_body`].
pub struct HttpBody<K> {
    extract: ExtractFromBody<K>,
    limit: usize,
    settings: HttpSettings<K>,
}

impl<K> HttpBody<K> {
    /// Calls the user's key closure.
    pub(super) fn key(&self, request: &Request<Bytes>) -> Option<K> {
        (self.extract)(request)
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }
}

impl<K: Hash + Eq + Send + Sync + 'static> HttpMode for HttpBody<K> {
    fn http(&self) -> &HttpSettings<K> {
        &self.settings
    }
}

impl<K: Hash + Eq + Send + Sync + 'static> Mode for HttpBody<K> {
    type Head = Request<()>;
    type Key = K;
}

impl<K: Hash + Eq + Send + Sync + 'static> sealed::Mode<Request<()>, K> for HttpBody<K> {
    fn keys(&self) -> &Keys<Request<()>, K> {
        &self.settings.keys
    }

    fn keys_mut(&mut self) -> &mut Keys<Request<()>, K> {
        &mut self.settings.keys
    }

    fn in_separate_group(&self) -> Self {
        Self { settings: self.settings.in_separate_group(), ..self.clone() }
    }

    fn part_name(&self, part: usize) -> Option<&str> {
        Some(self.settings.policy.name_of(part))
    }
}

impl<K> Clone for HttpBody<K> {
    fn clone(&self) -> Self {
        Self { extract: self.extract.clone(), limit: self.limit, settings: self.settings.clone() }
    }
}

impl<K> fmt::Debug for HttpBody<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpBody")
            .field("limit", &self.limit)
            .field("policy", &self.settings.policy)
            .finish_non_exhaustive()
    }
}

impl<K: Hash + Eq + Send + Sync + 'static> SingleflightLayer<HttpBody<K>> {
    /// Coalesces identical concurrent HTTP requests by their bodies, for reads that come by `POST`:
    /// GraphQL, JSON-RPC, searches, prompts to a language model.
    ///
    /// `key` sees a request with its whole body and returns its key. `None` means that the request
    /// passes. The closure needs no annotation: it gets a `&http::Request<Bytes>`.
    ///
    /// ```
    /// use axum::{Router, routing::post};
    /// use tower_singleflight::SingleflightLayer;
    ///
    /// // Equal queries share. Mutations pass.
    /// let layer = SingleflightLayer::with_body(64 * 1024, |request| {
    ///     let query = request.body();
    ///     query.starts_with(b"query").then(|| query.clone())
    /// });
    /// let answer = post(|body: String| async { body });
    /// let app: Router = Router::new().route("/graphql", answer).layer(layer);
    /// ```
    ///
    /// # Which requests share
    ///
    /// A `POST`, `QUERY`, `GET` or `HEAD` whose body has at most `limit` bytes, and for which `key`
    /// returns `Some`. Without a body, `key` sees empty bytes. The rest is as with `new`: the same
    /// [`HttpPolicy`] decides which requests share and who gets the response. It has two other
    /// defaults here:
    ///
    /// - `POST` and `QUERY` share too. [`HttpPolicy::methods`] sets other methods.
    /// - `Content-Type` and `Content-Encoding` are compared, if the policy does not say otherwise
    ///   ([`without_partition_header`](HttpPolicy::without_partition_header)).
    ///
    /// The body is compared only by the key. A key that leaves out a part of the body gives callers
    /// the answer to another body.
    ///
    /// # Reading the body
    ///
    /// A request joins or leads a flight when its body is complete, so no caller waits for the
    /// upload of another. The layer holds at most `limit` bytes for each request. The inner service
    /// gets a body of the same type, with the same bytes ([`RequestBody`](crate::RequestBody)). A
    /// follower keeps its own request until it has its response.
    ///
    /// These requests pass, each with all its bytes, its trailers and its error:
    ///
    /// | Body | Read before it passes |
    /// |---|---|
    /// | `Content-Length` or its size hint is over `limit` | nothing |
    /// | is longer than `limit` | up to `limit`, and the frame that exceeds it. The rest streams |
    /// | fails, or has trailers | up to there |
    /// | has another length than `Content-Length` | all |
    ///
    /// A request that the filter or the policy rejects by its head passes unread, for example
    /// because of `Expect: 100-continue`.
    ///
    /// # Writes
    ///
    /// A request with an unsafe method that passes because it has no key is a write: `key` returned
    /// `None`, or was not asked. It seals the flights of its path, whatever their key, query and
    /// host. So a query that comes after a mutation never gets an answer from before it. A `POST`
    /// with a key is a read and seals nothing.
    ///
    /// # Panics
    ///
    /// A panic in `key`, or of the request's body, reaches the caller of that request alone.
    pub fn with_body(
        limit: usize,
        key: impl Fn(&Request<Bytes>) -> Option<K> + Send + Sync + 'static,
    ) -> Self {
        let settings = HttpSettings::new(Keys::new(), HttpPolicy::default().for_bodies());
        Self::of_mode(HttpBody { extract: Arc::new(key), limit, settings })
    }
}

impl<K: Hash + Eq + Send + Sync + 'static, E> SingleflightLayer<HttpBody<K>, E> {
    /// Sets what may be shared over HTTP, and how. [`with_body`](Self::with_body) says which of its
    /// defaults are different here.
    ///
    /// A layer and a clone of it with another policy share no flights. A write through either seals
    /// the flights of both.
    #[must_use]
    pub fn policy(self, policy: HttpPolicy) -> Self {
        self.set(|settings| {
            settings.rules.rounds.after_refusals = policy.rounds();
            let http = &mut settings.mode.settings;
            *http = HttpSettings::new(http.keys.clone(), policy.for_bodies());
        })
    }
}
