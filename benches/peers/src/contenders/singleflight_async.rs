//! `singleflight-async`, in an `Arc`: it is no `Clone`, though its futures do not borrow it.

use crate::contender::Contender;
use crate::work::{Answered, Work};
use singleflight_async::SingleFlight;
use std::sync::Arc;

#[derive(Clone)]
pub(crate) struct SingleflightAsync<W> {
    group: Arc<SingleFlight<u64, Answered>>,
    work: W,
}

impl<W: Work> Contender<W> for SingleflightAsync<W> {
    const NAME: &'static str = "singleflight-async";
    type Answer = Answered;

    fn new(work: W) -> Self {
        Self { group: Arc::new(SingleFlight::new()), work }
    }

    fn call(&mut self, key: u64) -> impl Future<Output = Self::Answer> + Send {
        let work = self.work.clone();
        self.group.work(key, move || work.start(key))
    }

    fn once(self, key: u64) -> impl Future<Output = Self::Answer> + Send + 'static {
        self.group.work(key, move || self.work.start(key))
    }
}
