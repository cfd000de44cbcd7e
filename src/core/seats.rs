//! The seats of a flight's waiters: where each leaves the waker that the end of the flight wakes.

use crate::panics::wake_all;
use slab::Slab;
use std::{mem, task::Waker};

/// Which seat a waiter has. Unique among those taken, free again when its waiter leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seat(u32);

impl Seat {
    /// The seat of the waiter that opened the flight. It costs no allocation.
    pub(crate) const OPENER: Self = Self(0);

    fn among_joiners(self) -> Option<usize> {
        (self.0 as usize).checked_sub(1)
    }
}

/// Taking a seat, leaving it and parking a waker in it are O(1).
#[derive(Debug, Default)]
pub(crate) struct Seats {
    has_opener: bool,
    opener: Option<Waker>,
    joiners: Slab<Option<Waker>>,
}

impl Seats {
    #[inline]
    pub(crate) fn with_opener() -> Self {
        Self { has_opener: true, opener: None, joiners: Slab::new() }
    }

    pub(crate) fn has_opener(&self) -> bool {
        self.has_opener
    }

    pub(crate) fn sit(&mut self) -> Seat {
        Seat(u32::try_from(1 + self.joiners.insert(None)).expect("fewer than 2^32 waiters"))
    }

    /// Gives the waker back, to be dropped once nothing is locked.
    #[must_use]
    pub(crate) fn leave(&mut self, seat: Seat) -> Option<Waker> {
        match seat.among_joiners() {
            None => {
                assert!(mem::take(&mut self.has_opener), "the opener leaves once");
                self.opener.take()
            }
            Some(n) => self.joiners.remove(n),
        }
    }

    /// The opener waits no more. Its waker stays, to be dropped with the flight.
    pub(crate) fn vacate_opener(&mut self, seat: Seat) {
        self.has_opener &= seat != Seat::OPENER;
    }

    /// Whether `seat` would wake the task that `waker` wakes.
    pub(crate) fn has_parked(&self, seat: Seat, waker: &Waker) -> bool {
        let parked = match seat.among_joiners() {
            None => &self.opener,
            Some(n) => &self.joiners[n],
        };
        parked.as_ref().is_some_and(|parked| parked.will_wake(waker))
    }

    /// Gives the earlier waker back, to be dropped once nothing is locked.
    #[inline]
    #[must_use]
    pub(crate) fn park(&mut self, seat: Seat, waker: Waker) -> Option<Waker> {
        match seat.among_joiners() {
            None => self.opener.replace(waker),
            Some(n) => self.joiners[n].replace(waker),
        }
    }

    /// Takes every waker and leaves the waiters in their seats.
    pub(crate) fn take_wakers(&mut self) -> Wakers {
        let joiners = self.joiners.iter_mut().filter_map(|(_, waker)| waker.take());
        Wakers::of(self.opener.take().into_iter().chain(joiners).collect())
    }

    /// Empties the seats of all joiners, and takes every waker but that of the driver.
    pub(crate) fn empty(&mut self, driver: Option<Seat>) -> Wakers {
        let mut wakers =
            Wakers { first: self.opener.take(), joiners: mem::take(&mut self.joiners), ..Wakers::default() };
        let own = match driver.map(Seat::among_joiners) {
            None => None,
            Some(None) => wakers.first.take(),
            Some(Some(n)) => wakers.joiners.remove(n),
        };
        wakers.without([own])
    }
}

/// Wakers that were taken out of a flight.
#[derive(Debug, Default)]
pub(crate) struct Wakers {
    first: Option<Waker>,
    joiners: Slab<Option<Waker>>,
    rest: Vec<Waker>,
    /// Only dropped.
    unwoken: Vec<Waker>,
}

impl Wakers {
    pub(crate) fn one(waker: Waker) -> Self {
        Self { first: Some(waker), ..Self::default() }
    }

    fn of(rest: Vec<Waker>) -> Self {
        Self { rest, ..Self::default() }
    }

    /// Holds more wakers, which are dropped and not woken.
    pub(crate) fn without<const N: usize>(mut self, wakers: [Option<Waker>; N]) -> Self {
        self.unwoken.extend(wakers.into_iter().flatten());
        self
    }

    /// Wakes all, in the order of the seats. A waker that panics does not leave the others asleep. Call it under no lock.
    pub(crate) fn wake_all(self) {
        let joiners = self.joiners.into_iter().filter_map(|(_, waker)| waker);
        wake_all(self.first.into_iter().chain(joiners).chain(self.rest));
    }
}
