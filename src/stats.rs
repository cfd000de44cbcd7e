//! What a group or a layer counted.

use std::{
    array, fmt,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
};

macro_rules! reasons {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$doc])* $variant,)*
        }

        impl $name {
            /// Every reason there is.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The reason as one word, for logs and labels.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

reasons! {
    /// Why a call went straight to the inner service and touched no flight, or left its flight to do so.
    pub enum PassReason {
        /// The layer's `filter` said `false`.
        Filter = "filter",
        /// It was made inside the very flight that it would have joined.
        Reentrant = "reentrant",
        /// It waited as a follower for as long as `wait_at_most` allows.
        Patience = "patience",
        /// HTTP: the method is not one that shares (`GET` and `HEAD` by default).
        Method = "method",
        /// HTTP: the request has a body.
        Body = "body",
        /// HTTP: a header of the request asks for an answer of its own, such as `Range`.
        Header = "header",
        /// HTTP: the request says `no-store`.
        NoStore = "no-store",
        /// HTTP: the request's `Cache-Control` cannot be read.
        Malformed = "malformed",
        /// HTTP: a response to this key was not for followers a short while ago.
        Unshareable = "unshareable",
        /// HTTP: the bodies in progress hold more than `HttpPolicy::body_budget` allows.
        BodyBudget = "body-budget",
        /// HTTP: the request wants to change the protocol.
        Upgrade = "upgrade",
    }
}

reasons! {
    /// HTTP: why followers did not get their leader's response, and sent their own requests.
    pub enum VetoReason {
        /// Its status speaks to one client only, such as 401.
        Status = "status",
        /// It sets a cookie.
        SetCookie = "set-cookie",
        /// Its `Cache-Control` says `private`, `no-store` or `no-cache`, or cannot be read.
        CacheControl = "cache-control",
        /// Its `Vary` is `*`, cannot be read, or names something outside the partition.
        Vary = "vary",
        /// Its content type is one of those that never end, such as `text/event-stream`.
        ContentType = "content-type",
        /// Its body is known to be over the limit, or its `Content-Length` cannot be read.
        BodyTooLarge = "body-too-large",
    }
}

/// What happened so far, as [`Handle::stats`](crate::Handle::stats) read it: totals since the layer was made, and two
/// gauges.
///
/// The counters are relaxed: a snapshot taken while calls run may have counted one side of an event
/// and not yet the other.
///
/// The features `metrics` and `tracing` tell the same to others, and more: see [how to watch it](crate::guide::watch).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Calls that led a flight.
    pub led: u64,
    /// Calls that joined a flight: Go's `dups`. They count here also if they lead it anew after it was lost, lose their
    /// patience, or get a response that is not for them.
    pub joined: u64,
    /// Calls that passed: the sum over all reasons, see [`passed_by`](Stats::passed_by).
    pub passed: u64,
    /// Followers whose leader's response was not for them: the sum over all reasons, see
    /// [`vetoed_by`](Stats::vetoed_by).
    pub vetoed: u64,
    /// Flights that everybody left, whose work was dropped.
    pub cancelled: u64,
    /// Flights whose work panicked.
    pub panicked: u64,
    /// Flights that were lost with their runtime or task before they had a result.
    pub lost: u64,
    /// Flights in progress, forgotten ones too.
    pub in_flight: usize,
    /// Waiters of the flights in progress, leaders too.
    pub waiting: usize,
    passed_by: [u64; PassReason::ALL.len()],
    vetoed_by: [u64; VetoReason::ALL.len()],
}

impl Stats {
    /// Calls that passed for this reason.
    pub fn passed_by(&self, reason: PassReason) -> u64 {
        self.passed_by[reason as usize]
    }

    /// Followers that sent their own requests for this reason.
    pub fn vetoed_by(&self, reason: VetoReason) -> u64 {
        self.vetoed_by[reason as usize]
    }
}

/// What is counted.
#[derive(Clone, Copy)]
pub(crate) enum Count {
    /// Calls that opened a flight.
    Led,
    /// Calls that joined a flight and waited.
    Seated,
    /// Calls that joined one whose head was there.
    #[cfg_attr(not(feature = "http"), allow(dead_code, reason = "only HTTP has heads"))]
    Late,
    /// Flights that are off the table, and over.
    Closed,
    /// Calls that led or were seated, and wait no more.
    Released,
    Cancelled,
    Panicked,
    Lost,
    Passed(PassReason),
    Vetoed(VetoReason),
}

