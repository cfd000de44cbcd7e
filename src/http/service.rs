//! Serves an HTTP request: joins a flight, leads one, or passes.

use crate::http::{
    body::SharedBody,
    call::{HttpCall, split},
    layer::Http,
    request::body::{has_data, peek},
    route::Route,
};
use crate::{
    error::BoxError, layer::future::ResponseFuture, layer::job_future::JobFuture,
    layer::mode::ErrorMode, layer::service::Singleflight, layer::settings::Settings,
};
use http::{Request, Response};
use http_body::Body;
use std::{
    hash::Hash,
    sync::Arc,
    task::{Context, Poll},
};
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
    type Future = ResponseFuture<S, Request<B>, Http<K>, E>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (service, settings) = (self.get_ref().clone(), self.settings.clone());
        ResponseFuture::new(match has_data(request.body()) {
            Some(has_data) => {
                let (head, body) = split(request);
                HttpCall::new(service, settings, head, body).serve(&self.settings, has_data)
            }
            None => HttpCall::peek_then_serve(service, settings, request),
        })
    }
}

impl<S, B, RB, K, E> HttpCall<S, B, Http<K>, E, S::Future>
where
    S: Service<Request<B>, Response = Response<RB>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    RB: Body + Send + 'static,
    RB::Error: Into<BoxError>,
    K: Hash + Eq + Send + Sync + 'static,
    E: ErrorMode<S::Error>,
{
    /// Peeks into a body that does not say whether it has data, if the request would share without
    /// data.
    #[cold]
    fn peek_then_serve(
        service: S,
        settings: Arc<Settings<Http<K>>>,
        request: Request<B>,
    ) -> JobFuture<Box<Self>> {
        let (head, body) = split(request);
        let peeked = if settings.shares_without_body(&head) { peek(body) } else { Err(body) };
        match peeked {
            Err(body) => Self::new(service, settings.clone(), head, body).serve(&settings, true),
            Ok(peek) => JobFuture::boxed(async move {
                let (has_data, body) = peek.await;
                Self::new(service, settings.clone(), head, body).serve(&settings, has_data).await
            }),
        }
    }

    /// Shares a flight or passes.
    #[inline]
    fn serve(
        self: Box<Self>,
        settings: &Settings<Http<K>>,
        has_body: bool,
    ) -> JobFuture<Box<Self>> {
        match settings.route(self.head(), has_body) {
            Route::Share(key) => self.share(settings, key),
            Route::Pass(reason, flight) => {
                let seal = settings.seal(self.head());
                self.pass_alone(settings, reason, flight, seal)
            }
        }
    }
}
