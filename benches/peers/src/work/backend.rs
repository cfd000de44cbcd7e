//! The inner work, and the same as a service.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};
use tower::Service;

/// What the work answers: the key, so that an answer to another call shows.
pub(crate) type Answered = Result<u64, Infallible>;

pub(crate) trait Work: Clone + Send + Sync + 'static {
    type Future: Future<Output = Answered> + Send + 'static;

    fn start(&self, key: u64) -> Self::Future;
}

/// The work as a service.
#[derive(Clone)]
pub(crate) struct Backend<W>(pub(crate) W);

impl<W: Work> Service<u64> for Backend<W> {
    type Response = u64;
    type Error = Infallible;
    type Future = W::Future;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, key: u64) -> W::Future {
        self.0.start(key)
    }
}
