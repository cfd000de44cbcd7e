//! A body as it comes from a socket: some frames at a time.

use bytes::Bytes;
use http_body::{Body, Frame};
use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

pub(super) const FRAME: usize = 16 * 1024;
/// How many frames there are before the next has to be waited for.
pub(super) const BURST: usize = 4;

pub(super) struct Stream {
    left: usize,
    burst: usize,
    frame: Bytes,
}

impl Stream {
    /// Its length is not announced: it is over the limit up to which bodies are shared that announce it.
    pub(super) fn of(bytes: usize) -> Self {
        Self { left: bytes, burst: BURST, frame: vec![7; FRAME].into() }
    }
}

impl Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        if self.burst == 0 {
            self.burst = BURST;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.burst -= 1;
        self.left -= FRAME;
        Poll::Ready(Some(Ok(Frame::data(self.frame.clone()))))
    }
}
