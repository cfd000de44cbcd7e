//! One caller's hold on a flight.

use crate::{
    core::flight::{Flight, Share, Step, View, step},
    core::lone::Home,
    core::reentry::{self, Lineage, Polled},
    core::seats::Seat,
    core::slots::Slot,
    core::task::carry,
    observe::{CallEnd, Event, Outcome, Work, spans_are_wanted},
    panics::{Debris, Payload},
    stats::{PassReason, VetoReason},
};
use std::{
    fmt, mem,
    panic::resume_unwind,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::time::Instant;

const STRANDED: &str = "tower-singleflight: the flight was lost before it landed (its runtime shut down, \
    or its task was aborted), and no waiter has a request left to lead it anew";

/// Leaves the flight when dropped.
pub(crate) struct Waiter<T: Send + Sync + 'static> {
    hold: Hold<T>,
    /// Whether the flight counts on this waiter's own work.
    spare: bool,
    /// Whether it brought the work of the flight.
    leads: bool,
    /// Whether it was told how this call ended.
    told: bool,
    /// As long as it is alone: whether the flight goes on without it.
    run_to_completion: bool,
    /// Whether it was polled.
    took_off: bool,
}

enum Hold<T> {
    /// It leads, and has not heard that anybody joined.
    Gate(Arc<dyn Home<T>>, Slot),
    Seat(Arc<Flight<T>>, Seat),
    /// It has its result.
    Nothing,
}

/// What a waiter gets when its flight has landed.
pub(crate) struct Arrival<T> {
    /// The value, if it is nobody else's. Else the flight has it.
    own: Option<T>,
    share: Share,
    source: Source<T>,
}

enum Source<T> {
    Alone(Arc<dyn Home<T>>),
    Flight(Arc<Flight<T>>),
}

impl<T: Send + Sync + 'static> Arrival<T> {
    pub(crate) fn leads(&self) -> bool {
        self.share.leads
    }

    /// Whether somebody joined the flight.
    pub(crate) fn is_shared(&self) -> bool {
        self.share.shared
    }

    pub(crate) fn get_ref(&self) -> &T {
        match (&self.own, &self.source) {
            (Some(value), _) => value,
            (None, Source::Flight(flight)) => flight.value(),
            (None, Source::Alone(_)) => unreachable!("who was alone has the value"),
        }
    }

    /// It is not for this follower, who `passes` now, or joins others who want the same.
    pub(crate) fn veto(&self, reason: VetoReason, passes: bool) {
        self.tell(Event::Vetoed { reason, passes });
    }

    /// It is not for this follower, who has no request left, and panics.
    pub(crate) fn waste(&self) {
        self.tell(Event::CallOver { leads: self.leads(), how: CallEnd::Panicked });
    }

    /// Clones the value, but for the last taker, who gets the original.
    pub(crate) fn take(self) -> T
    where
        T: Clone,
    {
        self.tell(Event::CallOver { leads: self.leads(), how: CallEnd::Landed });
        match (self.own, self.source) {
            (Some(value), Source::Alone(_)) => value,
            (Some(value), Source::Flight(flight)) => {
                // It may have the value of those who went on, and be the last to let go of it.
                let mut debris = Debris::default();
                debris.sweep(flight);
                debris.rethrow_or(value)
            }
            (None, Source::Flight(flight)) => flight.into_value(),
            (None, Source::Alone(_)) => unreachable!("who was alone has the value"),
        }
    }

    fn tell(&self, event: Event) {
        match &self.source {
            Source::Alone(home) => home.tell(event),
            Source::Flight(flight) => flight.tell(event),
        }
    }
}

