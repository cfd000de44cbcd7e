//! `async_singleflight`: its `Group`, in an `Arc` as in its example.

use crate::contender::Contender;
use crate::work::Work;
use async_singleflight::Group;
use std::{convert::Infallible, sync::Arc};

#[derive(Clone)]
pub(crate) struct AsyncSingleflight<W> {
    group: Arc<Group<u64, u64, Infallible>>,
    work: W,
}

impl<W: Work> Contender<W> for AsyncSingleflight<W> {
    const NAME: &'static str = "async_singleflight";
    type Answer = Result<u64, Option<Infallible>>;

    fn new(work: W) -> Self {
        Self { group: Arc::new(Group::new()), work }
    }

    fn call(&mut self, key: u64) -> impl Future<Output = Self::Answer> + Send {
        let work = self.work.start(key);
        async move { self.group.work(&key, work).await }
    }
}
