//! A flight that nobody has joined yet. It stands at a gate of its table, and costs no allocation.

use crate::{
    core::flight::{Flight, Place, Rounds, Rules, Setback},
    core::reentry::{Gates, Lineage},
    core::slots::Slot,
    observe::{Ending, Event, FlightSpan, Observer, Outcome, Work},
    panics::Debris,
    sync::{Runtime, current_runtime},
};
use std::{mem, sync::Arc, task::Waker, thread};
use tokio::time::Instant;

/// What becomes a [`Flight`] when somebody joins.
pub(crate) struct Lone<T> {
    pub(crate) place: Place,
    /// None while it is polled.
    pub(crate) work: Option<Work<T>>,
    /// Wakes the leader.
    pub(crate) waker: Option<Waker>,
    pub(crate) run_to_completion: bool,
    pub(crate) rounds: Rounds,
    /// If anybody may want to know.
    pub(crate) opened: Option<Instant>,
    pub(crate) runtime: Option<Runtime>,
    pub(crate) lineage: Lineage,
}

/// Where a lone flight stands. The gate is its leader's until that takes what it finds there.
pub(crate) enum Gate<T> {
    Lone(Lone<T>),
    /// It has taken off as a flight that others may have joined. Its leader sits in the first seat.
    Left(Arc<Flight<T>>),
}

/// The table, as its flights and their waiters see it. Call all of it under no lock.
pub(crate) trait Home<T>: Send + Sync {
    fn observer(&self) -> &Observer;

    /// The leader went without this value, while others have yet to look at it.
    fn leaderless(&self, value: &T);

    /// Why this value is its leader's alone, so that the followers go on together.
    fn setback(&self, value: &T) -> Option<Setback>;

    /// Lets the leader at `gate` change its flight, or gives the flight that has left the gate, which is free then.
    /// `change` runs under the lock.
    fn at(&self, gate: Slot, change: &mut dyn FnMut(&mut Lone<T>)) -> Option<Arc<Flight<T>>>;

    /// Ends the flight at `gate`, or gives the one that has left the gate. The gate is free then.
    fn end(&self, gate: Slot, outcome: Outcome, debris: &mut Debris) -> Option<Arc<Flight<T>>>;

    /// The flight at `gate` as one that others may join.
    fn open(self: Arc<Self>, gate: Slot) -> Arc<Flight<T>>;

    /// Takes this very flight off the table, whatever flight its key leads to by now. `Err` is a panic of
    /// the key's `Drop`.
    fn unlink(&self, place: Place, flight: &Flight<T>) -> thread::Result<()>;

    fn as_gates(self: Arc<Self>) -> Arc<dyn Gates>;
}

impl<T> dyn Home<T> {
    /// Call it under no lock.
    #[inline(always)]
    pub(crate) fn tell(&self, event: Event) {
        if event.concerns_anybody() {
            self.observer().tell(event);
        }
    }
}

impl<T> Lone<T> {
    /// To be carried by the runtime in which this is called.
    pub(crate) fn new(place: Place, rules: &Rules, lineage: Lineage, opened: Option<Instant>, work: Work<T>) -> Self {
        let Rules { run_to_completion, rounds, .. } = *rules;
        let (work, waker, runtime) = (Some(work), None, current_runtime());
        Self { place, work, waker, run_to_completion, rounds, opened, runtime, lineage }
    }

    /// Drops what is left of it, and tells how it ended. Call it under no lock.
    pub(crate) fn end(self, outcome: Outcome, observer: &Observer, debris: &mut Debris) {
        let Self { work, waker, runtime, opened, .. } = self;
        observer.close_alone();
        debris.sweep_some(work);
        let released = usize::from(outcome != Outcome::Cancelled);
        observer.tell(Event::FlightOver(Ending { outcome: Some(outcome), opened, released, span: FlightSpan::UNSEEN }));
        debris.sweep_some(waker);
        debris.sweep_some(runtime);
    }

    fn take(&mut self) -> Self {
        Self {
            work: self.work.take(),
            waker: self.waker.take(),
            runtime: self.runtime.take(),
            lineage: mem::take(&mut self.lineage),
            ..*self
        }
    }
}

impl<T> Gate<T> {
    /// The flight that has left.
    pub(crate) fn left(self) -> Option<Arc<Flight<T>>> {
        match self {
            Self::Left(flight) => Some(flight),
            Self::Lone(_) => None,
        }
    }
}

impl<T: Send + Sync + 'static> Gate<T> {
    /// The flight as one that others may join. Nothing of the user's runs in this.
    pub(crate) fn open(&mut self, home: impl FnOnce() -> Arc<dyn Home<T>>) -> &Arc<Flight<T>> {
        if let Self::Lone(lone) = self {
            *self = Self::Left(Flight::new(home(), lone.take()));
        }
        match self {
            Self::Left(flight) => flight,
            Self::Lone(_) => unreachable!("it has left"),
        }
    }
}
