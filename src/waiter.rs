//! One caller's hold on a flight.

use crate::{
    carrier::carry,
    context::Lineage,
    flight::{Flight, Landed, Step, View, Work},
    panics::{Debris, Payload},
    seats::Seat,
    stats::Counters,
};
use std::{
    fmt,
    panic::resume_unwind,
    sync::Arc,
    task::{Context, Poll},
};

const STRANDED: &str = "tower-singleflight: the flight was lost before it landed (its runtime shut down, \
    or its task was aborted), and no waiter has a request left to lead it anew";

/// Leaves the flight when dropped.
pub(crate) struct Waiter<T: Send + Sync + 'static> {
    /// Gone once the waiter has its result.
    flight: Option<Arc<Flight<T>>>,
    seat: Seat,
    /// Whether the flight counts on this waiter's own work.
    spare: bool,
}

impl<T: Send + Sync + 'static> Waiter<T> {
    /// `spare`: it is a follower, with work of its own. Else it has to `board`.
    pub(crate) fn new(flight: Arc<Flight<T>>, seat: Seat, spare: bool) -> Self {
        Self { flight: Some(flight), seat, spare }
    }

    pub(crate) fn board(&self, work: Work<T>) {
        if self.flight().board(work) {
            carry(self.flight());
        }
    }

    /// Boards the work of a flight that was lost.
    pub(crate) fn board_anew(&self, work: Work<T>) {
        self.flight().adopt(Lineage::here());
        self.board(work);
    }

    /// Moves the work to a task, whether or not somebody has joined.
    pub(crate) fn carry(&self) -> bool {
        carry(self.flight())
    }

    /// Gives this waiter's own work to the flight, which does it in a task of this runtime should it be lost, though
    /// nobody polls this waiter. Given back if the flight has such work already.
    pub(crate) fn entrust(&mut self, work: Work<T>) -> Option<Work<T>> {
        let refused = self.flight().entrust(self.seat, work);
        self.spare = refused.is_some();
        refused
    }

    pub(crate) fn counters(&self) -> &Counters {
        self.flight().counters()
    }

    /// It is polled inside the flight that it waits for.
    pub(crate) fn is_inside(&self) -> bool {
        self.flight.as_ref().is_some_and(|flight| Lineage::here().contains(flight))
    }

    /// The result, once the flight has landed. `spare` is this waiter's own work, which is taken if the
    /// flight was lost and this waiter leads it anew.
    ///
    /// # Panics
    ///
    /// With what the work panicked with, or when the flight is lost and nobody can lead it anew.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, mut spare: impl FnMut() -> Work<T>) -> Poll<Landed<T>> {
        // A leader flies, as a rule, and needs no waker in its seat before it parks.
        let mut parks = self.spare.then(|| cx.waker().clone());
        loop {
            match self.flight().look(self.seat, self.spare, cx.waker(), parks.take()) {
                View::Fly(work) => return self.fly(work, cx),
                View::LeadAnew => {
                    self.spare = false;
                    self.board_anew(spare());
                }
                View::Landed(landed) => {
                    self.flight = None;
                    return Poll::Ready(landed);
                }
                View::Wait { needs_task, .. } => {
                    if needs_task {
                        self.carry();
                    }
                    return Poll::Pending;
                }
                View::BringWaker => parks = Some(cx.waker().clone()),
                View::Crashed(message) => {
                    self.flight = None;
                    message.rethrow()
                }
                View::Stranded => {
                    self.flight = None;
                    panic!("{STRANDED}")
                }
            }
        }
    }

    /// Polls the work in place.
    fn fly(&mut self, work: Work<T>, cx: &mut Context<'_>) -> Poll<Landed<T>> {
        let mut work = Some(work);
        match self.flight().step(&mut work, cx) {
            Step::Pending => self.park(work.expect("it is pending"), cx),
            Step::Ready(value, debris) => Poll::Ready(self.land(value, debris)),
            Step::Panicked(payload) => self.crash(payload),
        }
    }

    fn park(&mut self, work: Work<T>, cx: &Context<'_>) -> Poll<Landed<T>> {
        if self.flight().park(self.seat, work, cx.waker().clone()) {
            carry(self.flight());
        }
        Poll::Pending
    }

    fn land(&mut self, value: T, mut debris: Debris) -> Landed<T> {
        let flight = self.flight.take().expect(POLLED_AGAIN);
        let landed = flight.land(value, Some(self.seat), &mut debris);
        debris.rethrow_or(landed).expect("a pilot gets its share at once")
    }

    fn crash(&mut self, payload: Payload) -> ! {
        let flight = self.flight.take().expect(POLLED_AGAIN);
        flight.crash(&payload);
        resume_unwind(payload)
    }

    fn flight(&self) -> &Arc<Flight<T>> {
        self.flight.as_ref().expect(POLLED_AGAIN)
    }
}

const POLLED_AGAIN: &str = "tower-singleflight: polled after it was ready";

impl<T: Send + Sync + 'static> Drop for Waiter<T> {
    fn drop(&mut self) {
        let Some(flight) = self.flight.take() else { return };
        let mut debris = Debris::default();
        if flight.leave(self.seat, self.spare, &mut debris) && !carry(&flight) {
            flight.cancel_if_deserted(&mut debris);
        }
        debris.rethrow();
    }
}

impl<T: Send + Sync + 'static> fmt::Debug for Waiter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiter").field("waits", &self.flight.is_some()).field("spare", &self.spare).finish()
    }
}
