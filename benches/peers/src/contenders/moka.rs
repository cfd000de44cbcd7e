//! `moka`'s `future::Cache::get_with`. It is a cache, so its capacity is zero: each call is a miss
//! then, and nothing is kept, which costs it less than a fresh key for each call, or an
//! `invalidate` after each.

use crate::contender::Contender;
use crate::work::{Answered, Work};
use moka::future::Cache;

#[derive(Clone)]
pub(crate) struct Moka<W> {
    cache: Cache<u64, Answered>,
    work: W,
}

impl<W: Work> Contender<W> for Moka<W> {
    const NAME: &'static str = "moka";
    type Answer = Answered;

    fn new(work: W) -> Self {
        Self { cache: Cache::new(0), work }
    }

    fn call(&mut self, key: u64) -> impl Future<Output = Self::Answer> + Send {
        let work = self.work.start(key);
        self.cache.get_with(key, work)
    }
}
