//! The seats of a flight's waiters: where each leaves the waker that its landing wakes.

use crate::panics::contain;
use slab::Slab;
use std::{mem, task::Waker};

/// Which seat a waiter has. Unique among the waiters that sit, free again when one leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seat(usize);

/// Taking a seat, leaving it and parking a waker in it are O(1); the first seat costs no allocation,
/// so that a flight with one waiter needs none.
#[derive(Debug, Default)]
pub(crate) struct Seats {
    first: Option<Option<Waker>>,
    rest: Slab<Option<Waker>>,
}

impl Seats {
    pub(crate) fn sit(&mut self) -> Seat {
        match self.first {
            None => {
                self.first = Some(None);
                Seat(0)
            }
            Some(_) => Seat(1 + self.rest.insert(None)),
        }
    }

    /// Gives the waker back, to be dropped once nothing is locked.
    #[must_use]
    pub(crate) fn leave(&mut self, seat: Seat) -> Option<Waker> {
        match seat.0 {
            0 => self.first.take().flatten(),
            n => self.rest.remove(n - 1),
        }
    }

    /// Whether `seat` would wake what `waker` wakes.
    pub(crate) fn has_parked(&mut self, seat: Seat, waker: &Waker) -> bool {
        self.slot(seat).as_ref().is_some_and(|parked| parked.will_wake(waker))
    }

    /// Gives the waker that was there back, to be dropped once nothing is locked.
    #[must_use]
    pub(crate) fn park(&mut self, seat: Seat, waker: Waker) -> Option<Waker> {
        self.slot(seat).replace(waker)
    }

    /// Takes every waker and leaves the waiters in their seats.
    pub(crate) fn take_wakers(&mut self) -> Vec<Waker> {
        let rest = self.rest.iter_mut().filter_map(|(_, slot)| slot.take());
        self.first.as_mut().and_then(Option::take).into_iter().chain(rest).collect()
    }

    /// Empties all seats.
    pub(crate) fn clear(&mut self) -> Self {
        mem::take(self)
    }

    /// Wakes everybody, in the order of the seats. Call it under no lock.
    pub(crate) fn wake_all(self) {
        let rest = self.rest.into_iter().filter_map(|(_, slot)| slot);
        wake_all(self.first.flatten().into_iter().chain(rest));
    }

    fn slot(&mut self, seat: Seat) -> &mut Option<Waker> {
        match seat.0 {
            0 => self.first.as_mut().expect("the first seat is taken"),
            n => &mut self.rest[n - 1],
        }
    }
}

/// Wakes all, whatever a single waker does: one that panics must not leave the others asleep.
pub(crate) fn wake_all(wakers: impl IntoIterator<Item = Waker>) {
    for waker in wakers {
        contain(|| waker.wake());
    }
}
