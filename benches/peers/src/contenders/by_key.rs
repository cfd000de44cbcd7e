//! This crate's layer, for any service.

use crate::contender::{BY_KEY, Contender, call_ready};
use crate::work::{Answered, Backend, Work};
use tower::{Layer, ServiceExt};
use tower_singleflight::{Singleflight, SingleflightLayer, mode::ByKey as Mode};

#[derive(Clone)]
pub(crate) struct ByKey<W>(Singleflight<Backend<W>, Mode<u64, u64>>);

impl<W: Work> Contender<W> for ByKey<W> {
    const NAME: &'static str = BY_KEY;
    type Answer = Answered;

    fn new(work: W) -> Self {
        Self(SingleflightLayer::by_key(|key: &u64| *key).layer(Backend(work)))
    }

    fn call(&mut self, key: u64) -> impl Future<Output = Self::Answer> + Send {
        call_ready(&mut self.0, key)
    }

    fn once(self, key: u64) -> impl Future<Output = Self::Answer> + Send + 'static {
        self.0.oneshot(key)
    }
}
