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
        /// Its patience (`wait_at_most`) ended, and it was made inside the newer flight that it would have joined.
        Patience = "patience",
        /// `Handle::set_enabled(false)` turned coalescing off.
        Disabled = "disabled",
        /// HTTP: the method is not one that shares (`GET` and `HEAD` by default).
        Method = "method",
        /// HTTP: the request has a body.
        Body = "body",
        /// HTTP, `with_body`: the closure returned `None`.
        NoKey = "no-key",
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
        /// Its status: it speaks to one client only, such as 401, or no cache could store it, such as 302.
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

reasons! {
    /// Why a call led a flight of its own although one for its key was in progress.
    pub enum NearMiss {
        /// HTTP: the requests differ in what the policy compares besides the key: a header, the host, the query.
        Partition = "partition",
        /// HTTP: the head of the response was known, and its body still streams.
        HeadKnown = "head-known",
        /// The flight was older than `join_within` allows.
        TooOld = "too-old",
        /// The flight had as many waiters as `max_waiters` allows.
        Full = "full",
        /// The flight was forgotten, or a write sealed it.
        Sealed = "sealed",
    }
}

/// What happened so far, as [`Handle::stats`](crate::Handle::stats) or [`Group::stats`](crate::Group::stats) read it:
/// totals since the layer or group was made, and two gauges.
///
/// It displays as one line: what is zero is left out, but for the first three.
///
/// ```
/// # let handle = tower_singleflight::SingleflightLayer::by_key(|id: &u32| *id).handle();
/// println!("{}", handle.stats()); // led 10, joined 90, passed 3 (method 2, body 1), in flight 1, waiting 4
/// # assert_eq!(handle.stats().to_string(), "led 0, joined 0, passed 0, in flight 0, waiting 0");
/// ```
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
    /// Calls that joined a flight: Go's `dups`. They count here, and not in `led`, also if they lead it anew after it
    /// was lost or its result was its leader's alone; and if they lose their patience, or get a response that is not for
    /// them.
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
    /// Results that stayed with their leader, while the followers went on together in one next flight: refusals over
    /// HTTP, and errors with [`followers_retry`](crate::SingleflightLayer::followers_retry).
    pub refused: u64,
    /// Followers that waited for as long as `wait_at_most` allows, and then led or joined a newer flight. Each counts
    /// in `led` or `joined` once more.
    pub timed_out: u64,
    /// Flights in progress, forgotten ones too.
    pub in_flight: usize,
    /// Waiters of the flights in progress, leaders too.
    pub waiting: usize,
    passed_by: [u64; PassReason::ALL.len()],
    vetoed_by: [u64; VetoReason::ALL.len()],
    near_misses_by: [u64; NearMiss::ALL.len()],
}

impl Stats {
    /// Calls that led although a flight for their key was in progress: the sum over all reasons, see
    /// [`near_misses_by`](Stats::near_misses_by). They tell why "led 10, joined 0".
    ///
    /// Found with little effort, so that a call pays nothing for it: in a group with hundreds of flights in progress
    /// some near misses are not counted. None is counted that was not one.
    pub fn near_misses(&self) -> u64 {
        self.near_misses_by.iter().sum()
    }

    /// Calls that led for this reason although a flight for their key was in progress.
    pub fn near_misses_by(&self, reason: NearMiss) -> u64 {
        self.near_misses_by[reason as usize]
    }

    /// Calls that passed for this reason.
    pub fn passed_by(&self, reason: PassReason) -> u64 {
        self.passed_by[reason as usize]
    }

    /// Followers that sent their own requests for this reason.
    pub fn vetoed_by(&self, reason: VetoReason) -> u64 {
        self.vetoed_by[reason as usize]
    }
}

/// One line, for people.
impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "led {}, joined {}", self.led, self.joined)?;
        display_total(
            f,
            "passed",
            self.passed,
            PassReason::ALL.iter().map(|r| (r.as_str(), self.passed_by(*r))),
            true,
        )?;
        display_total(
            f,
            "vetoed",
            self.vetoed,
            VetoReason::ALL.iter().map(|r| (r.as_str(), self.vetoed_by(*r))),
            false,
        )?;
        for (what, count) in [
            ("refused", self.refused),
            ("timed out", self.timed_out),
            ("cancelled", self.cancelled),
            ("panicked", self.panicked),
            ("lost", self.lost),
        ] {
            display_total(f, what, count, [], false)?;
        }
        let near_misses = NearMiss::ALL.iter().map(|r| (r.as_str(), self.near_misses_by(*r)));
        display_total(f, "near misses", self.near_misses(), near_misses, false)?;
        write!(f, ", in flight {}, waiting {}", self.in_flight, self.waiting)
    }
}

/// A total, and its parts in brackets, without those that are zero.
fn display_total(
    f: &mut fmt::Formatter<'_>,
    what: &str,
    total: u64,
    parts: impl IntoIterator<Item = (&'static str, u64)>,
    always: bool,
) -> fmt::Result {
    if total == 0 && !always {
        return Ok(());
    }
    write!(f, ", {what} {total}")?;
    let mut opening = " (";
    for (part, count) in parts.into_iter().filter(|(_, count)| *count > 0) {
        write!(f, "{opening}{part} {count}")?;
        opening = ", ";
    }
    f.write_str(if opening == ", " { ")" } else { "" })
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
    /// Results that were their leader's alone, while the followers went on together.
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
        self.count_all([(what, n)]);
    }

    /// In one stripe, which is looked up once.
    #[inline(always)]
    pub(crate) fn count_all<const N: usize>(&self, all: [(Count, usize); N]) {
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
                // Nobody else writes to it, so it need not be locked.
                counter.store(counter.load(Relaxed).wrapping_add(n as u64), Relaxed);
            }
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
        let near_misses_by = array::from_fn(|reason| self.sum(Count::NearMiss(NearMiss::ALL[reason])));
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
