//! Seals flights when a write happens, so that no later read gets an answer from before the write.

use crate::http::{layer::Http, path::path_hash};
use crate::{layer::settings::Settings, layer::tables::GroupTables, panics::CaughtPanic};
use http::Request;
use std::{hash::Hash, sync::Arc};

/// Seals the flights of a key and of a path, when it is made and again when it is dropped.
///
/// A read that comes after a write must not get an answer from before it (RFC 9111 §4.4). A write takes effect at some
/// time between its start and its answer. This is dropped when the write is answered, fails or is cancelled.
pub(super) struct Seal<K: Eq> {
    group: Arc<GroupTables<K>>,
    hash: u64,
    /// `None` once nothing is left to seal.
    key: Option<K>,
    path: u64,
}

/// Seals all flights when it is dropped. For a write whose key is not known.
pub(super) struct SealAll<K>(Arc<GroupTables<K>>);

impl<K: Eq> Seal<K> {
    fn new(group: Arc<GroupTables<K>>, hash: u64, key: K, path: u64) -> Self {
        let mut seal = Self { group, hash, key: Some(key), path };
        let mut caught = CaughtPanic::default();
        seal.seal_flights(&mut caught);
        if caught.is_some() {
            // Without its key, the drop does not panic a second time.
            caught.drop_caught(seal.key.take());
        }
        caught.or_resume(seal)
    }

    fn seal_flights(&self, caught: &mut CaughtPanic) {
        if let Some(key) = &self.key {
            caught.run(|| self.group.for_each(|table| table.seal(self.hash, &|other| other == key, self.path)));
        }
    }
}

impl<K: Hash + Eq + Send + Sync + 'static> Settings<Http<K>> {
    /// Seals the flights of a write's key and path, now and when the returned value is dropped. `None`: not a write.
    ///
    /// While the layer is disabled no flight can be joined, and the key closure is not called. All flights are sealed at
    /// the end, because the layer may have been enabled before the write is answered.
    pub(super) fn seal(&self, head: &Request<()>) -> Option<Box<dyn Send>> {
        if !self.mode.policy.is_write(head.method()) {
            return None;
        }
        if !self.is_enabled() {
            return Some(Box::new(SealAll(self.mode.keys.group.clone())));
        }
        let key = self.mode.keys.key(head);
        let hash = self.mode.keys.layer.address(&key).hash;
        Some(Box::new(Seal::new(self.mode.keys.group.clone(), hash, key, path_hash(head))))
    }
}

impl<K: Eq> Drop for Seal<K> {
    fn drop(&mut self) {
        let mut caught = CaughtPanic::default();
        self.seal_flights(&mut caught);
        caught.drop_caught(self.key.take());
        caught.resume();
    }
}

impl<K> Drop for SealAll<K> {
    fn drop(&mut self) {
        self.0.for_each(|table| table.forget_if(&mut |_| true));
    }
}