impl<T: Send + Sync + 'static> Waiter<T> {
    /// Of a flight that it opened at `gate`.
    pub(crate) fn lead(home: Arc<dyn Home<T>>, gate: Slot, run_to_completion: bool) -> Self {
        home.tell(Event::Led);
        Self {
            hold: Hold::Gate(home, gate),
            spare: false,
            leads: true,
            told: false,
            run_to_completion,
            took_off: false,
        }
    }

    /// Of a flight that another opened. `leads_anew`: it has to `board_anew`.
    pub(crate) fn join(flight: Arc<Flight<T>>, seat: Seat, leads_anew: bool) -> Self {
        flight.tell(Event::Joined);
        let hold = Hold::Seat(flight, seat);
        Self { hold, spare: !leads_anew, leads: leads_anew, told: false, run_to_completion: false, took_off: true }
    }

    /// Boards the work of a flight that was lost.
    pub(crate) fn board_anew(&self, work: Work<T>) {
        let flight = self.flight();
        flight.adopt(Lineage::here());
        if flight.board(work) {
            carry(flight);
        }
    }

    /// Moves the work to a task, whether or not somebody has joined.
    pub(crate) fn carry(&mut self) -> bool {
        self.open();
        carry(self.flight())
    }

    /// Makes a flight of one that is alone.
    fn open(&mut self) {
        if let Hold::Gate(home, gate) = &self.hold {
            home.clone().open(*gate);
            let left = home.at(*gate, &mut |_| {});
            self.hear(left);
        }
    }

    /// That others joined, if they did: it is the flight that it led.
    fn hear(&mut self, left: Option<Arc<Flight<T>>>) {
        if let Some(flight) = left {
            self.hold = Hold::Seat(flight, Seat::FIRST);
        }
    }

    /// Gives this waiter's own work to the flight, which does it in a task of this runtime should it be lost, though
    /// nobody polls this waiter. Given back if the flight has such work already.
    pub(crate) fn entrust(&mut self, work: Work<T>) -> Option<Work<T>> {
        let (flight, seat) = self.seated();
        let refused = flight.entrust(seat, work);
        self.spare = refused.is_some();
        refused
    }

    /// Takes back what it entrusted, if the flight did not need it so far.
    pub(crate) fn reclaim(&mut self) -> Option<Work<T>> {
        let (flight, seat) = self.seated();
        let work = flight.reclaim(seat)?;
        self.spare = true;
        Some(work)
    }

    /// It goes, to do its own work alone.
    pub(crate) fn pass(&mut self, reason: PassReason) {
        self.told = true;
        self.flight().tell(Event::Passed { reason, waited: true });
    }

    /// It goes, to a newer flight than this.
    pub(crate) fn time_out(&mut self) {
        self.told = true;
        self.flight().tell(Event::TimedOut);
    }

    /// It is a follower, polled inside the flight that it waits for.
    pub(crate) fn is_inside(&self) -> bool {
        !self.leads && matches!(&self.hold, Hold::Seat(flight, _) if Lineage::here().contains(flight))
    }

    /// The result, once the flight has landed. `spare` is this waiter's own work, which is taken if the
    /// flight was lost and this waiter leads it anew.
    ///
    /// # Panics
    ///
    /// With what the work panicked with, or when the flight is lost and nobody can lead it anew.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut spare: impl FnMut(Option<Instant>) -> Work<T>,
    ) -> Poll<Arrival<T>> {
        if let Some(polled) = self.poll_alone(cx) {
            return polled;
        }
        let (flight, seat) = self.seated();
        // A leader may have a result set aside, which only the flight's lock tells.
        if let Some(share) = flight.share(seat).filter(|_| !self.leads) {
            return Poll::Ready(self.arrive(None, share));
        }
        // A leader flies, as a rule, and needs no waker in its seat before it parks.
        let mut parks = self.spare.then(|| cx.waker().clone());
        loop {
            let (flight, seat) = self.seated();
            match flight.look(seat, self.spare, cx.waker(), &mut parks) {
                View::Fly(work) => {
                    if let Some(polled) = self.fly(work, cx) {
                        return polled;
                    }
                }
                View::LeadAnew => {
                    (self.spare, self.leads) = (false, true);
                    self.board_anew(spare(Some(Instant::now())));
                }
                View::Landed(share) => {
                    // Were it to panic as it is dropped at the end of this function, the arrival would be leaked.
                    drop(parks.take());
                    return Poll::Ready(self.arrive(None, share));
                }
                View::SetAside(value) => {
                    let (mut debris, arrival) = (Debris::default(), self.arrive(Some(value), Share::SET_ASIDE));
                    debris.sweep(parks.take());
                    return Poll::Ready(debris.rethrow_or(arrival));
                }
                View::Wait { needs_task } => {
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

    /// Polls the work in place, if nobody has joined.
    fn poll_alone(&mut self, cx: &mut Context<'_>) -> Option<Poll<Arrival<T>>> {
        if !mem::replace(&mut self.took_off, true) && spans_are_wanted() {
            self.open();
        }
        let Hold::Gate(home, gate) = &self.hold else { return None };
        let mut work = None;
        let left = home.at(*gate, &mut |lone| work = lone.work.take());
        if left.is_some() {
            self.hear(left);
            return None;
        }
        work.as_mut().expect(WORK_IS_GONE).take_off_unseen();
        Some(match self.step_alone(&mut work, cx) {
            Step::Pending => self.park(work.expect("it is pending"), cx),
            Step::Ready(value, debris) => Poll::Ready(self.land(value, debris)?),
            Step::Panicked(payload) => self.crash(payload),
        })
    }

    fn step_alone(&mut self, work: &mut Option<Work<T>>, cx: &mut Context<'_>) -> Step<T> {
        let Hold::Gate(home, gate) = mem::replace(&mut self.hold, Hold::Nothing) else { unreachable!("it is alone") };
        // Lent, for a clone would cost every call two locked operations.
        let entered = reentry::enter(Polled::Lone(home.as_gates(), gate));
        let stepped = step(work, cx);
        let mut home: Option<Arc<dyn Home<T>>> = None;
        if let Some(Polled::Lone(gates, _)) = entered.leave() {
            gates.give_back(&mut home);
        }
        self.hold = Hold::Gate(home.expect("it is what was lent"), gate);
        stepped
    }

    /// Polls the work in place. `None`: the flight goes on without the result.
    fn fly(&mut self, work: Work<T>, cx: &mut Context<'_>) -> Option<Poll<Arrival<T>>> {
        let mut work = Some(work);
        Some(match self.flight().step(&mut work, cx) {
            Step::Pending => self.park(work.expect("it is pending"), cx),
            Step::Ready(value, debris) => Poll::Ready(self.land(value, debris)?),
            Step::Panicked(payload) => self.crash(payload),
        })
    }

    fn park(&mut self, work: Work<T>, cx: &Context<'_>) -> Poll<Arrival<T>> {
        let mut parks = Some((work, cx.waker().clone()));
        if let Hold::Gate(home, gate) = &self.hold {
            let mut had = None;
            let left = home.at(*gate, &mut |lone| {
                if let Some((work, waker)) = parks.take() {
                    lone.work = Some(work);
                    had = lone.waker.replace(waker);
                }
            });
            self.hear(left);
        }
        if let Some((work, waker)) = parks {
            let (flight, seat) = self.seated();
            if flight.park(seat, work, waker) {
                carry(flight);
            }
        }
        Poll::Pending
    }

    /// `None`: the result was not for this waiter, which goes on with the other followers.
    fn land(&mut self, value: T, mut debris: Debris) -> Option<Arrival<T>> {
        let arrival = match self.end_alone(Outcome::Landed, &mut debris) {
            Some(home) => {
                let share = Share { shared: false, leads: true };
                Some(Arrival { own: Some(value), share, source: Source::Alone(home) })
            }
            None => {
                let (flight, seat) = self.seated();
                let landed = flight.land(value, seat, &mut debris);
                landed.map(|landed| self.arrive(landed.own, landed.share))
            }
        };
        if let Some(arrival) = arrival.as_ref().filter(|_| debris.holds_panic()) {
            arrival.tell(Event::CallOver { leads: self.leads, how: CallEnd::Panicked });
        }
        debris.rethrow_or(arrival)
    }

    fn crash(&mut self, payload: Payload) -> ! {
        let (mut debris, over) = (Debris::default(), Event::CallOver { leads: self.leads, how: CallEnd::Panicked });
        if let Some(home) = self.end_alone(Outcome::Panicked, &mut debris) {
            home.tell(over);
        } else {
            let flight = self.end();
            flight.crash(&payload);
            flight.tell(over);
        }
        debris.swallow();
        resume_unwind(payload)
    }

    /// Ends a flight that is alone still, and waits no more.
    fn end_alone(&mut self, outcome: Outcome, debris: &mut Debris) -> Option<Arc<dyn Home<T>>> {
        match mem::replace(&mut self.hold, Hold::Nothing) {
            Hold::Gate(home, gate) => match home.end(gate, outcome, debris) {
                None => return Some(home),
                left => self.hear(left),
            },
            other => self.hold = other,
        }
        None
    }

    /// `own`: the value, if it is nobody else's.
    fn arrive(&mut self, own: Option<T>, share: Share) -> Arrival<T> {
        Arrival { own, share, source: Source::Flight(self.end()) }
    }

    /// Waits no more.
    fn end(&mut self) -> Arc<Flight<T>> {
        match mem::replace(&mut self.hold, Hold::Nothing) {
            Hold::Seat(flight, _) => flight,
            _ => panic!("{POLLED_AGAIN}"),
        }
    }

    fn tell(&self, flight: &Flight<T>, how: CallEnd) {
        flight.tell(Event::CallOver { leads: self.leads, how });
    }

    fn seated(&self) -> (&Arc<Flight<T>>, Seat) {
        match &self.hold {
            Hold::Seat(flight, seat) => (flight, *seat),
            _ => panic!("{POLLED_AGAIN}"),
        }
    }

    /// Call it as long as it waits in a flight that others joined.
    pub(crate) fn flight(&self) -> &Arc<Flight<T>> {
        self.seated().0
    }
}

const WORK_IS_GONE: &str = "tower-singleflight: polled after its waker had panicked, which took the work with it";
const POLLED_AGAIN: &str = "tower-singleflight: polled after it was ready";

impl<T: Send + Sync + 'static> Drop for Waiter<T> {
    fn drop(&mut self) {
        if let Hold::Nothing = self.hold {
            return;
        }
        if self.run_to_completion && matches!(self.hold, Hold::Gate(..)) {
            self.open();
        }
        let mut debris = Debris::default();
        if let Some(home) = self.end_alone(Outcome::Cancelled, &mut debris) {
            home.tell(Event::Left);
            home.tell(Event::CallOver { leads: true, how: CallEnd::Left });
        } else {
            let (_, seat) = self.seated();
            let flight = self.end();
            if flight.leave(seat, self.spare, &mut debris) && !carry(&flight) {
                flight.cancel_if_deserted(&mut debris);
            }
            if !self.told {
                self.tell(&flight, CallEnd::Left);
            }
            debris.sweep(flight);
        }
        debris.rethrow();
    }
}

impl<T: Send + Sync + 'static> fmt::Debug for Waiter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiter")
            .field("waits", &!matches!(self.hold, Hold::Nothing))
            .field("spare", &self.spare)
            .finish()
    }
}
