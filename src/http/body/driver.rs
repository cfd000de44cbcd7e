//! Reads a body to its end after all readers have left.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use super::{broadcast::Drive, frame::len_of, reader::Reader};

/// After this many frames at once, other tasks get their turn.
const FRAMES_AT_ONCE: usize = 32;

/// The task that reads on. To the body it is a reader. It ends when the body does, when it has read
/// more than the window, when the budget is spent, and when there are readers again.
pub(super) struct BodyDriver {
    reader: Reader,
    /// How many bytes it may still read.
    left: u64,
}

impl BodyDriver {
    pub(super) fn new(reader: Reader, window: u64) -> Self {
        Self { reader, left: window }
    }
}

impl Future for BodyDriver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..FRAMES_AT_ONCE {
            if let Drive::Leave = self.reader.drive() {
                return Poll::Ready(());
            }
            let Some(Ok(frame)) = ready!(self.reader.poll_frame(cx)) else {
                return Poll::Ready(());
            };
            match self.left.checked_sub(len_of(&frame)) {
                Some(left) => self.left = left,
                None => return Poll::Ready(()),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
