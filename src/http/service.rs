//! Serves an HTTP request: joins a flight, leads one, or passes.

use crate::http::{
    body::SharedBody,
    call::{HttpCall, split},
    flights::Flights,
    key::{FlightRef, HashedKey},
    layer::Http,
    request::body::{has_data, peek},
    route::Route,
};
use crate::{
    error::BoxError, layer::future::ResponseFuture, layer::mode::ErrorMode, layer::service::Singleflight,
    layer::site::Site, stats::PassReason,
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
    type Future = ResponseFuture<HttpCall<S, B, K, E, E::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (head, body) = split(request);
        match has_data(&body) {
            Some(has_data) => HttpCall::serve(self.site(), self.get_ref(), head, body, has_data),
            None => HttpCall::peek_then_serve(self.site(), self.get_ref(), head, body),
        }
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
    /// Peeks into a body that does not say whether it has data, if the request would share without data.
    #[cold]
    fn peek_then_serve(site: &Arc<Site<Http<K>>>, service: &S, head: Request<()>, body: B) -> ResponseFuture<Self> {
        if !site.shares_without_body(&head) {
            return Self::serve(site, service, head, body, true);
        }
        match peek(body) {
            Err(body) => Self::serve(site, service, head, body, true),
            Ok(peek) => {
                let (site, service) = (site.clone(), service.clone());
                #[allow(clippy::async_yields_async, reason = "the future that it gives replaces the deferred one")]
                ResponseFuture::deferred(async move {
                    let (has_data, body) = peek.await;
                    Self::serve(&site, &service, head, body, has_data)
                })
            }
        }
    }

    /// Shares a flight or passes.
    #[inline]
    fn serve(
        site: &Arc<Site<Http<K>>>,
        service: &S,
        head: Request<()>,
        body: B,
        has_body: bool,
    ) -> ResponseFuture<Self> {
        match site.route(&head, has_body) {
            Route::Share(key) => Self::share(site, service, head, body, key),
            Route::Pass(reason, flight) => {
                let seal = site.seal(&head);
                let call = Self::new(service.clone(), head, body, site.clone(), flight).with_seal(seal);
                ResponseFuture::pass(call, reason, site.observer())
            }
        }
    }

    /// Joins a flight whose body streams or whose head is awaited, or leads a new one.
    #[inline]
    fn share(
        site: &Arc<Site<Http<K>>>,
        service: &S,
        head: Request<()>,
        body: B,
        key: HashedKey<K>,
    ) -> ResponseFuture<Self> {
        let flights = site.flights(Flights::<K, E::Error>::new);
        if flights.late.is_inside(&key) {
            let flight = FlightRef::Hash(key.address.hash);
            let call = Self::new(service.clone(), head, body, site.clone(), flight);
            return ResponseFuture::pass(call, PassReason::Reentrant, site.observer());
        }
        if let Some(response) = site.join_late(&flights.late, &key, &head) {
            return ResponseFuture::ready(Ok(response), site.observer());
        }
        let call = Self::new(service.clone(), head, body, site.clone(), FlightRef::Flight(key));
        call.enter(site, &flights, None)
    }
}
