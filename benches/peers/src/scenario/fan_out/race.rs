//! When the first and the last of many tasks finish.

use crate::clock;
use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering::AcqRel},
    },
    time::Duration,
};
use tokio::sync::Notify;

pub(super) struct Race {
    start: OnceLock<Duration>,
    running: AtomicUsize,
    leader: OnceLock<Duration>,
    last: OnceLock<Duration>,
    over: Notify,
}

impl Race {
    pub(super) fn new(tasks: usize) -> Arc<Self> {
        Arc::new(Self {
            start: OnceLock::new(),
            running: AtomicUsize::new(tasks),
            leader: OnceLock::new(),
            last: OnceLock::new(),
            over: Notify::new(),
        })
    }

    pub(super) fn start(&self) {
        self.start.set(clock::now()).expect("it starts once");
    }

    /// The first task to call leads.
    pub(super) fn finish(&self, task: usize) {
        if task == 0 {
            self.leader.set(clock::now()).expect("a task finishes once");
        }
        if self.running.fetch_sub(1, AcqRel) == 1 {
            self.last.set(clock::now()).expect("one is the last");
            self.over.notify_one();
        }
    }

    /// The seconds until the last had its result, and until the leader had.
    pub(super) async fn result(&self) -> (f64, f64) {
        self.over.notified().await;
        let start = *self.start.get().expect("it was started");
        let until = |end: &OnceLock<Duration>| {
            (*end.get().expect("all have finished") - start).as_secs_f64()
        };
        (until(&self.last), until(&self.leader))
    }
}
