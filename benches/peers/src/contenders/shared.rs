//! What one writes without a crate: `futures_util::future::Shared` in a map under a mutex. The work
//! takes itself off the map when it is done; work that everybody left stays there.

use crate::contender::Contender;
use crate::work::{Answered, Work};
use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

type Map = Mutex<HashMap<u64, Shared<BoxFuture<'static, Answered>>>>;

#[derive(Clone)]
pub(crate) struct SharedMap<W> {
    map: Arc<Map>,
    work: W,
}

impl<W: Work> SharedMap<W> {
    fn enter(&self, key: u64) -> Shared<BoxFuture<'static, Answered>> {
        let mut map = self.map.lock().unwrap();
        let known = map.entry(key).or_insert_with(|| {
            let (map, work) = (self.map.clone(), self.work.start(key));
            let work = async move {
                let answered = work.await;
                map.lock().unwrap().remove(&key);
                answered
            };
            work.boxed().shared()
        });
        known.clone()
    }
}

impl<W: Work> Contender<W> for SharedMap<W> {
    const NAME: &'static str = "`Shared` in a map";
    type Answer = Answered;

    fn new(work: W) -> Self {
        Self { map: Arc::default(), work }
    }

    fn call(&mut self, key: u64) -> impl Future<Output = Self::Answer> + Send {
        self.enter(key)
    }

    fn once(self, key: u64) -> impl Future<Output = Self::Answer> + Send + 'static {
        self.enter(key)
    }
}
