//! The flight of a call that goes on without it, for the check whether a call waits for itself.

use crate::{
    core::reentry::{self, Ancestors, Entering, FlightNumber},
    sync::Mutex,
};

/// A flight that has ended, while its call goes on. A call inside it must not wait for it.
pub(super) struct Outlived {
    number: FlightNumber,
    /// The flights around it, and those of this replica that follow it.
    around: Mutex<Ancestors>,
}

impl Outlived {
    pub(super) fn new(number: FlightNumber, around: Ancestors) -> Self {
        reentry::outlived(number);
        Self { number, around: Mutex::new(around) }
    }

    /// True if the running code may wait for the call. From then on the call does not wait for it.
    pub(super) fn lets_follow(&self) -> bool {
        let may_follow = !reentry::is_inside(self.number);
        if may_follow {
            self.around.lock().add_here();
        }
        may_follow
    }

    /// Until the guard is dropped, this thread is polling the call.
    pub(super) fn enter(&self) -> Entering {
        let around = self.around.lock().clone();
        reentry::enter(self.number, &around)
    }
}

impl Drop for Outlived {
    fn drop(&mut self) {
        reentry::ended(self.number);
    }
}
