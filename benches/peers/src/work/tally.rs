//! Work that is counted. That takes time, so it is not what is timed.

use super::backend::{Answered, Work};
use pin_project_lite::pin_project;
use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

#[derive(Clone)]
pub(crate) struct Tally<W> {
    work: W,
    started: Arc<AtomicUsize>,
}

pin_project! {
    pub(crate) struct Tallied<F> {
        #[pin]
        work: F,
        uncounted: Option<Arc<AtomicUsize>>,
    }
}

impl<W> Tally<W> {
    pub(crate) fn new(work: W) -> Self {
        Self { work, started: Arc::default() }
    }

    /// How often the work was started, that is polled: some peers want a future of each caller, and
    /// drop most of them.
    pub(crate) fn started(&self) -> usize {
        self.started.load(Relaxed)
    }
}

impl<W: Work> Work for Tally<W> {
    type Future = Tallied<W::Future>;

    fn start(&self, key: u64) -> Self::Future {
        Tallied { work: self.work.start(key), uncounted: Some(self.started.clone()) }
    }
}

impl<F: Future<Output = Answered>> Future for Tallied<F> {
    type Output = Answered;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answered> {
        let this = self.project();
        if let Some(started) = this.uncounted.take() {
            started.fetch_add(1, Relaxed);
        }
        this.work.poll(cx)
    }
}
