//! Which keys had a response that was not for followers, a short while ago.

use crate::http::policy::HttpPolicy;
use crate::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
    now,
};
use lru::LruCache;
use std::{fmt, num::NonZeroUsize, sync::Arc, time::Duration};
use tokio::time::Instant;

/// Requests for a key that it remembers need not wait for a leader first. It knows keys by their hash: two that have
/// one hash only pass without need.
#[derive(Clone)]
pub(super) struct UnshareableKeys(Option<Arc<ExpiringKeys>>);

struct ExpiringKeys {
    time: Duration,
    /// How many there are, so that nobody takes the lock as long as there is none.
    count: AtomicUsize,
    until: Mutex<LruCache<u64, Instant>>,
}

/// Thirty years: no clock is asked for a time beyond its end.
const FOR_EVER: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

impl UnshareableKeys {
    pub(super) fn new(policy: &HttpPolicy) -> Self {
        let (keys, time) = (policy.flight.unshareable_keys, policy.flight.unshareable_time);
        let keys = NonZeroUsize::new(keys).filter(|_| !time.is_zero());
        Self(keys.map(|keys| {
            // Room is made when it is needed.
            let mut until = LruCache::unbounded();
            until.resize(keys);
            Arc::new(ExpiringKeys { time, count: AtomicUsize::new(0), until: Mutex::new(until) })
        }))
    }

    /// A response to this key was for followers too, or it was not.
    pub(super) fn record(&self, hash: u64, shareable: bool) {
        let Some(memory) = &self.0 else { return };
        if shareable {
            memory.forget(hash);
        } else {
            memory.remember(hash);
        }
    }

    pub(super) fn contains(&self, hash: u64) -> bool {
        self.0.as_ref().is_some_and(|memory| memory.contains(hash))
    }
}

impl ExpiringKeys {
    fn remember(&self, hash: u64) {
        let now = now();
        let end = now.checked_add(self.time).unwrap_or_else(|| now + FOR_EVER);
        let mut until = self.until.lock();
        // In the order of their ends: all have the same time, and nobody moves them but this.
        while until.peek_lru().is_some_and(|(_, end)| *end <= now) {
            until.pop_lru();
        }
        until.put(hash, end);
        self.count.store(until.len(), Ordering::Relaxed);
    }

    fn forget(&self, hash: u64) {
        if self.count.load(Ordering::Relaxed) > 0 {
            let mut until = self.until.lock();
            until.pop(&hash);
            self.count.store(until.len(), Ordering::Relaxed);
        }
    }

    fn contains(&self, hash: u64) -> bool {
        if self.count.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let end = self.until.lock().peek(&hash).copied();
        let contains = end.is_some_and(|end| now() < end);
        if end.is_some() && !contains {
            self.forget(hash);
        }
        contains
    }
}

impl fmt::Debug for UnshareableKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("UnshareableKeys").field(&self.0.as_ref().map(|memory| memory.until.lock().len())).finish()
    }
}
