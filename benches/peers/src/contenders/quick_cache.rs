//! `quick_cache`'s `sync::Cache::get_or_insert_async`, in an `Arc`: it is no `Clone`. It is a
//! cache, so its capacity is zero: each call is a miss then, and nothing is kept, which costs it
//! less than a fresh key for each call, or a `remove` after each.

use crate::contender::Contender;
use crate::work::{Answered, Work};
use quick_cache::sync::Cache;
use std::sync::Arc;

#[derive(Clone)]
pub(crate) struct QuickCache<W> {
    cache: Arc<Cache<u64, u64>>,
    work: W,
}

impl<W: Work> Contender<W> for QuickCache<W> {
    const NAME: &'static str = "quick_cache";
    type Answer = Answered;

    fn new(work: W) -> Self {
        Self { cache: Arc::new(Cache::new(0)), work }
    }

    fn call(&mut self, key: u64) -> impl Future<Output = Self::Answer> + Send {
        let work = self.work.start(key);
        async move { self.cache.get_or_insert_async(&key, work).await }
    }
}