impl Count {
    const PASSED: usize = 8;
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
            Self::Passed(reason) => Self::PASSED + reason as usize,
            Self::Vetoed(reason) => Self::VETOED + reason as usize,
        }
    }
}

/// Each thread counts in a stripe of its own, so that counting keeps no thread waiting for another's cache line. What came
/// and what went are counted apart, so that a call counts as little as it can: a gauge is the difference.
#[derive(Default)]
pub(crate) struct Counters(OnceLock<Box<[Stripe]>>);

/// On cache lines of its own.
#[repr(align(128))]
struct Stripe([AtomicU64; Count::KINDS]);

impl Counters {
    /// With the stripes made now, so that the first call need not.
    pub(crate) fn ready() -> Self {
        let counters = Self::default();
        counters.stripes();
        counters
    }

    #[inline]
    pub(crate) fn count(&self, what: Count, n: usize) {
        let (stripes, thread) = (self.stripes(), number_of_this_thread());
        let (stripe, is_shared) = match stripes.get(thread) {
            Some(stripe) if thread + 1 < stripes.len() => (stripe, false),
            _ => (&stripes[stripes.len() - 1], true),
        };
        let counter = &stripe.0[what.index()];
        if is_shared {
            counter.fetch_add(n as u64, Relaxed);
        } else {
            // Nobody else writes to it, so it need not be locked.
            counter.store(counter.load(Relaxed).wrapping_add(n as u64), Relaxed);
        }
    }

    /// One for each thread that can run at once, and one for all others.
    #[inline]
    fn stripes(&self) -> &[Stripe] {
        let new = || (0..=cores()).map(|_| Stripe([const { AtomicU64::new(0) }; Count::KINDS])).collect();
        self.0.get_or_init(new)
    }

    pub(crate) fn read(&self) -> Stats {
        let passed_by = array::from_fn(|reason| self.sum(Count::Passed(PassReason::ALL[reason])));
        let vetoed_by = array::from_fn(|reason| self.sum(Count::Vetoed(VetoReason::ALL[reason])));
        // What went is read before what came, so that a gauge is never below nothing.
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
            in_flight: gauge(led, closed),
            waiting: gauge(led + seated, released),
            passed_by,
            vetoed_by,
        }
    }

    fn sum(&self, what: Count) -> u64 {
        let stripes = self.0.get().into_iter().flatten();
        stripes.map(|stripe| stripe.0[what.index()].load(Relaxed)).sum()
    }
}

/// Its sums.
impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.read().fmt(f)
    }
}

/// The counters are relaxed: it may have seen a departure and not yet the arrival.
fn gauge(came: u64, went: u64) -> usize {
    usize::try_from(came.saturating_sub(went)).unwrap_or(usize::MAX)
}

/// No two threads have one number at a time; that of a thread that has ended is given to another.
#[inline]
fn number_of_this_thread() -> usize {
    thread_local! {
        static NUMBER: Number = Number::new();
    }
    NUMBER.try_with(|number| number.0).unwrap_or(usize::MAX)
}

struct Number(usize);

/// Those of threads that have ended, and how many there are.
static NUMBERS: Mutex<(Vec<usize>, usize)> = Mutex::new((Vec::new(), 0));

impl Number {
    fn new() -> Self {
        let mut numbers = NUMBERS.lock().unwrap_or_else(PoisonError::into_inner);
        let (free, all) = &mut *numbers;
        // The least, so that the threads of today have the first of them.
        let least = free.iter().enumerate().min_by_key(|(_, number)| **number).map(|(at, _)| at);
        Self(least.map(|at| free.swap_remove(at)).unwrap_or_else(|| {
            *all += 1;
            *all - 1
        }))
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        NUMBERS.lock().unwrap_or_else(PoisonError::into_inner).0.push(self.0);
    }
}

/// How many threads can run at once.
pub(crate) fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| thread::available_parallelism().map_or(1, usize::from))
}
