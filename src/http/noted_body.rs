//! A body with a near-miss note: while it streams, a call that leads can tell why it did not join.

use crate::observe::near_miss::Streams;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use std::{
    pin::Pin,
    task::{Context, Poll},
};

pin_project! {
    /// Erases the note when it is dropped.
    pub(super) struct NotedBody<B> {
        #[pin]
        body: B,
        note: Option<Streams>,
    }
}

impl<B: Body> NotedBody<B> {
    /// `hash` is the flight's. A body without a flight, or without a frame left, gets no note.
    pub(super) fn new(body: B, hash: Option<u64>) -> Self {
        let note = hash.filter(|_| !body.is_end_stream()).map(Streams::note);
        Self { body, note }
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
