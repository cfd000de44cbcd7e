//! Events of flights and calls, and who is told: the counters of `Stats`, the recorder of metrics,
//! and the subscriber of traces.
#![cfg_attr(
    not(all(feature = "metrics", feature = "tracing")),
    allow(dead_code, reason = "the counters need less")
)]

mod counters;
#[cfg(feature = "metrics")]
mod metrics;
pub(crate) mod near_miss;
#[cfg_attr(not(feature = "tracing"), path = "untraced.rs")]
mod trace;

pub(crate) use trace::{Caller, FlightSpan, Link, Work, spans_are_wanted};

use crate::stats::{NearMiss, PassReason, Stats, VetoReason};
use counters::{Count, Counters};
use std::{
    ptr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};
use tokio::time::Instant;

/// Counts and reports the events of one group, or of a layer and its clones.
#[derive(Debug, Default)]
pub(crate) struct Observer {
    counters: Counters,
    wants_ages: AtomicBool,
    name: GroupName,
    #[cfg(feature = "metrics")]
    metrics: metrics::Metrics,
}

/// The user's name for the layer or group.
#[derive(Debug, Default)]
pub(crate) struct GroupName(OnceLock<Option<Arc<str>>>);

/// An event of a flight or a call.
pub(crate) enum Event<'a> {
    /// A call opened a flight.
    Led,
    /// A call joined a flight.
    Joined,
    /// A call joined a flight after it landed, and has the result already.
    JoinedLate,
    /// A waiter left its flight before the flight was over.
    Left,
    /// A flight was removed from the table.
    Closed,
    /// A flight has ended, or was lost and may be led again.
    FlightOver(Ending),
    /// A call that waited is over. `leads`: the flight did this call's work.
    CallOver { leads: bool, how: CallEnd },
    /// A follower's patience has ended, and it goes on in a newer flight.
    TimedOut,
    /// A call led although there was a flight for its key. `part`: the name of the part in which
    /// the two keys differ.
    NearMiss { why: NearMiss, part: Option<&'a str> },
    /// A call goes straight to the inner service. `waited`: it was a follower before.
    Passed { reason: PassReason, waited: bool },
    /// A response is not for a follower. `passes`: the follower sends its own request alone, and
    /// not with others.
    Vetoed { reason: VetoReason, passes: bool },
}

/// How a flight ended. Noted under its lock, and reported after it.
pub(crate) struct Ending {
    /// `None` if the flight was lost before, and that was reported.
    pub(crate) outcome: Option<FlightEnd>,
    /// The result went to the leader only, and the followers go on together.
    pub(crate) went_on: bool,
    pub(crate) opened: Option<Instant>,
    /// How many waiters no longer wait.
    pub(crate) released: usize,
    pub(crate) span: FlightSpan,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FlightEnd {
    Landed,
    Cancelled,
    Panicked,
    Lost,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum CallEnd {
    /// It has the result of its flight.
    Landed,
    /// It went to the inner service alone.
    Passed,
    /// It was dropped before that.
    Left,
    /// It panicked, because the work did, or because the flight was lost and no waiter could lead
    /// it again.
    Panicked,
}

impl Observer {
    /// Makes the counters now, so that the first call does not have to.
    pub(crate) fn ready() -> Self {
        Self { counters: Counters::ready(), ..Self::default() }
    }

    /// Asks for the opening times of the flights that open from now on.
    pub(crate) fn want_ages(&self) {
        self.wants_ages.store(true, Relaxed);
    }

    /// If this is `false`, flights do not read the clock.
    pub(crate) fn wants_ages(&self) -> bool {
        cfg!(feature = "metrics") || self.wants_ages.load(Relaxed)
    }

    /// Sets the name. Only the first call has an effect.
    pub(crate) fn set_name(&self, name: Option<&Arc<str>>) {
        self.name.0.get_or_init(|| name.cloned());
        // Makes the keys now, so that the first call does not have to.
        #[cfg(feature = "metrics")]
        self.metrics.keys(&self.name);
    }

    /// Makes the hash of a key unique to this observer, even if another group hashes its keys
    /// alike.
    pub(crate) fn own_hash(&self, hash: u64) -> u64 {
        hash ^ (ptr::from_ref(self) as u64).rotate_left(32)
    }

    pub(crate) fn name(&self) -> &GroupName {
        &self.name
    }

    /// Counts waiters that no longer wait, and whether the flight is over. Call it under the lock
    /// of the flight: then the counters are up to date when the end of the flight is visible.
    #[inline(always)]
    pub(crate) fn count_out(&self, waiters: usize, is_over: bool) {
        self.counters
            .count_all([(Count::Released, waiters), (Count::Closed, usize::from(is_over))]);
    }

    pub(crate) fn stats(&self) -> Stats {
        self.counters.read()
    }

    /// Counts and reports an event. Call it under no lock: recorders and subscribers are user code.
    /// It catches their panics.
    ///
    /// Inlined, because each caller knows its event.
    #[inline(always)]
    pub(crate) fn tell(&self, event: Event) {
        self.count(&event);
        self.tell_others(event);
    }

    #[inline(always)]
    fn tell_others(&self, event: Event) {
        #[cfg(feature = "metrics")]
        self.metrics.tell(&self.name, &event);
        #[cfg(feature = "tracing")]
        trace::tell(&self.name, event);
        #[cfg(not(any(feature = "metrics", feature = "tracing")))]
        let _ = event;
    }

    #[inline(always)]
    fn count(&self, event: &Event) {
        let count = |what| self.counters.count(what, 1);
        match event {
            Event::Led => count(Count::Led),
            Event::Joined => count(Count::Seated),
            Event::JoinedLate => count(Count::Late),
            Event::FlightOver(ending) => match ending.outcome {
                Some(FlightEnd::Cancelled) => count(Count::Cancelled),
                Some(FlightEnd::Panicked) => count(Count::Panicked),
                Some(FlightEnd::Lost) => count(Count::Lost),
                Some(FlightEnd::Landed) if ending.went_on => count(Count::WentOn),
                Some(FlightEnd::Landed) | None => {}
            },
            Event::TimedOut => count(Count::TimedOut),
            Event::NearMiss { why, .. } => count(Count::NearMiss(*why)),
            Event::Passed { reason, .. } => count(Count::Passed(*reason)),
            Event::Vetoed { reason, .. } => count(Count::Vetoed(*reason)),
            // Counted under the lock of the flight.
            Event::Left | Event::Closed | Event::CallOver { .. } => {}
        }
    }
}

impl Event<'_> {
    /// Returns `false` if the event concerns only metrics, and they are off. Then the caller can
    /// skip it.
    #[inline(always)]
    pub(crate) fn concerns_anybody(&self) -> bool {
        cfg!(feature = "metrics")
            || !matches!(self, Self::Left | Self::Closed | Self::CallOver { .. })
    }
}

impl GroupName {
    pub(crate) fn get(&self) -> Option<&Arc<str>> {
        self.0.get()?.as_ref()
    }
}

impl FlightEnd {
    pub(crate) const ALL: [Self; 4] = [Self::Landed, Self::Cancelled, Self::Panicked, Self::Lost];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Landed => "landed",
            Self::Cancelled => "cancelled",
            Self::Panicked => "panicked",
            Self::Lost => "lost",
        }
    }
}
