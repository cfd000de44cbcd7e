//! The bytes that all bodies of a group hold together.

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

/// How often the bodies are asked to give way while the budget is spent, so that turning a caller
/// away costs little.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// Counts the bytes that the logs of a group's bodies hold for readers behind. A clone counts into
/// the same budget.
///
/// Invariants:
///
/// 1. A body that holds bytes is registered.
/// 2. A body that has to wait is first added to `waiting`, and then checks again whether the budget
///    is spent. The body that makes the budget sufficient again takes `waiting` after that. So no
///    wake-up is lost.
/// 3. The lock of the holders may be taken under the lock of a body, never the other way round.
///    Bodies are called under no lock.
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

/// A body that may hold bytes. It is called under no lock.
pub(super) trait Holder: Send + Sync {
    /// Goes on after the budget was spent.
    fn go_on(&self);

    /// Gives back the bytes that it need not hold: the budget is spent, and a caller is kept out or
    /// a body waits.
    fn give_way(&self);
}

/// Registers a body with its budget until this is dropped.
pub(super) struct Registration {
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

    /// True if no more than half of the budget is held after `bytes` more.
    pub(super) fn leaves_half(&self, bytes: u64) -> bool {
        self.held().saturating_add(bytes) <= self.limit() / 2
    }

    /// True if a newcomer may join. Call it under no lock.
    pub(crate) fn admits(&self) -> bool {
        if self.is_spent() {
            self.ask();
        }
        !self.is_spent()
    }

    /// Asks the bodies to give way until the budget is no longer spent. Call it under no lock.
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

    /// True if the budget was spent and no longer is. Then call `relieve`.
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

    /// Adds a body to the list of bodies to ask.
    pub(super) fn register(&self, holder: Weak<dyn Holder>) -> Registration {
        let key = self.0.holders.lock().all.insert(holder);
        Registration { budget: self.clone(), key }
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

impl Registration {
    /// Tells the budget that this body waits. Check again after this whether the budget is spent.
    pub(super) fn wait(&self) {
        self.budget.0.holders.lock().waiting.insert(self.key);
    }
}

impl Drop for Registration {
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
        f.debug_struct("Budget")
            .field("limit", &self.limit)
            .field("held", &held)
            .finish_non_exhaustive()
    }
}

/// Calls another body. A panic as that body drops its frames or its upstream must not reach the
/// caller.
fn call(holder: &Weak<dyn Holder>, what: impl FnOnce(&dyn Holder)) {
    let Some(holder) = holder.upgrade() else { return };
    // Moved in, because this may be the last reference.
    let call = move || {
        what(&*holder);
        drop(holder);
    };
    if let Err(payload) = catch_unwind(AssertUnwindSafe(call)) {
        forget_payload(payload);
    }
}
