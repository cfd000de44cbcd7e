//! How the service takes an HTTP request.

use crate::http::{
    body::SharedBody,
    call::{FlightRef, HttpCall, split},
    flights::{FlightKey, Flights},
    late::LateTable,
    layer::Http,
    request::body::{has_data, peek},
    request::partition::Partition,
    response::cache_status::Forwarded,
    response::facts::ResponseFacts,
    response::mark::mark_response,
    seal::{Seal, SealAll, number_of_path},
};
use crate::{
    core::flight::Place, core::group::Role, error::BoxError, layer::future::ResponseFuture, layer::mode::ErrorMode,
    layer::service::Singleflight, layer::site::Site, stats::PassReason,
};
use http::{Request, Response};
use http_body::Body;
use std::{
    hash::{BuildHasher, Hash, Hasher},
    sync::Arc,
    task::{Context, Poll},
};
use tokio::time::Instant;
use tower_service::Service;

impl<S, B, RB, K, E> Service<Request<B>> for Singleflight<S, Http<K>, E>
where
    S: Service<Request<B>, Response = Response<RB>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    RB: Body + Send + 'static,
    RB::Error: Into<BoxError>,
    K: Hash + Eq + Send + Sync + 'static,
    E: ErrorMode<S::Error>,
{
    type Response = Response<SharedBody>;
    type Error = E::Error;
    type Future = ResponseFuture<HttpCall<S, B, K, E, E::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        HttpCall::start(self.site(), self.get_ref(), request)
    }
}

impl<S, B, RB, K, E> HttpCall<S, B, K, E, E::Error>
where
    S: Service<Request<B>, Response = Response<RB>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    RB: Body + Send + 'static,
    RB::Error: Into<BoxError>,
    K: Hash + Eq + Send + Sync + 'static,
    E: ErrorMode<S::Error>,
{
    #[inline]
    fn start(site: &Arc<Site<Http<K>>>, service: &S, request: Request<B>) -> ResponseFuture<Self> {
        let (head, body) = split(request);
        match has_data(&body) {
            Some(has_data) => Self::serve(site, service, head, body, has_data),
            None => Self::peek_then_serve(site, service, head, body),
        }
    }

    /// The body does not say whether it has data: it is looked into first, if the request would share without.
    #[cold]
    fn peek_then_serve(site: &Arc<Site<Http<K>>>, service: &S, head: Request<()>, body: B) -> ResponseFuture<Self> {
        if !site.shares_without_body(&head) {
            return Self::serve(site, service, head, body, true);
        }
        match peek(body) {
            Err(body) => Self::serve(site, service, head, body, true),
            Ok(peek) => {
                let (site, service) = (site.clone(), service.clone());
                #[allow(clippy::async_yields_async, reason = "it gives the future that takes its place")]
                ResponseFuture::deferred(async move {
                    let (has_data, body) = peek.await;
                    Self::serve(&site, &service, head, body, has_data)
                })
            }
        }
    }

    /// Joins or leads a flight, or passes.
    #[inline]
    fn serve(
        site: &Arc<Site<Http<K>>>,
        service: &S,
        head: Request<()>,
        body: B,
        has_body: bool,
    ) -> ResponseFuture<Self> {
        let route = site.route(&head, has_body);
        let seal = site.seal(&head);
        let flights = site.flights(Flights::<K, E::Error>::new);
        let route = route.unless_inside(&flights.late);
        if let Some(response) = site.join_late(&flights.late, &route, &head) {
            return ResponseFuture::ready(Ok(response), site.observer());
        }
        let call = |known| Self::new(service.clone(), (head, body), site.clone(), known);
        match route {
            Route::Flight(place, key) => {
                site.enter(&flights.table, place, key.clone(), call(FlightRef::Flight(place, key)), None)
            }
            Route::Pass(reason, hash) => {
                let known = hash.map_or(FlightRef::Untracked, FlightRef::Hash);
                ResponseFuture::pass(call(known).with_seal(seal), reason, site.observer())
            }
        }
    }
}

/// Where a request goes.
enum Route<K> {
    Flight(Place, FlightKey<K>),
    /// With the hash of its flight, if its response tells whether later ones may fly.
    Pass(PassReason, Option<u64>),
}

