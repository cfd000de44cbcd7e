//! Work that is never done, and woken again and again, as by a slow upload.

use super::backend::{Answered, Work};
use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Interval, interval};

#[derive(Clone)]
pub(crate) struct Tick(pub(crate) Duration);

pub(crate) struct Ticking(Interval);

impl Work for Tick {
    type Future = Ticking;

    fn start(&self, _: u64) -> Ticking {
        Ticking(interval(self.0))
    }
}

impl Future for Ticking {
    type Output = Answered;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answered> {
        while self.0.poll_tick(cx).is_ready() {}
        Poll::Pending
    }
}
