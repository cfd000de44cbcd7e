//! The body that a gateway sends, and the news of it for the story of its call.

use crate::calls::Calls;
use http::{HeaderMap, HeaderName};
use http_body::{Body, Frame, SizeHint};
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tower_singleflight::SharedBody;

/// In a request: which call it is of.
pub(super) const CALL: HeaderName = HeaderName::from_static("x-call");

pub(super) struct Watched {
    body: SharedBody,
    calls: Arc<Calls>,
    call: u64,
    given: usize,
}

pub(super) fn call_in(headers: &HeaderMap) -> u64 {
    let call = headers.get(CALL).and_then(|call| call.to_str().ok()?.parse().ok());
    call.expect("every request says so")
}

impl Watched {
    pub(super) fn new(body: SharedBody, calls: &Arc<Calls>, call: u64) -> Self {
        let watched = Self { body, calls: calls.clone(), call, given: 0 };
        watched.tell("has the head, and nobody asked for the body yet");
        watched
    }

    fn tell(&self, what: &str) {
        self.calls.tell(self.call, "the gateway", format!("{what}, {} bytes in", self.given));
    }
}

impl Body for Watched {
    type Data = <SharedBody as Body>::Data;
    type Error = <SharedBody as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
            self.tell("waits for a frame");
            return Poll::Pending;
        };
        match &frame {
            Some(Ok(frame)) => {
                self.given += frame.data_ref().map_or(0, |data| data.len());
                self.tell("gave a frame, and is not asked for more");
            }
            Some(Err(_)) => self.tell("told of an error"),
            None => self.tell("is at the end"),
        }
        Poll::Ready(frame)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.tell("let the body go");
    }
}
