//! The service.

use crate::layer::{
    call::Call,
    future::ResponseFuture,
    mode::{ByKey, ErrorMode, FanOut, OwnErrors},
    settings::Settings,
};
use std::{
    fmt,
    hash::Hash,
    marker::PhantomData,
    sync::Arc,
    task::{Context, Poll},
};
use tower_service::Service;

/// Coalesces identical concurrent calls onto one call of `S`. Made by
/// [`SingleflightLayer`](crate::SingleflightLayer).
///
/// The service is always ready. Each flight calls a clone of `S`, and waits until that clone is
/// ready. So followers, and service values that are kept for their next request, hold no permit,
/// slot or connection of `S`. Clones of the service use the same flights.
///
/// If the compiler finds no method of [`Service`] or `ServiceExt` on it, see
/// [what helps](crate::SingleflightLayer#when-it-does-not-compile).
// If a method is missing, the compiler shows this line of the source, and nothing else that helps.
#[rustfmt::skip]
pub struct Singleflight<S, M, E = OwnErrors> { // not a service? `ServiceExt::oneshot(service, request)` says why
    inner: S,
    /// Each service has an `Arc` of its own, so that services on different connections do not
    /// change one reference count.
    pub(crate) settings: Arc<Settings<M>>,
    errors: PhantomData<fn() -> E>,
}

impl<S, M, E> Singleflight<S, M, E> {
    pub(crate) fn new(inner: S, settings: Settings<M>) -> Self {
        Self { inner, settings: Arc::new(settings), errors: PhantomData }
    }

    /// Returns a reference to the inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Returns a mutable reference to the inner service. A change affects later calls of this
    /// value, and of clones that are made from it later.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Returns the inner service.
    pub fn into_inner(self) -> S {
        self.inner
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
    type Future = ResponseFuture<S, Req, ByKey<Req, K>, E>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        ResponseFuture::new(Call::begin(&self.settings, &self.inner, request))
    }
}

impl<S: Clone, M, E> Clone for Singleflight<S, M, E> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), settings: self.settings.clone(), errors: PhantomData }
    }
}

impl<S: fmt::Debug, M, E> fmt::Debug for Singleflight<S, M, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Singleflight")
            .field("inner", &self.inner)
            .field("settings", &self.settings)
            .finish()
    }
}
