//! What all bodies of a group hold together.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// Counts the bytes that the logs of a group's bodies hold for readers behind. A clone counts into
/// the same budget.
#[derive(Clone, Debug)]
pub(crate) struct Budget(Arc<Account>);

#[derive(Debug)]
struct Account {
    limit: u64,
    held: AtomicU64,
}

impl Budget {
    pub(crate) fn new(limit: u64) -> Self {
        Self(Arc::new(Account { limit, held: AtomicU64::new(0) }))
    }

    pub(crate) fn limit(&self) -> u64 {
        self.0.limit
    }

    pub(crate) fn held(&self) -> u64 {
        self.0.held.load(Relaxed)
    }

    pub(crate) fn is_spent(&self) -> bool {
        self.held() >= self.limit()
    }

    pub(super) fn take(&self, bytes: u64) {
        self.0.held.fetch_add(bytes, Relaxed);
    }

    pub(super) fn give_back(&self, bytes: u64) {
        self.0.held.fetch_sub(bytes, Relaxed);
    }
}
