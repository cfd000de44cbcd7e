//! The counters of a fleet.

use crate::stats::reasons;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

reasons! {
    /// Why a flight went alone: its replica made its own call, as without a fleet.
    pub enum FleetReason {
        /// The engine cannot be reached, or did not answer for some time.
        Down = "down",
        /// Too many requests ask the engine at once, or it refused the request.
        Busy = "busy",
        /// The engine did not answer within `Fleet::enter_within`.
        Timeout = "timeout",
        /// A recent response of this flight was for its leader only, too large, or too slow.
        Unshareable = "unshareable",
        /// Writes kept sealing the flight, or its key was forgotten on this replica a moment ago.
        Sealed = "sealed",
        /// The response of another replica was for its leader only.
        Veto = "veto",
        /// The response of another replica was larger than `Fleet::body_limit`.
        TooLarge = "too-large",
        /// The response of another replica took longer than `Fleet::body_within`.
        TooSlow = "too-slow",
        /// The call of another replica failed, or its body did.
        Failed = "failed",
        /// The response of another replica varies by a header in which the requests differ.
        Vary = "vary",
        /// The result of another replica was lost.
        Gone = "gone",
        /// The request waited as long as it may, or had followed another flight before.
        Patience = "patience",
        /// The engine gave something that makes no sense, or that was changed.
        Garbled = "garbled",
        /// The key panicked as the flight was named.
        Key = "key",
    }
}

/// The counters of one replica of a fleet: totals since it was made. Made by
/// [`Fleet::stats`](crate::Fleet::stats).
///
/// The counters are relaxed: a snapshot that is taken while calls run may include one half of an
/// event and not the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FleetStats {
    /// Flights that this replica led for the fleet.
    pub led: u64,
    /// Flights that followed one of another replica.
    pub followed: u64,
    /// Flights that took the result of another replica.
    pub taken: u64,
    /// Flights that went alone: the sum over all reasons, see [`alone_by`](Self::alone_by).
    pub alone: u64,
    /// Flights that this replica led after it had followed, because their leader was gone.
    pub taken_over: u64,
    /// Flights whose lease this replica lost before it had the result.
    pub leases_lost: u64,
    /// Writes and forgotten keys that the engine was told of.
    pub seals: u64,
    /// Writes and forgotten keys that the engine could not be told of.
    pub seals_lost: u64,
    /// Results that were given to other replicas.
    pub published: u64,
    /// The bytes of those results.
    pub published_bytes: u64,
    /// Whether the engine can be reached.
    pub up: bool,
    alone_by: [u64; FleetReason::ALL.len()],
}

impl FleetStats {
    /// Returns how many flights went alone for this reason.
    pub fn alone_by(&self, reason: FleetReason) -> u64 {
        self.alone_by[reason as usize]
    }
}

/// The counters themselves.
#[derive(Debug, Default)]
pub(crate) struct FleetCounters {
    pub(crate) led: FleetCount,
    pub(crate) followed: FleetCount,
    pub(crate) taken: FleetCount,
    pub(crate) taken_over: FleetCount,
    pub(crate) leases_lost: FleetCount,
    pub(crate) seals: FleetCount,
    pub(crate) seals_lost: FleetCount,
    pub(crate) published: FleetCount,
    pub(crate) published_bytes: FleetCount,
    alone_by: [FleetCount; FleetReason::ALL.len()],
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct FleetCount(AtomicU64);

impl FleetCount {
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl FleetCounters {
    pub(crate) fn alone(&self, reason: FleetReason) {
        self.alone_by[reason as usize].add(1);
    }

    pub(crate) fn stats(&self, up: bool) -> FleetStats {
        let alone_by = std::array::from_fn(|reason| self.alone_by[reason].get());
        FleetStats {
            led: self.led.get(),
            followed: self.followed.get(),
            taken: self.taken.get(),
            alone: alone_by.iter().sum(),
            taken_over: self.taken_over.get(),
            leases_lost: self.leases_lost.get(),
            seals: self.seals.get(),
            seals_lost: self.seals_lost.get(),
            published: self.published.get(),
            published_bytes: self.published_bytes.get(),
            up,
            alone_by,
        }
    }
}
