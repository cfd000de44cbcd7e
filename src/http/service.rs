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
        let (head, body) = split(request);
        ResponseFuture::new(match has_data(&body) {
            Some(has_data) => HttpCall::serve(&self.settings, self.get_ref(), head, body, has_data),
            None => HttpCall::peek_then_serve(&self.settings, self.get_ref(), head, body),
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
        settings: &Arc<Settings<Http<K>>>,
        service: &S,
        head: Request<()>,
        body: B,
    ) -> JobFuture<Box<Self>> {
        if !settings.shares_without_body(&head) {
            return Self::serve(settings, service, head, body, true);
        }
        match peek(body) {
            Err(body) => Self::serve(settings, service, head, body, true),
            Ok(peek) => {
                let (settings, service) = (settings.clone(), service.clone());
                JobFuture::boxed(async move {
                    let (has_data, body) = peek.await;
                    Self::serve(&settings, &service, head, body, has_data).await
                })
            }
        }
    }

    /// Shares a flight or passes.
    #[inline]
    fn serve(
        settings: &Arc<Settings<Http<K>>>,
        service: &S,
        head: Request<()>,
        body: B,
        has_body: bool,
    ) -> JobFuture<Box<Self>> {
        match settings.route(&head, has_body) {
            Route::Share(key) => Self::share(settings, service, head, body, key),
            Route::Pass(reason, flight) => {
                let seal = settings.seal(&head);
                let call = Self::new(service.clone(), head, body, settings.clone(), flight)
                    .with_seal(seal);
                JobFuture::pass(call, reason, settings.observer())
            }
        }
    }
}
