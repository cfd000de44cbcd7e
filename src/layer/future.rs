//! The future of a service's call.

use crate::layer::{
    job::Job,
    job_future::JobFuture,
    mode::{CallMode, OwnErrors},
};
use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

/// The response future of [`Singleflight<S, M, E>`](crate::Singleflight) for a request `Req`.
///
/// Name it if you write a service around a `Singleflight`:
///
/// ```
/// use std::{convert::Infallible, task::{Context, Poll}};
/// use tower::Service;
/// use tower_singleflight::{ResponseFuture, Singleflight, mode};
///
/// /// Looks up the name of a user.
/// struct Users<S> {
///     lookup: Singleflight<S, mode::ByKey<u32, u32>>,
/// }
///
/// impl<S> Service<u32> for Users<S>
/// where
///     S: Service<u32, Response = String, Error = Infallible> + Clone + Send + 'static,
///     S::Future: Send + 'static,
/// {
///     type Response = String;
///     type Error = Infallible;
///     type Future = ResponseFuture<S, u32, mode::ByKey<u32, u32>>;
///
///     fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
///         self.lookup.poll_ready(cx)
///     }
///
///     fn call(&mut self, id: u32) -> Self::Future {
///         self.lookup.call(id)
///     }
/// }
/// ```
///
/// # Cancel safety
///
/// Dropping it never disturbs the other waiters of its flight. When the last waiter is dropped, the
/// inner call is dropped at once, unless the layer runs flights to completion.
///
/// # Panics
///
/// Polling it panics:
///
/// - with the message of the inner call's panic;
/// - if the flight was lost with its runtime, and no waiter has a request left to lead it again;
/// - if another waiter led a lost flight again, its response must not be shared with this waiter,
///   and this waiter has no request left;
/// - if the response's `Clone` panics;
/// - with [`wait_at_most`](crate::SingleflightLayer::wait_at_most), if a follower is polled outside
///   a tokio runtime, or in a runtime without a timer;
/// - after it was ready.
///
/// Dropping it panics if the inner call, the request, the key or the response panics in its `Drop`.
#[must_use = "a flight stops working when no caller waits for it"]
pub struct ResponseFuture<S, Req, M: CallMode<S, Req, E>, E = OwnErrors> {
    job: JobFuture<M::Call>,
}

impl<S, Req, M: CallMode<S, Req, E>, E> ResponseFuture<S, Req, M, E> {
    #[inline]
    pub(crate) fn new(job: JobFuture<M::Call>) -> Self {
        Self { job }
    }
}

impl<S, Req, M: CallMode<S, Req, E>, E> Future for ResponseFuture<S, Req, M, E> {
    type Output = <M::Call as Job>::Output;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.job).poll(cx)
    }
}

impl<S, Req, M: CallMode<S, Req, E>, E> fmt::Debug for ResponseFuture<S, Req, M, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").field("state", &self.job).finish()
    }
}
