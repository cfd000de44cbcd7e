//! Serves an HTTP request with a body: reads the body, and then joins a flight, leads one, or
//! passes.

use crate::http::{
    body::SharedBody,
    call::{HttpCall, split, unsplit},
    key::FlightRef,
    request::partition::Partition,
    with_body::{
        HttpBody, RequestBody,
        read::{AnnouncedLength, ReadFuture},
    },
};
use crate::{
    error::BoxError,
    layer::{
        future::ResponseFuture,
        job_future::JobFuture,
        mode::{ErrorMode, sealed::CallMode},
        service::Singleflight,
        settings::Settings,
    },
    stats::PassReason,
};
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use std::{
    hash::Hash,
    sync::Arc,
    task::{Context, Poll},
};
use tower_service::Service;

impl<S, B, RB, K, E> Service<Request<B>> for Singleflight<S, HttpBody<K>, E>
where
    S: Service<Request<B>, Response = Response<RB>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: RequestBody,
    RB: Body + Send + 'static,
    RB::Error: Into<BoxError>,
    K: Hash + Eq + Send + Sync + 'static,
    E: ErrorMode<S::Error>,
{
    type Response = Response<SharedBody>;
    type Error = E::Error;
    type Future = ResponseFuture<S, Request<B>, HttpBody<K>, E>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (head, body) = split(request);
        ResponseFuture::new(HttpCall::read_then_serve(&self.settings, self.get_ref(), head, body))
    }
}

impl<S, B, RB, K, E> HttpCall<S, B, HttpBody<K>, E, S::Future>
where
    S: Service<Request<B>, Response = Response<RB>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: RequestBody,
    RB: Body + Send + 'static,
    RB::Error: Into<BoxError>,
    K: Hash + Eq + Send + Sync + 'static,
    E: ErrorMode<S::Error>,
{
    /// Reads the body, if the request may share at all.
    fn read_then_serve(
        settings: &Arc<Settings<HttpBody<K>>>,
        service: &S,
        head: Request<()>,
        body: B,
    ) -> JobFuture<Box<Self>> {
        let (partition, announced) = match settings.admit(&head, &body) {
            Ok(admitted) => admitted,
            Err(reason) => return Self::pass_unread(settings, service, head, body, reason),
        };
        if body.is_end_stream() {
            let data = announced.admits(0).then(Bytes::new);
            return Self::serve(settings, service, head, partition, data, body);
        }
        let read = ReadFuture::new(body, settings.mode.limit());
        let (settings, service) = (settings.clone(), service.clone());
        JobFuture::boxed(async move {
            let read = read.await;
            let data = read.data().filter(|data| announced.admits(data.len()));
            Self::serve(&settings, &service, head, partition, data, B::from_read(read)).await
        })
    }

    /// Shares a flight or passes. `data` is the whole body. `None`: it is too long, was cut short,
    /// or has trailers.
    fn serve(
        settings: &Arc<Settings<HttpBody<K>>>,
        service: &S,
        head: Request<()>,
        partition: Partition,
        data: Option<Bytes>,
        body: B,
    ) -> JobFuture<Box<Self>> {
        if !settings.is_enabled() {
            return Self::pass_unread(settings, service, head, body, PassReason::Disabled);
        }
        let Some(data) = data else {
            return Self::pass_unread(settings, service, head, body, PassReason::Body);
        };
        let request = unsplit(head, data);
        let key = settings.mode.key(&request);
        let (head, _) = split(request);
        let Some(key) = key else {
            return Self::pass_unread(settings, service, head, body, PassReason::NoKey);
        };
        let key = settings.hashed_key(key, &head, partition);
        let call = Self::new(service.clone(), settings.clone(), head, body);
        match settings.reason_not_to_share(key.address.hash) {
            None => call.share(settings, key),
            // A request with a key is a read, and seals nothing.
            Some((reason, flight)) => call.pass_alone(settings, reason, flight, None),
        }
    }

    /// Passes a request without a key. If its method is unsafe, it is a write.
    fn pass_unread(
        settings: &Arc<Settings<HttpBody<K>>>,
        service: &S,
        head: Request<()>,
        body: B,
        reason: PassReason,
    ) -> JobFuture<Box<Self>> {
        let seal = settings.seal_path(&head);
        Self::new(service.clone(), settings.clone(), head, body).pass_alone(
            settings,
            reason,
            FlightRef::Untracked,
            seal,
        )
    }
}

impl<K: Hash + Eq + Send + Sync + 'static> Settings<HttpBody<K>> {
    /// Decides by its head whether a request may share. Reads nothing. `Err`: it passes.
    fn admit(
        &self,
        head: &Request<()>,
        body: &impl Body,
    ) -> Result<(Partition, AnnouncedLength), PassReason> {
        if let Some(reason) = self.reason_to_pass(head) {
            return Err(reason);
        }
        let partition = self.http().policy.admit(head, false)?;
        let announced = AnnouncedLength::of(head.headers(), body).map_err(|_| PassReason::Body)?;
        if announced.at_least > self.mode.limit() as u64 {
            return Err(PassReason::Body);
        }
        Ok((partition, announced))
    }

    /// Returns why a request with a key passes all the same.
    fn reason_not_to_share(&self, hash: u64) -> Option<(PassReason, FlightRef<K>)> {
        if !self.http().bodies.budget.admits() {
            Some((PassReason::BodyBudget, FlightRef::Untracked))
        } else if self.http().unshareable.contains(hash) {
            Some((PassReason::Unshareable, FlightRef::Hash(hash)))
        } else {
            None
        }
    }
}

impl<S, B, RB, K, E> CallMode<S, Request<B>, E> for HttpBody<K>
where
    S: Service<Request<B>, Response = Response<RB>> + Send + 'static,
    S::Future: Send + 'static,
    B: Send + 'static,
    RB: Body + Send + 'static,
    RB::Error: Into<BoxError>,
    K: Hash + Eq + Send + Sync + 'static,
    E: ErrorMode<S::Error>,
{
    type Call = Box<HttpCall<S, B, Self, E, S::Future>>;
}
