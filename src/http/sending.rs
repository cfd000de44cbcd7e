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
    #[project_replace = SendingOwned]
    pub(super) enum Sending<S, B, F> {
        Unsent { service: S, head: Request<()>, body: B },
        Sent { #[pin] response: F },
        // While the service is called, or after that panicked.
        Calling,
    }
}

impl<S, B, F> Sending<S, B, F> {
    /// `None`: the request is sent.
    pub(super) fn head(&self) -> Option<&Request<()>> {
        match self {
            Self::Unsent { head, .. } => Some(head),
            Self::Sent { .. } | Self::Calling => None,
        }
    }
}

impl<S: Service<Request<B>>, B> Future for Sending<S, B, S::Future> {
    type Output = Result<S::Response, S::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let SendingProj::Unsent { service, .. } = self.as_mut().project() {
            ready!(service.poll_ready(cx))?;
            let unsent = self.as_mut().project_replace(Self::Calling);
            if let SendingOwned::Unsent { mut service, head, body } = unsent {
                let response = service.call(unsplit(head, body));
                self.set(Self::Sent { response });
            }
        }
        match self.project() {
            SendingProj::Sent { response } => response.poll(cx),
            _ => panic!("a call was polled after its service panicked"),
        }
    }
}
