//! A body as it comes from a socket: some frames at a time.

use bytes::Bytes;
use http_body::{Body, Frame};
use std::{
    convert::Infallible,
    ops::Range,
    pin::Pin,
    task::{Context, Poll},
};

/// Of a body, and of its frames.
#[derive(Clone, Copy)]
pub(super) struct Size {
    pub(super) bytes: usize,
    pub(super) frame: usize,
}

/// How many frames there are before the next has to be waited for.
pub(super) const BURST: usize = 4;

pub(super) struct Stream {
    left: usize,
    burst: usize,
    frame: Bytes,
}

impl Stream {
    /// Its length is not announced: it is over the limit up to which bodies are shared that
    /// announce it.
    pub(super) fn of(size: Size) -> Self {
        let (buffer, frame) = buffer(7, size.frame);
        Self { left: size.bytes, burst: BURST, frame: Bytes::from(buffer).slice(frame) }
    }
}

/// A buffer, and where a frame at the start of a page is in it.
///
/// Copying from one such frame to another takes one time. Where an allocator puts them matters: on
/// some processors a copy whose ends are a few bytes apart, modulo a page, takes twenty times as
/// long.
pub(super) fn buffer(byte: u8, length: usize) -> (Vec<u8>, Range<usize>) {
    const PAGE: usize = 4096;
    let buffer = vec![byte; length + PAGE];
    let at = buffer.as_ptr().align_offset(PAGE);
    (buffer, at..at + length)
}

impl Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        if self.burst == 0 {
            self.burst = BURST;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.burst -= 1;
        self.left -= self.frame.len();
        Poll::Ready(Some(Ok(Frame::data(self.frame.clone()))))
    }
}
