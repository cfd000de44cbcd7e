//! A flight's slot in its shard, for waiters and tasks: they do not know the type of the key.

use crate::{
    core::{
        flight::{After, AfterEnd, Flight},
        hold::HoldTimer,
        reentry::FlightNumber,
        rules::Setback,
    },
    observe::{Event, Observer},
    panics::CaughtPanic,
};
use std::sync::Arc;

/// A shard whose keys have lost their type. Call all of it under no lock.
pub(crate) trait ErasedShard<T>: Send + Sync {
    /// Runs a transition under the lock that ends nothing. `false`: the flight has ended, and has
    /// left its slot.
    fn with(
        &self,
        slot: u32,
        number: FlightNumber,
        transition: &mut dyn FnMut(&mut Flight<T>),
    ) -> bool;

    /// Runs a transition under the lock that a waiter, or the whole flight, may end with. Then it
    /// does what that left to do. `false` as in [`with`](Self::with).
    fn update(
        &self,
        slot: u32,
        number: FlightNumber,
        transition: &mut dyn FnMut(&mut Flight<T>) -> After<T>,
    ) -> bool;

    /// Why this value is for its leader alone, if it is.
    fn setback(&self, value: &T) -> Option<Setback>;

    /// The leader went without this value, while others have yet to look at it.
    fn on_leader_gone(&self, value: &T);

    /// Drops the result of this flight, if it is held.
    fn end_hold(&self, slot: u32, number: FlightNumber);

    fn observer(&self) -> &Observer;
}

impl<T> dyn ErasedShard<T> + '_ {
    #[inline(always)]
    pub(crate) fn tell(&self, event: Event) {
        if event.concerns_anybody() {
            self.observer().tell(event);
        }
    }
}

/// Where a flight is. The slot is another flight's once this one has left it, hence the number.
pub(crate) struct Slot<T> {
    shard: Arc<dyn ErasedShard<T>>,
    index: u32,
    number: FlightNumber,
}

impl<T> Slot<T> {
    pub(crate) fn new(shard: Arc<dyn ErasedShard<T>>, index: u32, number: FlightNumber) -> Self {
        Self { shard, index, number }
    }

    pub(crate) fn number(&self) -> FlightNumber {
        self.number
    }

    pub(crate) fn shard(&self) -> &dyn ErasedShard<T> {
        &*self.shard
    }

    pub(crate) fn into_shard(self) -> Arc<dyn ErasedShard<T>> {
        self.shard
    }

    /// The result of a transition that ends nothing, or `None` if the flight has left its slot.
    #[inline]
    pub(crate) fn with<R>(&self, transition: impl FnOnce(&mut Flight<T>) -> R) -> Option<R> {
        let (mut transition, mut result) = (Some(transition), None);
        self.shard.with(self.index, self.number, &mut |flight| {
            result = Some(transition.take().expect("it runs once")(flight));
        });
        result
    }

    /// The result of a transition that may end something, or `None` if the flight has left its
    /// slot.
    #[inline]
    pub(crate) fn update<R>(
        &self,
        transition: impl FnOnce(&mut Flight<T>) -> (R, After<T>),
    ) -> Option<R> {
        let (mut transition, mut result) = (Some(transition), None);
        self.shard.update(self.index, self.number, &mut |flight| {
            let transition = transition.take().expect("it runs once");
            let (value, after) = transition(flight);
            result = Some(value);
            after
        });
        result
    }
}

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Self {
        Self { shard: self.shard.clone(), ..*self }
    }
}

impl<T> After<T> {
    /// Lets the waiters see how the flight ended. Call it under the lock, when all else is counted.
    #[inline]
    pub(crate) fn publish(&mut self) {
        if let Self::End(after) = self {
            after.end.set(after.result.take().expect("it is published once"));
        }
    }

    /// Takes the timer of a held result, to be spawned once nothing is locked.
    #[cold]
    pub(crate) fn take_timer(&mut self) -> Option<HoldTimer> {
        match self {
            Self::End(after) => after.timer.take(),
            Self::Nothing | Self::Tell(_) | Self::Wake(..) => None,
        }
    }

    /// The state is right before this runs. What follows is user code. Each waiter is woken,
    /// whatever that does.
    #[inline]
    pub(crate) fn run(self, shard: &dyn ErasedShard<T>) {
        let tell = |ending| shard.observer().tell(Event::FlightOver(ending));
        match self {
            Self::Nothing => {}
            Self::Tell(ending) => tell(ending),
            Self::Wake(ending, wakers) => {
                ending.into_iter().for_each(tell);
                wakers.wake_all();
            }
            Self::End(after) => {
                let AfterEnd { ending, end, is_leaderless, wakers, result: _, timer: _ } = *after;
                tell(ending);
                let mut caught = CaughtPanic::default();
                if let Some(value) = end.value().filter(|_| is_leaderless) {
                    caught.run(|| shard.on_leader_gone(value));
                }
                caught.drop_caught(end);
                wakers.wake_all();
                caught.resume();
            }
        }
    }
}
