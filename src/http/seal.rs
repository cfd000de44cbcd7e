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
        let mut seal = Self { scope, hash, key: Some(key) };
        let mut debris = Debris::default();
        seal.flights(&mut debris);
        if debris.holds_panic() {
            // Else its drop would do the same once more.
            debris.sweep(seal.key.take());
        }
        debris.rethrow_or(seal)
    }

    fn flights(&self, debris: &mut Debris) {
        if let Some(key) = &self.key {
            debris.run(|| self.scope.forget_key(self.hash, &|known| known == key));
        }
    }
}

impl<K: Eq> Drop for Seal<K> {
    fn drop(&mut self) {
        let mut debris = Debris::default();
        self.flights(&mut debris);
        debris.sweep(self.key.take());
        debris.rethrow();
    }
}