impl<K: Eq + Send + Sync + 'static> Route<K> {
    /// A body that asks for itself would wait for itself.
    fn unless_inside(self, late: &LateTable<K>) -> Self {
        match self {
            Self::Flight(place, key) if late.is_inside(place, &key) => {
                Self::Pass(PassReason::Reentrant, Some(place.hash))
            }
            route => route,
        }
    }
}

impl<K: Hash + Eq + Send + Sync + 'static> Site<Http<K>> {
    /// Whether this request shares if it has no body, and only then.
    fn shares_without_body(&self, head: &Request<()>) -> bool {
        let policy = &self.settings.mode.policy;
        self.passes(head).is_none() && !policy.request.ignore_body && policy.admit(head, false).is_ok()
    }

    fn route(&self, head: &Request<()>, has_body: bool) -> Route<K> {
        let Http { policy, bodies, unshareable, .. } = &self.settings.mode;
        if let Some(reason) = self.passes(head) {
            return Route::Pass(reason, None);
        }
        let partition = match policy.admit(head, has_body) {
            Ok(partition) => partition,
            Err(reason) => return Route::Pass(reason, None),
        };
        if !bodies.budget.admits() {
            return Route::Pass(PassReason::BodyBudget, None);
        }
        let (place, key) = self.address(head, partition);
        if unshareable.contains(place.hash) {
            return Route::Pass(PassReason::Unshareable, Some(place.hash));
        }
        Route::Flight(place, key)
    }

    /// All flights of one key are in one shard, so that they can be forgotten together.
    pub(super) fn address(&self, head: &Request<()>, partition: Partition) -> (Place, FlightKey<K>) {
        let key = (self.settings.extract)(head);
        // A key is hashed once, however long it is: `shard` is the hash that `Registry::place` gives it.
        let mut hasher = self.registry.hasher().build_hasher();
        key.hash(&mut hasher);
        let shard = hasher.finish();
        partition.hash(&mut hasher);
        let hash = hasher.finish();
        (Place { shard, hash, path: number_of_path(head) }, FlightKey::new(key, partition, self.settings.mode.id))
    }

    /// Whether flights may be joined after their head. Waiters are not counted from then on.
    pub(super) fn allows_late_joins(&self) -> bool {
        self.settings.mode.policy.allows_late_joins() && self.settings.rules.max_waiters == usize::MAX
    }

    /// Until when newcomers may join a flight after this head, if they may; `Some(None)` is for as long as its body
    /// streams.
    pub(super) fn late_join_until(&self, facts: &ResponseFacts, opened: Instant) -> Option<Option<Instant>> {
        let fresh = self.settings.mode.policy.late_join_until(facts)?;
        let young = self.settings.rules.join_within.and_then(|age| opened.checked_add(age));
        Some(fresh.into_iter().chain(young).min())
    }

    /// The response of a flight whose body still streams, if this request may have it.
    fn join_late(&self, late: &LateTable<K>, route: &Route<K>, head: &Request<()>) -> Option<Response<SharedBody>> {
        let Route::Flight(place, key) = route else { return None };
        let policy = &self.settings.mode.policy;
        if late.is_empty() || !self.allows_late_joins() || policy.wants_fresh(head) {
            return None;
        }
        let mut response = late.join(*place, key, head.headers())?;
        mark_response(Some(policy), Role::Follower, Forwarded::Collapsed, Some(head.headers()), &mut response);
        Some(response)
    }

    /// A write seals the flights of its key and of its path, now and when what is returned is dropped. While the layer
    /// is disabled nobody joins any flight and no key is asked for, but it may be enabled by when the write is answered.
    fn seal(&self, head: &Request<()>) -> Option<Box<dyn Send>> {
        if !self.settings.mode.policy.is_write(head.method()) {
            return None;
        }
        if !self.registry.is_enabled() {
            return Some(Box::new(SealAll(self.scope.clone())));
        }
        let key = (self.settings.extract)(head);
        let hash = self.registry.place(&key).hash;
        Some(Box::new(Seal::new(self.scope.clone(), hash, key, number_of_path(head))))
    }
}
