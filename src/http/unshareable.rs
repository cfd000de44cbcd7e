//! Remembers which keys recently had a response that followers did not get.

use crate::http::policy::HttpPolicy;
use crate::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
    now,
};
use lru::LruCache;
use std::{fmt, num::NonZeroUsize, sync::Arc, time::Duration};
use tokio::time::Instant;

/// The keys of a group whose calls pass, instead of waiting for a leader first. A clone shares
/// them.
///
/// Keys are remembered by hash. If two keys have the same hash, calls for one of them may pass
/// without need.
#[derive(Clone)]
pub(super) struct UnshareableKeys(Option<Arc<ExpiringKeys>>);

struct ExpiringKeys {
    time: Duration,
    /// The length of `ends`. While it is zero, no call takes the lock.
    count: AtomicUsize,
    ends: Mutex<LruCache<u64, Instant>>,
}

/// Thirty years. Replaces an end beyond the clock's range.
const FOR_EVER: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

impl UnshareableKeys {
    pub(super) fn new(policy: &HttpPolicy) -> Self {
        let (keys, time) = (policy.flight.unshareable_keys, policy.flight.unshareable_time);
        let keys = NonZeroUsize::new(keys).filter(|_| !time.is_zero());
        Self(keys.map(|keys| {
            // An unbounded cache allocates on demand, a bounded one at once.
            let mut ends = LruCache::unbounded();
            ends.resize(keys);
            Arc::new(ExpiringKeys { time, count: AtomicUsize::new(0), ends: Mutex::new(ends) })
        }))
    }

    /// Records whether a response to this key was for followers too.
    pub(super) fn record(&self, hash: u64, shareable: bool) {
        let Some(keys) = &self.0 else { return };
        if shareable {
            keys.remove(hash);
        } else {
            keys.insert(hash);
        }
    }

    pub(super) fn contains(&self, hash: u64) -> bool {
        self.0.as_ref().is_some_and(|keys| keys.contains(hash))
    }
}

impl ExpiringKeys {
    fn insert(&self, hash: u64) {
        let now = now();
        let end = now.checked_add(self.time).unwrap_or_else(|| now + FOR_EVER);
        let mut ends = self.ends.lock();
        // The least recently used key expires first: all keys live equally long, and only `insert`
        // reorders them.
        while ends.peek_lru().is_some_and(|(_, end)| *end <= now) {
            ends.pop_lru();
        }
        ends.put(hash, end);
        self.count.store(ends.len(), Ordering::Relaxed);
    }

    fn remove(&self, hash: u64) {
        if self.count.load(Ordering::Relaxed) > 0 {
            let mut ends = self.ends.lock();
            ends.pop(&hash);
            self.count.store(ends.len(), Ordering::Relaxed);
        }
    }

    fn contains(&self, hash: u64) -> bool {
        if self.count.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let end = self.ends.lock().peek(&hash).copied();
        let is_live = end.is_some_and(|end| now() < end);
        if end.is_some() && !is_live {
            self.remove(hash);
        }
        is_live
    }
}

impl fmt::Debug for UnshareableKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("UnshareableKeys")
            .field(&self.0.as_ref().map(|keys| keys.ends.lock().len()))
            .finish()
    }
}
