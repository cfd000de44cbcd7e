//! The service, and how it calls any service by key.

use crate::{
    core::group::Role,
    core::reentry::FlightNumber,
    core::rules::Setback,
    core::shard::{Hooks, Table},
    layer::future::{Job, ResponseFuture},
    layer::mode::{ByKey, ErrorMode, FanOut, Mode, OwnErrors},
    layer::site::Site,
    observe::{Caller, Observer, Work},
};
use std::{
    fmt,
    hash::Hash,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::time::Instant;
use tower::ServiceExt;
use tower_service::Service;

/// Coalesces identical concurrent calls onto one call of `S`. Made by [`SingleflightLayer`](crate::SingleflightLayer).
///
/// It is always ready: the call that is made gets a clone of `S`, which is readied first. So a follower
/// holds no permit, slot or connection of `S`, and neither does a service value that is kept for its next
/// request. A clone uses the same flights.
///
/// When the compiler finds no method of [`Service`] or `ServiceExt` on it, see
/// [what helps](crate::SingleflightLayer#when-it-does-not-compile).
// The compiler shows the next line to those who call a method on what is no service, and nothing else that helps.
#[rustfmt::skip]
pub struct Singleflight<S, M: Mode, E = OwnErrors> { // not a service? `ServiceExt::oneshot(service, request)` says why
    inner: S,
    site: Arc<Site<M>>,
    errors: PhantomData<fn() -> E>,
}

impl<S, M: Mode, E> Singleflight<S, M, E> {
    pub(crate) fn new(inner: S, site: Site<M>) -> Self {
        Self { inner, site: Arc::new(site), errors: PhantomData }
    }

    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service, as calls of this value will use it from now on; clones have their own.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }

    #[cfg(feature = "http")]
    pub(crate) fn site(&self) -> &Arc<Site<M>> {
        &self.site
    }
}

impl<S: Clone, M: Mode, E> Clone for Singleflight<S, M, E> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), site: self.site.clone(), errors: PhantomData }
    }
}

impl<S: fmt::Debug, M: Mode, E> fmt::Debug for Singleflight<S, M, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Singleflight").field("inner", &self.inner).field("site", &self.site).finish()
    }
}

impl<S, Req, K, E> Service<Req> for Singleflight<S, ByKey<Req, K>, E>
where
    S: Service<Req> + Clone + Send + 'static,
    S::Response: FanOut + Send + Sync + 'static,
    S::Future: Send + 'static,
    Req: Send + 'static,
    K: Hash + Eq + Send + Sync + 'static,
    E: ErrorMode<S::Error>,
{
    type Response = S::Response;
    type Error = E::Error;
    type Future = ResponseFuture<Call<S, Req, K, E>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let site = &self.site;
        if let Some(reason) = site.passes(&request) {
            return ResponseFuture::pass(Call::new(&self.inner, request, None), reason, site.observer());
        }
        // Only a follower that may lose its patience needs to find its flights again.
        let again = site.settings.patience.map(|_| site.clone());
        site.enter_by_key(Call::new(&self.inner, request, again), None)
    }
}

impl<Req: 'static, K: Hash + Eq + Send + Sync + 'static> Site<ByKey<Req, K>> {
    /// Joins or leads a flight for the key of a call.
    #[inline(always)]
    fn enter_by_key<S, E>(
        &self,
        call: Call<S, Req, K, E>,
        left: Option<FlightNumber>,
    ) -> ResponseFuture<Call<S, Req, K, E>>
    where
        S: Service<Req> + Send + 'static,
        S::Response: Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        Req: Send,
        E: ErrorMode<S::Error>,
    {
        let key = (self.settings.extract)(&call.request);
        let address = self.registry.address(&key);
        self.enter(&self.flights(table), address, key, call, left)
    }
}

fn table<K, R, E>(observer: &Arc<Observer>) -> Arc<Table<K, Result<R, E>>>
where
    K: Eq + Send + Sync + 'static,
    Result<R, E>: Send + Sync + 'static,
{
    let setback = |result: &Result<R, E>| result.is_err().then_some(Setback::Error);
    Table::with_hooks(observer.clone(), Hooks { setback, ..Hooks::NONE })
}

/// A call of any service.
pub struct Call<S, Req, K: Hash + Eq + Send + Sync + 'static, E>
where
    Req: 'static,
{
    service: S,
    request: Req,
    /// Where it finds a newer flight, if it may have to.
    again: Option<Arc<Site<ByKey<Req, K>>>>,
    errors: PhantomData<fn() -> E>,
}

impl<S, Req: 'static, K: Hash + Eq + Send + Sync + 'static, E> Call<S, Req, K, E> {
    fn new(service: &S, request: Req, again: Option<Arc<Site<ByKey<Req, K>>>>) -> Self
    where
        S: Clone,
    {
        Self { service: service.clone(), request, again, errors: PhantomData }
    }
}

impl<S, Req, K, E> Job for Call<S, Req, K, E>
where
    S: Service<Req> + Send + 'static,
    S::Response: Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    Req: Send + 'static,
    K: Hash + Eq + Send + Sync + 'static,
    E: ErrorMode<S::Error>,
{
    type Landing = Result<S::Response, E::Error>;
    type Output = Result<S::Response, E::Error>;

    #[inline]
    fn fly(self, _: Option<Instant>, caller: Caller) -> Work<Self::Landing> {
        Work::new(async move { self.service.oneshot(self.request).await.map_err(E::convert) }, caller)
    }

    fn pass(self, _: bool) -> Pin<Box<dyn Future<Output = Self::Output> + Send>> {
        Box::pin(async move { self.service.oneshot(self.request).await.map_err(E::convert) })
    }

    fn is_disabled(&self) -> bool {
        self.again.as_ref().is_some_and(|site| !site.registry.is_enabled())
    }

    fn newer(self, left: FlightNumber) -> ResponseFuture<Self> {
        let site = self.again.clone().expect("it has a patience");
        site.enter_by_key(self, Some(left))
    }

    fn unpack(landing: Self::Landing, _: Role, _: Option<&Self>) -> Self::Output {
        landing
    }
}

impl<S, Req: 'static, K: Hash + Eq + Send + Sync + 'static, E> fmt::Debug for Call<S, Req, K, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").finish_non_exhaustive()
    }
}
