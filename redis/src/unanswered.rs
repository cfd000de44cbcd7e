//! Flights that may be open in Redis with no leader.

use std::sync::{Mutex, MutexGuard, PoisonError};
use tower_singleflight::fleet::engine::{EngineError, Name, Token};

/// As many as a replica has under way. More would have to wait for the end of their leases.
const AT_MOST: usize = 1024;

/// The flights that were entered, closed or released without a reply.
///
/// A Redis that hangs executes what it was sent once it goes on. A flight that is opened then has
/// no leader, because its replica went alone long ago. Others would follow it for a whole lease. So
/// such flights are released as soon as Redis answers again.
#[derive(Default)]
pub(crate) struct Unanswered(Mutex<Vec<(Name, Token)>>);

/// An operation on a flight. Dropped before its reply, it counts as unanswered.
pub(crate) struct Operation<'a> {
    unanswered: &'a Unanswered,
    flight: Option<(Name, Token)>,
}

impl Unanswered {
    pub(crate) fn operation(&self, name: &Name, flight: Token) -> Operation<'_> {
        Operation { unanswered: self, flight: Some((*name, flight)) }
    }

    pub(crate) fn take(&self) -> Vec<(Name, Token)> {
        std::mem::take(&mut *self.lock())
    }

    /// Another connection was lost before they were released.
    pub(crate) fn put_back(&self, flights: Vec<(Name, Token)>) {
        flights.into_iter().for_each(|flight| self.add(flight));
    }

    fn add(&self, flight: (Name, Token)) {
        let mut flights = self.lock();
        if flights.len() < AT_MOST && !flights.contains(&flight) {
            flights.push(flight);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Name, Token)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Operation<'_> {
    /// The result, which is a reply unless it is [`EngineError::Down`].
    pub(crate) fn unless_down<T>(
        mut self,
        result: Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        if !matches!(result, Err(EngineError::Down)) {
            self.flight = None;
        }
        result
    }
}

impl Drop for Operation<'_> {
    fn drop(&mut self) {
        if let Some(flight) = self.flight.take() {
            self.unanswered.add(flight);
        }
    }
}
