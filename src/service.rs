//! The service, and how it calls any service by key.

use crate::{
    flight::{Place, Work},
    future::{Job, ResponseFuture},
    group::Role,
    layer::Settings,
    mode::{ByKey, ErrorMode, Mode},
    scope::{Forgets, Registry, Scope},
    stats::{Counters, PassReason},
    table::{Entered, Table},
    trace::in_current_span,
};
use std::{
    any::Any,
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
pub struct Singleflight<S, M: Mode, E> {
    inner: S,
    settings: Arc<Settings<M>>,
    registry: Arc<Registry<M::Key>>,
    scope: Arc<Scope<M::Key>>,
    /// The table of the last call, in case the next has the same type.
    table: Option<Arc<dyn Any + Send + Sync>>,
    errors: PhantomData<fn() -> E>,
}

impl<S, M: Mode, E> Singleflight<S, M, E> {
    pub(crate) fn new(
        inner: S,
        settings: Arc<Settings<M>>,
        registry: Arc<Registry<M::Key>>,
        scope: Arc<Scope<M::Key>>,
    ) -> Self {
        Self { inner, settings, registry, scope, table: None, errors: PhantomData }
    }

    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service, as calls from now on will use it.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }

    pub(crate) fn settings(&self) -> &Settings<M> {
        &self.settings
    }

    pub(crate) fn registry(&self) -> &Registry<M::Key> {
        &self.registry
    }

    pub(crate) fn scope(&self) -> &Arc<Scope<M::Key>> {
        &self.scope
    }

    pub(crate) fn counters(&self) -> &Arc<Counters> {
        self.registry.counters()
    }

    pub(crate) fn table<F, T>(&mut self) -> Arc<Table<F, T>>
    where
        F: Eq + Send + Sync + 'static,
        T: Send + Sync + 'static,
        Table<F, T>: Forgets<M::Key>,
    {
        if let Some(table) = self.table.clone().and_then(|table| table.downcast().ok()) {
            return table;
        }
        let table = self.scope.table::<F, T>(self.registry.counters());
        self.table = Some(table.clone());
        table
    }

    /// Joins or leads a flight.
    pub(crate) fn enter<F, J>(&mut self, place: Place, key: F, job: J) -> ResponseFuture<J>
    where
        F: Eq + Send + Sync + 'static,
        J: Job,
        Table<F, J::Landing>: Forgets<M::Key>,
    {
        let table = self.table::<F, J::Landing>();
        let mut spare = Some(job);
        let lead = || spare.take().expect("the request is asked for once").fly();
        match (table.enter(place, key, &self.settings.rules, lead), spare) {
            (Entered::Inside, Some(job)) => ResponseFuture::pass(job, PassReason::Reentrant, self.counters()),
            (Entered::Inside, None) => unreachable!("a call inside a flight boards no work"),
            (Entered::Led(waiter) | Entered::LedAnew(waiter) | Entered::Joined(waiter), spare) => {
                ResponseFuture::wait(waiter, spare, self.settings.patience, self.counters())
            }
        }
    }
}

impl<S: Clone, M: Mode, E> Clone for Singleflight<S, M, E> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            settings: self.settings.clone(),
            registry: self.registry.clone(),
            scope: self.scope.clone(),
            table: self.table.clone(),
            errors: PhantomData,
        }
    }
}

impl<S: fmt::Debug, M: Mode, E> fmt::Debug for Singleflight<S, M, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Singleflight")
            .field("inner", &self.inner)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl<S, Req, K, E> Service<Req> for Singleflight<S, ByKey<Req, K>, E>
where
    S: Service<Req> + Clone + Send + 'static,
    S::Response: Clone + Send + Sync + 'static,
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
        if !self.settings.wants(&request) {
            return ResponseFuture::pass(Call::new(&self.inner, request), PassReason::Filter, self.counters());
        }
        let key = (self.settings.extract)(&request);
        let place = self.registry.place(&key);
        let call = Call::new(&self.inner, request);
        self.enter(place, key, call)
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

    fn fly(self) -> Work<Self::Landing> {
        Box::pin(in_current_span(async move { self.service.oneshot(self.request).await.map_err(E::convert) }))
    }

    fn pass(self) -> Pin<Box<dyn Future<Output = Self::Output> + Send>> {
        Box::pin(async move { self.service.oneshot(self.request).await.map_err(E::convert) })
    }

    fn unpack(landing: Self::Landing, _: Role) -> Self::Output {
        landing
    }
}
