//! One caller's hold on a flight.

use crate::{
    carrier::carry,
    context::Lineage,
    flight::{Flight, Landed, Step, View},
    observe::{CallEnd, Event, Work},
    panics::{Debris, Payload},
    seats::Seat,
    stats::{PassReason, VetoReason},
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
    /// Whether it brought the work of the flight.
    leads: bool,
    /// Whether it was told how this call ended.
    told: bool,
}

/// What a waiter gets when its flight has landed.
pub(crate) struct Arrival<T> {
    landed: Landed<T>,
    flight: Arc<Flight<T>>,
}

impl<T: Send + Sync + 'static> Arrival<T> {
    pub(crate) fn leads(&self) -> bool {
        self.landed.leads
    }

    /// Whether somebody joined the flight.
    pub(crate) fn is_shared(&self) -> bool {
        self.landed.shared
    }

    pub(crate) fn get_ref(&self) -> &T {
        self.landed.get_ref()
    }

    /// It is not for this follower, who `passes` now, or joins others who want the same.
    pub(crate) fn veto(&self, reason: VetoReason, passes: bool) {
        self.flight.tell(Event::Vetoed { reason, passes });
    }

    /// It is not for this follower, who has no request left, and panics.
    pub(crate) fn waste(&self) {
        self.flight.tell(Event::CallOver { leads: self.leads(), how: CallEnd::Panicked });
    }

    /// Clones the value, but for the last taker, who gets the original.
    pub(crate) fn take(self) -> T
    where
        T: Clone,
    {
        self.flight.tell(Event::CallOver { leads: self.leads(), how: CallEnd::Landed });
        self.landed.take()
    }
}

impl<T: Send + Sync + 'static> Waiter<T> {
    /// Of a flight that it opened: it has to `board`.
    pub(crate) fn lead(flight: Arc<Flight<T>>, seat: Seat) -> Self {
        flight.tell(Event::Led);
        Self::new(flight, seat, true)
    }

    /// Of a flight that another opened. `leads_anew`: it has to `board`, too.
    pub(crate) fn join(flight: Arc<Flight<T>>, seat: Seat, leads_anew: bool) -> Self {
        flight.tell(Event::Joined);
        Self::new(flight, seat, leads_anew)
    }

    fn new(flight: Arc<Flight<T>>, seat: Seat, leads: bool) -> Self {
        Self { flight: Some(flight), seat, spare: !leads, leads, told: false }
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

    /// It goes, to do its own work alone.
    pub(crate) fn pass(&mut self, reason: PassReason) {
        self.told = true;
        self.flight().tell(Event::Passed { reason, waited: true });
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
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, mut spare: impl FnMut() -> Work<T>) -> Poll<Arrival<T>> {
        // A leader flies, as a rule, and needs no waker in its seat before it parks.
        let mut parks = self.spare.then(|| cx.waker().clone());
        loop {
            match self.flight().look(self.seat, self.spare, cx.waker(), parks.take()) {
                View::Fly(work) => return self.fly(work, cx),
                View::LeadAnew => {
                    (self.spare, self.leads) = (false, true);
                    self.board_anew(spare());
                }
                View::Landed(landed) => return Poll::Ready(Arrival { landed, flight: self.end() }),
                View::Wait { needs_task, .. } => {
                    if needs_task {
                        self.carry();
                    }
                    return Poll::Pending;
                }
                View::BringWaker => parks = Some(cx.waker().clone()),
                View::Crashed(message) => {
                    let flight = self.end();
                    self.tell(&flight, CallEnd::Panicked);
                    message.rethrow()
                }
                View::Stranded => {
                    let flight = self.end();
                    self.tell(&flight, CallEnd::Panicked);
                    panic!("{STRANDED}")
                }
            }
        }
    }

    /// Polls the work in place.
    fn fly(&mut self, work: Work<T>, cx: &mut Context<'_>) -> Poll<Arrival<T>> {
        let mut work = Some(work);
        match self.flight().step(&mut work, cx) {
            Step::Pending => self.park(work.expect("it is pending"), cx),
            Step::Ready(value, debris) => Poll::Ready(self.land(value, debris)),
            Step::Panicked(payload) => self.crash(payload),
        }
    }

    fn park(&mut self, work: Work<T>, cx: &Context<'_>) -> Poll<Arrival<T>> {
        if self.flight().park(self.seat, work, cx.waker().clone()) {
            carry(self.flight());
        }
        Poll::Pending
    }

    fn land(&mut self, value: T, mut debris: Debris) -> Arrival<T> {
        let flight = self.end();
        let landed = flight.land(value, Some(self.seat), &mut debris);
        if debris.holds_panic() {
            self.tell(&flight, CallEnd::Panicked);
        }
        let landed = debris.rethrow_or(landed).expect("a pilot gets its share at once");
        Arrival { landed, flight }
    }

    fn crash(&mut self, payload: Payload) -> ! {
        let flight = self.end();
        flight.crash(&payload);
        self.tell(&flight, CallEnd::Panicked);
        resume_unwind(payload)
    }

    /// Waits no more.
    fn end(&mut self) -> Arc<Flight<T>> {
        self.flight.take().expect(POLLED_AGAIN)
    }

    fn tell(&self, flight: &Flight<T>, how: CallEnd) {
        flight.tell(Event::CallOver { leads: self.leads, how });
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
        if !self.told {
            self.tell(&flight, CallEnd::Left);
        }
        debris.rethrow();
    }
}

impl<T: Send + Sync + 'static> fmt::Debug for Waiter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiter").field("waits", &self.flight.is_some()).field("spare", &self.spare).finish()
    }
}
