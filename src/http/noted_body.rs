//! A body that is noted for as long as it streams, so that a call that leads meanwhile can tell why it did not join.

use crate::observe::near_miss::Streams;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use std::{
    pin::Pin,
    task::{Context, Poll},
};

pin_project! {
    pub(super) struct NotedBody<B> {
        #[pin]
        body: B,
        streams: Option<Streams>,
    }
}

impl<B: Body> NotedBody<B> {
    /// `hash`: of the flight that the body came from, if that was one.
    pub(super) fn new(body: B, hash: Option<u64>) -> Self {
        let streams = hash.filter(|_| !body.is_end_stream()).map(Streams::note);
        Self { body, streams }
    }
}

impl<B: Body> Body for NotedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.project().body.poll_frame(cx)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}
