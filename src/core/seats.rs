//! The seats of a flight's waiters: where each leaves the waker that its landing wakes.

use crate::{
    core::slots::{Slot, Slots},
    panics::forget_payload,
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    task::Waker,
};

/// Which seat a waiter has. Unique among the waiters that sit, free again when one leaves.
pub(crate) type Seat = Slot;

/// Taking a seat, leaving it and parking a waker in it are O(1).
#[derive(Debug, Default)]
pub(crate) struct Seats(Slots<Option<Waker>>);

impl Seats {
    /// With one waiter, in the first seat.
    pub(crate) fn with_one(parked: Option<Waker>) -> Self {
        let mut slots = Slots::default();
        slots.insert(parked);
        Self(slots)
    }

    pub(crate) fn sit(&mut self) -> Seat {
        self.0.insert(None)
    }

    /// Gives the waker back, to be dropped once nothing is locked.
    #[must_use]
    pub(crate) fn leave(&mut self, seat: Seat) -> Option<Waker> {
        self.0.remove(seat)
    }

    /// Whether `seat` would wake what `waker` wakes.
    pub(crate) fn has_parked(&mut self, seat: Seat, waker: &Waker) -> bool {
        self.0.get_mut(seat).as_ref().is_some_and(|parked| parked.will_wake(waker))
    }

    /// Gives the waker that was there back, to be dropped once nothing is locked.
    #[must_use]
    pub(crate) fn park(&mut self, seat: Seat, waker: Waker) -> Option<Waker> {
        self.0.get_mut(seat).replace(waker)
    }

    /// Takes every waker and leaves the waiters in their seats.
    pub(crate) fn take_wakers(&mut self) -> Vec<Waker> {
        self.0.iter_mut().filter_map(Option::take).collect()
    }

    /// Empties all seats.
    pub(crate) fn clear(&mut self) -> Self {
        Self(self.0.clear())
    }

    /// Wakes everybody, in the order of the seats. Call it under no lock.
    pub(crate) fn wake_all(self) {
        wake_all(self.0.into_iter().flatten());
    }
}

/// Wakes all, whatever a single waker does: one that panics must not leave the others asleep.
pub(crate) fn wake_all(wakers: impl IntoIterator<Item = Waker>) {
    let mut wakers = wakers.into_iter();
    // One `catch_unwind` for all of them, and one more for each that panics.
    while let Err(payload) = catch_unwind(AssertUnwindSafe(|| wakers.by_ref().for_each(Waker::wake))) {
        forget_payload(payload);
    }
}
