//! Which flights are being polled around the running code, by number. So a flight never waits for
//! itself.

use crate::sync::thread_local;
use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    num::NonZeroU64,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

thread_local! {
    /// The flight that this thread is polling; the innermost of them, if one polls another.
    #[allow(clippy::missing_const_for_thread_local, reason = "loom's macro knows no `const`")]
    static INNERMOST: Cell<Option<FlightNumber>> = Cell::new(None);
    /// The flights around the innermost one: its ancestors, and the flights that poll it.
    #[allow(clippy::missing_const_for_thread_local, reason = "loom's macro knows no `const`")]
    static AROUND: RefCell<Ancestors> = RefCell::new(Ancestors::default());
}

/// Identifies a flight, or a body that streams, in this process. No number is used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FlightNumber(NonZeroU64);

static NEXT: AtomicU64 = AtomicU64::new(1);

impl FlightNumber {
    /// A number for a body that streams.
    #[allow(dead_code, reason = "only HTTP has bodies")]
    pub(crate) fn new() -> Self {
        Numbers::with(1).take()
    }
}

/// Numbers in stock, so that few of them are taken from the counter that all threads share.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    next: u64,
    end: u64,
}

impl Numbers {
    const STOCK: u64 = 1 << 12;

    fn with(stock: u64) -> Self {
        let next = NEXT.fetch_add(stock, Relaxed);
        Self { next, end: next + stock }
    }

    #[inline]
    pub(crate) fn take(&mut self) -> FlightNumber {
        if self.next == self.end {
            *self = Self::with(Self::STOCK);
        }
        self.next += 1;
        FlightNumber(NonZeroU64::new(self.next - 1).expect("the counter starts at 1"))
    }
}

/// The flights inside which some code runs, or a flight was led: they would wait for it, directly
/// or through others.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ancestors(Option<Arc<[FlightNumber]>>);

impl Ancestors {
    /// Of the code that runs now.
    #[inline]
    pub(crate) fn here() -> Self {
        match innermost() {
            None => Self(None),
            Some(number) => Self::inside(number),
        }
    }

    #[cold]
    fn inside(number: FlightNumber) -> Self {
        let parents = add_parent(number);
        Self::around_all().of_which_live(&parents).with(number)
    }

    /// The flights around the innermost one, without itself.
    #[allow(dead_code, reason = "only HTTP has bodies")]
    pub(crate) fn around() -> Self {
        Self::around_all().of_which_live(&parents())
    }

    /// Adds those of the code that runs now.
    #[allow(dead_code, reason = "only a fleet has them")]
    pub(crate) fn add_here(&mut self) {
        let live = std::mem::take(self).of_which_live(&parents());
        *self = Self::here().and(&live);
    }

    fn around_all() -> Self {
        AROUND.try_with(|around| around.borrow().clone()).unwrap_or_default()
    }

    /// Flights that ended wait for nothing. Without this, a chain of flights that each lead the
    /// next would grow without end.
    fn of_which_live(self, parents: &BTreeSet<FlightNumber>) -> Self {
        if self.iter().all(|number| parents.contains(number)) {
            return self;
        }
        let live: Vec<_> = self.iter().copied().filter(|number| parents.contains(number)).collect();
        Self((!live.is_empty()).then(|| live.into()))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(crate) fn contains(&self, number: FlightNumber) -> bool {
        self.iter().any(|ancestor| *ancestor == number)
    }

    /// Both in one.
    pub(crate) fn and(self, others: &Self) -> Self {
        if self.is_empty() {
            return others.clone();
        }
        others.iter().fold(self, |all, number| all.with(*number))
    }

    fn with(self, number: FlightNumber) -> Self {
        if self.contains(number) {
            return self;
        }
        Self(Some(self.iter().copied().chain([number]).collect()))
    }

    fn iter(&self) -> impl Iterator<Item = &FlightNumber> {
        self.0.iter().flat_map(|all| all.iter())
    }
}

/// The flights inside which others were led, and which have not ended.
static PARENTS: Mutex<BTreeSet<FlightNumber>> = Mutex::new(BTreeSet::new());

/// How many there are, so that a flight that ends takes the lock only if there is one.
static PARENT_COUNT: AtomicUsize = AtomicUsize::new(0);

fn parents() -> std::sync::MutexGuard<'static, BTreeSet<FlightNumber>> {
    PARENTS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn add_parent(number: FlightNumber) -> std::sync::MutexGuard<'static, BTreeSet<FlightNumber>> {
    let mut parents = parents();
    parents.insert(number);
    PARENT_COUNT.store(parents.len(), Relaxed);
    parents
}

/// The flight has ended, but its work goes on until [`ended`] is called once more.
#[allow(dead_code, reason = "only a fleet's does")]
pub(crate) fn outlived(number: FlightNumber) {
    drop(add_parent(number));
}

/// The flight has ended, and is not being polled: no code runs inside it any more.
#[inline]
pub(crate) fn ended(number: FlightNumber) {
    if PARENT_COUNT.load(Relaxed) > 0 {
        remove_parent(number);
    }
}

#[cold]
fn remove_parent(number: FlightNumber) {
    let mut parents = parents();
    parents.remove(&number);
    PARENT_COUNT.store(parents.len(), Relaxed);
}

/// The innermost flight that this thread is polling.
#[inline]
pub(crate) fn innermost() -> Option<FlightNumber> {
    INNERMOST.try_with(Cell::get).ok().flatten()
}

/// Whether the running code is inside this flight, directly or through others.
pub(crate) fn is_inside(number: FlightNumber) -> bool {
    innermost()
        .is_some_and(|innermost| innermost == number || Ancestors::around_all().contains(number))
}

/// Until the guard is dropped, this thread is polling the flight.
#[inline]
pub(crate) fn enter(number: FlightNumber, ancestors: &Ancestors) -> Entering {
    let outer = innermost();
    let outer_around =
        if outer.is_some() || !ancestors.is_empty() { set_around(ancestors) } else { None };
    let _ = INNERMOST.try_with(|innermost| innermost.set(Some(number)));
    Entering { outer, outer_around }
}

#[cold]
fn set_around(ancestors: &Ancestors) -> Option<Ancestors> {
    let around = Ancestors::here().and(ancestors);
    AROUND.try_with(|known| known.replace(around)).ok()
}

/// Ends the poll of a flight when dropped.
#[must_use]
pub(crate) struct Entering {
    outer: Option<FlightNumber>,
    outer_around: Option<Ancestors>,
}

impl Drop for Entering {
    #[inline]
    fn drop(&mut self) {
        let _ = INNERMOST.try_with(|innermost| innermost.set(self.outer));
        if let Some(around) = self.outer_around.take() {
            let _ = AROUND.try_with(|known| known.replace(around));
        }
    }
}
