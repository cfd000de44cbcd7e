//! Work that waits for a timer, as for a quick upstream, and reads what came.

use super::backend::{Answered, Work};
use pin_project_lite::pin_project;
use std::{
    hash::{DefaultHasher, Hasher},
    hint::black_box,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::{Sleep, sleep};

#[derive(Clone, Copy)]
pub(crate) struct Nap {
    pub(crate) time: Duration,
    /// How many bytes are hashed in the end: some work for the CPU.
    pub(crate) reads: usize,
}

const RESPONSE: &[u8] = &[7; 64 * 1024];

pin_project! {
    pub(crate) struct Napping {
        #[pin]
        sleep: Sleep,
        reads: usize,
        key: u64,
    }
}

impl Work for Nap {
    type Future = Napping;

    fn start(&self, key: u64) -> Napping {
        Napping { sleep: sleep(self.time), reads: self.reads, key }
    }
}

impl Future for Napping {
    type Output = Answered;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answered> {
        let this = self.project();
        ready!(this.sleep.poll(cx));
        if *this.reads > 0 {
            let mut hasher = DefaultHasher::new();
            hasher.write(black_box(&RESPONSE[..*this.reads]));
            black_box(hasher.finish());
        }
        Poll::Ready(Ok(*this.key))
    }
}
