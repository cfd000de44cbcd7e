//! What all bodies of a group hold together.

use std::{
    collections::BTreeSet,
    fmt, mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Weak},
    time::Duration,
};

use slab::Slab;
use tokio::time::Instant;

use crate::{
    panics::forget_payload,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
        now,
    },
};

/// While the budget is spent, so that it costs next to nothing to be turned away.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// Counts the bytes that the logs of a group's bodies hold for readers behind. A clone counts into
/// the same budget.
///
/// 1. A body that holds bytes is listed.
/// 2. A body that waits is noted as waiting before it looks once more whether the budget is spent,
///    and whoever ends that takes the notes after it: so no wake-up is lost.
/// 3. The lock of this may be taken under that of a body, never the other way round: bodies are
///    called under no lock.
#[derive(Clone, Debug)]
pub(crate) struct Budget(Arc<Account>);

struct Account {
    limit: u64,
    held: AtomicU64,
    holders: Mutex<Holders>,
}

#[derive(Default)]
struct Holders {
    all: Slab<Weak<dyn Holder>>,
    waiting: BTreeSet<usize>,
    asked: Option<Instant>,
}

/// A body that holds bytes. Called under no lock.
pub(super) trait Holder: Send + Sync {
    /// The budget was spent, and is no more.
    fn go_on(&self);

    /// The budget is spent, and somebody is kept out or waiting: gives back what it need not hold.
    fn give_way(&self);
}

/// A body is listed until this is dropped.
pub(super) struct Listing {
    budget: Budget,
    key: usize,
}

impl Budget {
    pub(crate) fn new(limit: u64) -> Self {
        Self(Arc::new(Account { limit, held: AtomicU64::new(0), holders: Mutex::default() }))
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

    /// Whether somebody new may join. Call it under no lock.
    pub(crate) fn admits(&self) -> bool {
        if self.is_spent() {
            self.ask();
        }
        !self.is_spent()
    }

    /// Asks the bodies to give way until the budget is spent no more. Call it under no lock.
    pub(super) fn ask(&self) {
        for holder in self.to_be_asked() {
            if !self.is_spent() {
                break;
            }
            call(&holder, |body| body.give_way());
        }
    }

    pub(super) fn take(&self, bytes: u64) {
        self.0.held.fetch_add(bytes, Relaxed);
    }

    /// Whether the budget was spent and is no more: then call `relieve`.
    #[must_use]
    pub(super) fn give_back(&self, bytes: u64) -> bool {
        let held = self.0.held.fetch_sub(bytes, Relaxed);
        held >= self.limit() && held - bytes < self.limit()
    }

    /// Lets the bodies that wait go on. Call it under no lock.
    pub(super) fn relieve(&self) {
        let waiting = self.0.holders.lock().take_waiting();
        for holder in waiting {
            call(&holder, |body| body.go_on());
        }
    }

    pub(super) fn list(&self, holder: Weak<dyn Holder>) -> Listing {
        let key = self.0.holders.lock().all.insert(holder);
        Listing { budget: self.clone(), key }
    }

    fn to_be_asked(&self) -> Vec<Weak<dyn Holder>> {
        let now = now();
        let mut holders = self.0.holders.lock();
        if holders.asked.is_some_and(|asked| now.duration_since(asked) < ASK_EVERY) {
            return Vec::new();
        }
        holders.asked = Some(now);
        holders.all.iter().map(|(_, holder)| holder.clone()).collect()
    }
}

impl Holders {
    fn take_waiting(&mut self) -> Vec<Weak<dyn Holder>> {
        let waiting = mem::take(&mut self.waiting);
        waiting.into_iter().map(|key| self.all[key].clone()).collect()
    }
}

impl Listing {
    /// The body waits until the budget is spent no more, if it still is when this returns.
    pub(super) fn wait(&self) {
        self.budget.0.holders.lock().waiting.insert(self.key);
    }
}

impl Drop for Listing {
    fn drop(&mut self) {
        let mut holders = self.budget.0.holders.lock();
        holders.waiting.remove(&self.key);
        let holder = holders.all.remove(self.key);
        drop(holders);
        drop(holder);
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = self.held.load(Relaxed);
        f.debug_struct("Budget").field("limit", &self.limit).field("held", &held).finish_non_exhaustive()
    }
}

/// Whoever calls has another body: it is not to be hurt by the drop of what this one held.
fn call(holder: &Weak<dyn Holder>, what: impl FnOnce(&dyn Holder)) {
    let Some(holder) = holder.upgrade() else { return };
    // Moved in, because this may be the last to hold it.
    let call = move || {
        what(&*holder);
        drop(holder);
    };
    if let Err(payload) = catch_unwind(AssertUnwindSafe(call)) {
        forget_payload(payload);
    }
}
