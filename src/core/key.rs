//! Where the table keeps a flight, and the key by which calls find it there.

use std::sync::Arc;

/// Where the table keeps a flight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Address {
    /// Picks the shard.
    pub(crate) shard: u64,
    /// Finds the flight in its shard.
    pub(crate) hash: u64,
    /// Finds the flights that a write to a path seals. 0 where nothing is written.
    #[allow(dead_code, reason = "only HTTP has paths")]
    pub(crate) path: u64,
}

impl Address {
    /// The address of a flight that is found by its key alone.
    pub(crate) fn of(hash: u64) -> Self {
        Self { shard: hash, hash, path: 0 }
    }
}

/// A key, which can be lent to code that must not run under the lock of the table.
pub(crate) enum Key<K> {
    /// `None`: no call looks for this flight.
    Own(Option<K>),
    Lent(Arc<K>),
}

impl<K> Key<K> {
    #[inline]
    pub(crate) fn is(&self, is_key: impl FnOnce(&K) -> bool) -> bool {
        match self {
            Self::Own(key) => key.as_ref().is_some_and(is_key),
            Self::Lent(key) => is_key(key),
        }
    }

    pub(crate) fn lend(&mut self) -> Option<Arc<K>> {
        if let Self::Own(key) = self {
            *self = Self::Lent(Arc::new(key.take()?));
        }
        match self {
            Self::Lent(key) => Some(key.clone()),
            Self::Own(_) => None,
        }
    }
}
