//! The counters behind `Stats`.

use crate::{
    stats::{NearMiss, PassReason, Stats, VetoReason},
    sync::cores,
};
use std::{
    array, fmt,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// A counter.
#[derive(Clone, Copy)]
pub(super) enum Count {
    /// Calls that opened a flight.
    Led,
    /// Calls that joined a flight and waited.
    Seated,
    /// Calls that joined a flight after it landed.
    Late,
    /// Flights that are over.
    Closed,
    /// Calls that led or joined, and no longer wait.
    Released,
    Cancelled,
    Panicked,
    Lost,
    /// Results that went to the leader only, while the followers made one more call together.
    WentOn,
    TimedOut,
    NearMiss(NearMiss),
    Passed(PassReason),
    Vetoed(VetoReason),
}

impl Count {
    const NEAR_MISSES: usize = 10;
    const PASSED: usize = Self::NEAR_MISSES + NearMiss::ALL.len();
    const VETOED: usize = Self::PASSED + PassReason::ALL.len();
    const KINDS: usize = Self::VETOED + VetoReason::ALL.len();

    fn index(self) -> usize {
        match self {
            Self::Led => 0,
            Self::Seated => 1,
            Self::Late => 2,
            Self::Closed => 3,
            Self::Released => 4,
            Self::Cancelled => 5,
            Self::Panicked => 6,
            Self::Lost => 7,
            Self::WentOn => 8,
            Self::TimedOut => 9,
            Self::NearMiss(reason) => Self::NEAR_MISSES + reason as usize,
            Self::Passed(reason) => Self::PASSED + reason as usize,
            Self::Vetoed(reason) => Self::VETOED + reason as usize,
        }
    }
}

/// The counters of one observer.
///
/// Each thread counts in a stripe of its own, so that threads do not wait for each other's cache
/// lines. Arrivals and departures have separate counters, and a gauge is their difference, so that
/// a call counts as little as possible.
#[derive(Default)]
pub(super) struct Counters(OnceLock<Box<[Stripe]>>);

/// The counters of one thread, on cache lines of their own.
#[repr(align(128))]
struct Stripe([AtomicU64; Count::KINDS]);

impl Counters {
    /// Makes the stripes now, so that the first call does not have to.
    pub(super) fn ready() -> Self {
        let counters = Self::default();
        counters.stripes();
        counters
    }

    #[inline]
    pub(super) fn count(&self, what: Count, n: usize) {
        self.count_all([(what, n)]);
    }

    /// Adds to several counters, and looks up the stripe once.
    #[inline(always)]
    pub(super) fn count_all<const N: usize>(&self, all: [(Count, usize); N]) {
        let (stripes, thread) = (self.stripes(), number_of_this_thread());
        let (stripe, is_shared) = match stripes.get(thread) {
            Some(stripe) if thread + 1 < stripes.len() => (stripe, false),
            _ => (&stripes[stripes.len() - 1], true),
        };
        for (what, n) in all {
            let counter = &stripe.0[what.index()];
            if is_shared {
                counter.fetch_add(n as u64, Relaxed);
            } else {
                // No other thread writes to it, so this needs no atomic addition.
                counter.store(counter.load(Relaxed).wrapping_add(n as u64), Relaxed);
            }
        }
    }

    /// Returns one stripe for each thread that can run at once, and one for all other threads.
    #[inline]
    fn stripes(&self) -> &[Stripe] {
        let new =
            || (0..=cores()).map(|_| Stripe([const { AtomicU64::new(0) }; Count::KINDS])).collect();
        self.0.get_or_init(new)
    }

    pub(super) fn read(&self) -> Stats {
        let passed_by = array::from_fn(|reason| self.sum(Count::Passed(PassReason::ALL[reason])));
        let vetoed_by = array::from_fn(|reason| self.sum(Count::Vetoed(VetoReason::ALL[reason])));
        let near_misses_by =
            array::from_fn(|reason| self.sum(Count::NearMiss(NearMiss::ALL[reason])));
        // Departures are read before arrivals, so that a gauge is not negative.
        let (closed, released) = (self.sum(Count::Closed), self.sum(Count::Released));
        let (seated, led) = (self.sum(Count::Seated), self.sum(Count::Led));
        Stats {
            led,
            joined: seated + self.sum(Count::Late),
            passed: passed_by.iter().sum(),
            vetoed: vetoed_by.iter().sum(),
            cancelled: self.sum(Count::Cancelled),
            panicked: self.sum(Count::Panicked),
            lost: self.sum(Count::Lost),
            refused: self.sum(Count::WentOn),
            timed_out: self.sum(Count::TimedOut),
            in_flight: gauge(led, closed),
            waiting: gauge(led + seated, released),
            passed_by,
            vetoed_by,
            near_misses_by,
        }
    }

    fn sum(&self, what: Count) -> u64 {
        let stripes = self.0.get().into_iter().flatten();
        stripes.map(|stripe| stripe.0[what.index()].load(Relaxed)).sum()
    }
}

/// Shows the sums.
impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.read().fmt(f)
    }
}

/// The counters are relaxed: a departure may be visible before its arrival.
fn gauge(came: u64, went: u64) -> usize {
    usize::try_from(came.saturating_sub(went)).unwrap_or(usize::MAX)
}

/// Returns a number that no other running thread has. The number of a thread that has ended is used
/// again.
#[inline]
fn number_of_this_thread() -> usize {
    thread_local! {
        static NUMBER: ThreadNumber = ThreadNumber::new();
    }
    NUMBER.try_with(|number| number.0).unwrap_or(usize::MAX)
}

struct ThreadNumber(usize);

/// The numbers of threads that have ended, and how many numbers there are.
static NUMBERS: Mutex<(Vec<usize>, usize)> = Mutex::new((Vec::new(), 0));

impl ThreadNumber {
    fn new() -> Self {
        let mut numbers = NUMBERS.lock().unwrap_or_else(PoisonError::into_inner);
        let (free, all) = &mut *numbers;
        // The smallest free number, so that few threads have the first numbers, and a stripe each.
        let least = free.iter().enumerate().min_by_key(|(_, number)| **number).map(|(at, _)| at);
        Self(least.map(|at| free.swap_remove(at)).unwrap_or_else(|| {
            *all += 1;
            *all - 1
        }))
    }
}

impl Drop for ThreadNumber {
    fn drop(&mut self) {
        NUMBERS.lock().unwrap_or_else(PoisonError::into_inner).0.push(self.0);
    }
}
