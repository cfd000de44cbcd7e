//! What a write does to the flights of its key.

use crate::{panics::Debris, scope::Scope};
use std::sync::Arc;

/// A read that comes after a write must not get an answer from before it (RFC 9111 §4.4). A write takes effect at some
/// time between its start and its answer, so the flights of its key are sealed at the start, and again when this is
/// dropped: when it is answered, fails or is cancelled.
pub(super) struct Seal<K: Eq> {
    scope: Arc<Scope<K>>,
    hash: u64,
    /// Until it is dropped.
    key: Option<K>,
}

impl<K: Eq> Seal<K> {
    pub(super) fn new(scope: Arc<Scope<K>>, hash: u64, key: K) -> Self {
        // Before there is a seal that would do the same once more should this panic.
        seal(&scope, hash, &key);
        Self { scope, hash, key: Some(key) }
    }
}

fn seal<K: Eq>(scope: &Scope<K>, hash: u64, key: &K) {
    scope.forget_key(hash, &|known| known == key);
}

impl<K: Eq> Drop for Seal<K> {
    fn drop(&mut self) {
        let (mut debris, key) = (Debris::default(), self.key.take());
        if let Some(key) = &key {
            debris.run(|| seal(&self.scope, self.hash, key));
        }
        debris.sweep(key);
        debris.rethrow();
    }
}
