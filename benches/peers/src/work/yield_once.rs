//! Work that is done when polled for the second time.

use super::backend::{Answered, Work};
use std::{
    pin::Pin,
    task::{Context, Poll},
};

#[derive(Clone)]
pub(crate) struct YieldOnce;

pub(crate) struct Yielding {
    key: u64,
    yielded: bool,
}

impl Work for YieldOnce {
    type Future = Yielding;

    fn start(&self, key: u64) -> Yielding {
        Yielding { key, yielded: false }
    }
}

impl Future for Yielding {
    type Output = Answered;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answered> {
        if self.yielded {
            return Poll::Ready(Ok(self.key));
        }
        self.yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
