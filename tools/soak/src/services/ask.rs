//! A request, and the inner service that answers it.

use crate::{
    answer::{Answer, Failure},
    facts::Facts,
    injected::Trap,
    key::Key,
    work::Work,
    world::World,
};
use fastrand::Rng;
use futures_util::{FutureExt, future::BoxFuture};
use std::{
    error::Error,
    fmt,
    sync::Arc,
    task::{Context, Poll},
};
use tower::Service;

pub(crate) struct Ask {
    facts: Arc<Facts>,
    work: Work,
    alone: bool,
    extract: Trap,
    filter: Trap,
    panics_in_call: bool,
}

impl Ask {
    pub(crate) fn new(facts: &Arc<Facts>, mut work: Work, alone: bool) -> Self {
        let mut one_in = |many: u16| work.rng.u16(..many) == 0;
        let (extract, filter, panics_in_call) =
            (Trap::set(one_in(400)), Trap::set(one_in(400)), one_in(100));
        Self { facts: facts.clone(), work, alone, extract, filter, panics_in_call }
    }

    pub(crate) fn key(&self, world: &World) -> Key {
        self.extract.spring("in the extractor");
        Key::of(world, &self.facts, &mut Rng::with_seed(self.facts.id))
    }

    pub(crate) fn may_share(&self) -> bool {
        self.filter.spring("in the filter");
        !self.alone
    }
}

/// Its own errors are `Clone`.
#[derive(Clone)]
pub(crate) struct Inner;

impl Service<Ask> for Inner {
    type Response = Answer;
    type Error = Failure;
    type Future = BoxFuture<'static, Result<Answer, Failure>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, ask: Ask) -> Self::Future {
        let Ask { mut work, panics_in_call, .. } = ask;
        work.begin();
        if panics_in_call {
            work.panic();
        }
        async move {
            work.dawdle().await;
            work.end()
        }
        .boxed()
    }
}

/// An error that is not `Clone`.
#[derive(Debug)]
pub(crate) struct Rough(pub(crate) Failure);

impl fmt::Display for Rough {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for Rough {}
