//! A flight that nobody has joined yet. It stands at a gate of its table, and costs no allocation.

use crate::{
    context::{Gates, Lineage},
    flight::{Flight, Place, Rules},
    observe::{Observer, Work},
    panics::Debris,
    slots::Slot,
    sync::Runtime,
};
use std::{mem, sync::Arc, task::Waker, thread};
use tokio::time::Instant;

/// What becomes a [`Flight`] when somebody joins.
pub(crate) struct Lone<T> {
    pub(crate) place: Place,
    /// None while it is polled, and until its leader has put it in.
    pub(crate) work: Option<Work<T>>,
    /// Wakes the leader.
    pub(crate) waker: Option<Waker>,
    pub(crate) run_to_completion: bool,
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

    /// Lets the leader at `gate` change its flight, or gives the flight that has left the gate, which is free then.
    /// `change` runs under the lock.
    fn at(&self, gate: Slot, change: &mut dyn FnMut(&mut Lone<T>)) -> Option<Arc<Flight<T>>>;

    /// Ends the flight at `gate`, which is free then. `Err`: it has left the gate.
    fn end(&self, gate: Slot, debris: &mut Debris) -> Result<Lone<T>, Arc<Flight<T>>>;

    /// The flight at `gate` as one that others may join.
    fn open(self: Arc<Self>, gate: Slot) -> Arc<Flight<T>>;

    /// Takes this very flight off the table, whatever flight its key leads to by now. `Err` is a panic of
    /// the key's `Drop`.
    fn unlink(&self, place: Place, flight: &Flight<T>) -> thread::Result<()>;

    fn as_gates(self: Arc<Self>) -> Arc<dyn Gates>;
}

impl<T> Lone<T> {
    /// Its leader still has to put its work in.
    pub(crate) fn new(place: Place, rules: &Rules, lineage: Lineage, opened: Option<Instant>) -> Self {
        Self {
            place,
            work: None,
            waker: None,
            run_to_completion: rules.run_to_completion,
            opened,
            runtime: None,
            lineage,
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
            let empty = Lone::new(lone.place, &Rules::default(), Lineage::default(), None);
            let lone = mem::replace(lone, empty);
            *self = Self::Left(Flight::new(home(), lone));
        }
        match self {
            Self::Left(flight) => flight,
            Self::Lone(_) => unreachable!("it has just left"),
        }
    }
}
