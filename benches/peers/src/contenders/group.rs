//! This crate's primitive.

use crate::contender::{Contender, GROUP};
use crate::work::{Answered, Work};
use tower_singleflight::Outcome;

#[derive(Clone)]
pub(crate) struct Group<W> {
    group: tower_singleflight::Group<u64, Answered>,
    work: W,
}

impl<W: Work> Contender<W> for Group<W> {
    const NAME: &'static str = GROUP;
    type Answer = Outcome<Answered>;

    fn new(work: W) -> Self {
        Self { group: tower_singleflight::Group::new(), work }
    }

    fn call(&mut self, key: u64) -> impl Future<Output = Self::Answer> + Send {
        let work = self.work.clone();
        self.group.run(key, move || work.start(key))
    }

    fn once(self, key: u64) -> impl Future<Output = Self::Answer> + Send + 'static {
        self.group.run(key, move || self.work.start(key))
    }
}
