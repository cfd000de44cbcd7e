//! Sends a request once its service is ready, and awaits the response.

use crate::http::call::unsplit;
use http::Request;
use pin_project_lite::pin_project;
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};
use tower_service::Service;

pin_project! {
    /// As tower's `Oneshot`, but the head can be read until the request is sent.
    #[project = SendingProj]
    pub(super) enum Sending<S, B, F> {
        Unsent {
            service: S,
            // `None` while the service is called, and after that panicked. The service stays in
            // its place, so that a panic of its `Drop` comes later.
            request: Option<(Request<()>, B)>,
        },
        Sent { #[pin] response: F },
    }
}

impl<S, B, F> Sending<S, B, F> {
    #[inline]
    pub(super) fn new(service: S, head: Request<()>, body: B) -> Self {
        Self::Unsent { service, request: Some((head, body)) }
    }

    /// `None`: the request is sent.
    pub(super) fn head(&self) -> Option<&Request<()>> {
        match self {
            Self::Unsent { request, .. } => request.as_ref().map(|(head, _)| head),
            Self::Sent { .. } => None,
        }
    }
}

impl<S: Service<Request<B>>, B> Future for Sending<S, B, S::Future> {
    type Output = Result<S::Response, S::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let SendingProj::Unsent { service, request } = self.as_mut().project() {
            ready!(service.poll_ready(cx))?;
            let (head, body) = request.take().expect("it is not polled after its service panicked");
            let response = service.call(unsplit(head, body));
            self.set(Self::Sent { response });
        }
        match self.project() {
            SendingProj::Sent { response } => response.poll(cx),
            SendingProj::Unsent { .. } => unreachable!("it was sent"),
        }
    }
}
