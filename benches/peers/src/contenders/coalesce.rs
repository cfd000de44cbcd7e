//! `tower-resilience-coalesce`, as a service.

use crate::contender::{COALESCE, Contender, call_ready};
use crate::work::{Backend, Work};
use std::convert::Infallible;
use tower::{Layer, ServiceExt};
use tower_resilience_coalesce::{CoalesceError, CoalesceLayer, CoalesceService};

type Key = fn(&u64) -> u64;

#[derive(Clone)]
pub(crate) struct Coalesce<W: Work>(CoalesceService<Backend<W>, u64, u64, Key>);

impl<W: Work> Contender<W> for Coalesce<W> {
    const NAME: &'static str = COALESCE;
    type Answer = Result<u64, CoalesceError<Infallible>>;

    fn new(work: W) -> Self {
        let key: Key = |key| *key;
        Self(CoalesceLayer::new(key).layer(Backend(work)))
    }

    fn call(&mut self, key: u64) -> impl Future<Output = Self::Answer> + Send {
        call_ready(&mut self.0, key)
    }

    fn once(self, key: u64) -> impl Future<Output = Self::Answer> + Send + 'static {
        self.0.oneshot(key)
    }
}
