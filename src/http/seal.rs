//! What a write does to the flights of its key.

use crate::scope::Scope;
use std::sync::Arc;

/// A read that comes after a write must not get an answer from before it (RFC 9111 §4.4). A write takes effect at some
/// time between its start and its answer, so the flights of its key are sealed at the start, and again when this is
/// dropped: when it is answered, fails or is cancelled.
pub(super) struct Seal<K: Eq> {
    scope: Arc<Scope<K>>,
    hash: u64,
    key: K,
}

impl<K: Eq> Seal<K> {
    pub(super) fn new(scope: Arc<Scope<K>>, hash: u64, key: K) -> Self {
        let seal = Self { scope, hash, key };
        seal.flights();
        seal
    }

    fn flights(&self) {
        self.scope.forget_key(self.hash, &|known| *known == self.key);
    }
}

impl<K: Eq> Drop for Seal<K> {
    fn drop(&mut self) {
        self.flights();
    }
}
