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
    /// Boxed, because most flights have none.
    joiners: Option<Box<Slab<Option<Waker>>>>,
}

impl Seats {
    #[inline]
    pub(crate) fn with_opener() -> Self {
        Self { has_opener: true, opener: None, joiners: None }
    }

    pub(crate) fn has_opener(&self) -> bool {
        self.has_opener
    }

    pub(crate) fn sit(&mut self) -> Seat {
        Seat(
            u32::try_from(1 + self.joiners.get_or_insert_default().insert(None))
                .expect("fewer than 2^32 waiters"),
        )
    }

    /// Gives the waker back, to be dropped once nothing is locked.
    #[must_use]
    pub(crate) fn leave(&mut self, seat: Seat) -> Option<Waker> {
        match seat.among_joiners() {
            None => {
                assert!(mem::take(&mut self.has_opener), "the opener leaves once");
                self.opener.take()
            }
            Some(n) => self.joiners.as_mut().expect(TAKEN).remove(n),
        }
    }

    /// The opener waits no more. Its waker stays, to be dropped with the flight.
    pub(crate) fn vacate_opener(&mut self, seat: Seat) {
        self.has_opener &= seat != Seat::OPENER;
    }

    /// Whether `seat` would wake the task that `waker` wakes.
    pub(crate) fn has_parked(&mut self, seat: Seat, waker: &Waker) -> bool {
        self.waker_of(seat).as_ref().is_some_and(|parked| parked.will_wake(waker))
    }

    /// Gives the earlier waker back, to be dropped once nothing is locked.
    #[inline]
    #[must_use]
    pub(crate) fn park(&mut self, seat: Seat, waker: Waker) -> Option<Waker> {
        self.waker_of(seat).replace(waker)
    }

    #[inline]
    fn waker_of(&mut self, seat: Seat) -> &mut Option<Waker> {
        match seat.among_joiners() {
            None => &mut self.opener,
            Some(n) => &mut self.joiners.as_mut().expect(TAKEN)[n],
        }
    }

    /// Takes every waker and leaves the waiters in their seats.
    pub(crate) fn take_wakers(&mut self) -> Wakers {
        let joiners = self.joiners.iter_mut().flat_map(|joiners| joiners.iter_mut());
        let wakers =
            self.opener.take().into_iter().chain(joiners.filter_map(|(_, waker)| waker.take()));
        Wakers::Some(wakers.collect())
    }

    /// Empties the seats of all joiners, and takes every waker but that of the driver, which stays
    /// to be dropped with the flight.
    pub(crate) fn empty(&mut self, driver: Option<Seat>) -> Wakers {
        let own = driver.and_then(|seat| self.waker_of(seat).take());
        let wakers = Wakers::All(self.opener.take(), self.joiners.take());
        self.opener = own;
        wakers
    }
}

const TAKEN: &str = "the seat is taken";

/// Wakers that were taken out of a flight.
#[derive(Debug)]
pub(crate) enum Wakers {
    Some(Vec<Waker>),
    /// The opener's, and those of the joiners.
    All(Option<Waker>, Option<Box<Slab<Option<Waker>>>>),
}

impl Wakers {
    pub(crate) fn one(waker: Waker) -> Self {
        Self::All(Some(waker), None)
    }

    /// Wakes all, in the order of the seats. A waker that panics does not leave the others asleep.
    /// Call it under no lock.
    pub(crate) fn wake_all(self) {
        match self {
            Self::Some(wakers) => wake_all(wakers),
            Self::All(opener, joiners) => {
                let joiners = joiners.into_iter().flat_map(|joiners| joiners.into_iter());
                wake_all(opener.into_iter().chain(joiners.filter_map(|(_, waker)| waker)));
            }
        }
    }
}
