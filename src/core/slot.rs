//! A flight's slot in its shard, seen by those who do not know the type of its key.

use crate::{
    core::{
        flight::{After, Flight, Setback},
        reentry::FlightNumber,
    },
    observe::{Event, Observer},
    panics::Debris,
};
use std::sync::Arc;

/// A shard whose keys have lost their type. Call all of it under no lock.
pub(crate) trait ErasedShard<T>: Send + Sync {
    /// Runs a transition of the flight in this slot under the lock, then does what the transition left to do. `false`: the
    /// flight has ended, and has left its slot.
    fn update(&self, slot: u32, number: FlightNumber, transition: &mut dyn FnMut(&mut Flight<T>) -> After<T>) -> bool;

    /// Why this value is for its leader alone, if it is.
    fn setback(&self, value: &T) -> Option<Setback>;

    /// The leader went without this value, while others have yet to look at it.
    fn on_leader_gone(&self, value: &T);

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

    /// The result of a transition, or `None` if the flight has left its slot.
    #[inline]
    pub(crate) fn update<R>(&self, transition: impl FnOnce(&mut Flight<T>) -> (R, After<T>)) -> Option<R> {
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
    /// The state is right by now; what follows is user code. Each waiter is woken, whatever a hook or a waker does.
    #[inline]
    pub(crate) fn run(self, shard: &dyn ErasedShard<T>) {
        if let Some(ending) = self.ending {
            shard.observer().tell(Event::FlightOver(ending));
        }
        let Some(wake) = self.wake else { return };
        let mut caught = Debris::default();
        if let Some(end) = self.leaderless {
            caught.run(|| end.value().into_iter().for_each(|value| shard.on_leader_gone(value)));
            caught.sweep(end);
        }
        caught.sweep(self.released);
        wake.wake_all();
        caught.rethrow();
    }
}
