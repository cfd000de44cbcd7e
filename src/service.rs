//! The service, and how it calls any service by key.

use crate::{
    flight::Start,
    future::{Job, ResponseFuture},
    group::Role,
    mode::{ByKey, ErrorMode, FanOut, Mode, OwnErrors},
    observe::{Caller, Work},
    site::Site,
    stats::PassReason,
    table::Table,
};
use std::{
    fmt,
    hash::Hash,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
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
    type Future = ResponseFuture<Call<S, Req, E>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        if !self.site.settings.wants(&request) {
            return ResponseFuture::pass(Call::new(&self.inner, request), PassReason::Filter, self.site.observer());
        }
        let site = &self.site;
        let key = (site.settings.extract)(&request);
        let call = Call::new(&self.inner, request);
        let place = site.registry.place(&key);
        site.with_flights(|observer| Table::new(observer.clone()), |table| site.enter(table, place, key, call))
    }
}

/// A call of any service.
#[derive(Debug)]
pub struct Call<S, Req, E> {
    service: S,
    request: Req,
    errors: PhantomData<fn() -> E>,
}

impl<S: Clone, Req, E> Call<S, Req, E> {
    fn new(service: &S, request: Req) -> Self {
        Self { service: service.clone(), request, errors: PhantomData }
    }
}

impl<S, Req, E> Job for Call<S, Req, E>
where
    S: Service<Req> + Send + 'static,
    S::Response: Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    Req: Send + 'static,
    E: ErrorMode<S::Error>,
{
    type Landing = Result<S::Response, E::Error>;
    type Output = Result<S::Response, E::Error>;

    fn fly(self, _: Start, caller: Caller) -> Work<Self::Landing> {
        Work::new(async move { self.service.oneshot(self.request).await.map_err(E::convert) }, caller)
    }

    fn pass(self, _: bool) -> Pin<Box<dyn Future<Output = Self::Output> + Send>> {
        Box::pin(async move { self.service.oneshot(self.request).await.map_err(E::convert) })
    }

    fn unpack(landing: Self::Landing, _: Role) -> Self::Output {
        landing
    }
}
