//! One caller's hold on a flight.

use crate::{
    core::{
        drive::Polled,
        flight::{After, End, Joined, Landed, Left, NextStep, SharedEnd},
        reentry::{self, Ancestors, FlightNumber},
        seats::Seat,
        slot::{ErasedShard, Slot},
        task,
    },
    observe::{CallEnd, Event, Work},
    panics::{CaughtPanic, Message, Payload},
    stats::{PassReason, VetoReason},
    sync::Runtime,
};
use std::{
    panic::resume_unwind,
    sync::Arc,
    task::{Context, Poll, Waker},
};
use tokio::time::Instant;

const LOST: &str = "tower-singleflight: the flight was lost before it landed (its runtime shut \
    down, or its task was aborted), and no waiter has a request left to lead it anew";
const POLLED_AGAIN: &str = "tower-singleflight: polled after it was ready";

/// Leaves the flight when dropped.
pub(crate) struct Waiter<T: Send + Sync + 'static> {
    /// Until the waiter has its result.
    slot: Option<Slot<T>>,
    seat: Seat,
    /// Where a joiner reads how the flight ended.
    end: Option<SharedEnd<T>>,
    /// Whether the flight counts on this waiter's own work.
    has_own_work: bool,
    /// Whether it brought the work of the flight.
    leads: bool,
    /// Whether the end of this call was told.
    told: bool,
}

/// What a waiter gets when its flight has landed.
pub(crate) struct Arrival<T> {
    value: Value<T>,
    was_joined: bool,
    leads: bool,
    shard: Arc<dyn ErasedShard<T>>,
}

enum Value<T> {
    Own(T),
    /// Other waiters may want it as well.
    Shared(SharedEnd<T>),
}

impl<T: Send + Sync + 'static> Waiter<T> {
    /// Waits for a flight that it opened.
    pub(crate) fn lead(slot: Slot<T>) -> Self {
        slot.shard().tell(Event::Led);
        Self {
            slot: Some(slot),
            seat: Seat::OPENER,
            end: None,
            has_own_work: false,
            leads: true,
            told: false,
        }
    }

    /// Waits for a flight that another waiter opened.
    pub(crate) fn join(slot: Slot<T>, Joined { seat, end, leads }: Joined<T>) -> Self {
        slot.shard().tell(Event::Joined);
        Self { slot: Some(slot), seat, end: Some(end), has_own_work: !leads, leads, told: false }
    }

    /// Brings the work of a flight that was lost, and that this waiter leads now.
    pub(crate) fn lead_again(&mut self, work: Work<T>) {
        (self.has_own_work, self.leads) = (false, true);
        let here = Ancestors::here();
        let (earlier, runtime) =
            self.slot().with(|flight| flight.bring_work(work, &here)).expect(DRIVEN);
        self.spawn_task(runtime);
        drop(earlier);
    }

    /// Moves the work to a task, whether or not another waiter has joined.
    pub(crate) fn move_to_task(&self) {
        let runtime = self.slot().with(|flight| flight.claim_task());
        self.spawn_task(runtime.flatten());
    }

    /// Spawns the task that a transition has claimed.
    pub(crate) fn spawn_task(&self, runtime: Option<Runtime>) {
        if let Some(runtime) = runtime {
            task::spawn(&runtime, self.slot().clone());
        }
    }

    /// Goes, to do its own work alone.
    pub(crate) fn pass(&mut self, reason: PassReason) {
        self.told = true;
        self.slot().shard().tell(Event::Passed { reason, waited: true });
    }

    /// Goes, to a newer flight than this.
    pub(crate) fn time_out(&mut self) {
        self.told = true;
        self.slot().shard().tell(Event::TimedOut);
    }

    /// Whether it is a follower that is polled inside the flight for which it waits.
    pub(crate) fn is_inside(&self) -> bool {
        !self.leads && self.slot.as_ref().is_some_and(|slot| reentry::is_inside(slot.number()))
    }

    /// The number of the flight for which it waits.
    pub(crate) fn number(&self) -> FlightNumber {
        self.slot().number()
    }

    /// The result, once the flight has landed. `own_work` is taken if the flight was lost and this
    /// waiter leads it again.
    ///
    /// # Panics
    ///
    /// With the panic of the work, or when the flight is lost and no waiter can lead it again.
    #[inline]
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut own_work: impl FnMut(Option<Instant>) -> Work<T>,
    ) -> Poll<Arrival<T>> {
        if let Some(end) = self.readable_end() {
            return Poll::Ready(self.arrive(end));
        }
        // A leader drives, as a rule, and needs no waker in its seat before it parks.
        let mut parks = self.has_own_work.then(|| cx.waker().clone());
        loop {
            match self.look(cx.waker(), &mut parks) {
                NextStep::Poll(work, ancestors) => {
                    if let Some(polled) = self.drive(work, &ancestors, cx) {
                        return polled;
                    }
                }
                NextStep::LeadAgain => {
                    let work = own_work(Some(Instant::now()));
                    self.lead_again(work);
                }
                NextStep::SetAside => {
                    drop(parks.take());
                    let value = self
                        .slot()
                        .update(|flight| (flight.take_aside(self.seat), After::Nothing))
                        .flatten();
                    let value = value.expect("only this waiter takes it");
                    let shard = self.leave_slot();
                    return Poll::Ready(Arrival {
                        value: Value::Own(value),
                        was_joined: true,
                        leads: true,
                        shard,
                    });
                }
                NextStep::Ended(end) => {
                    drop(parks.take());
                    let end = self
                        .end
                        .take()
                        .or(end)
                        .expect("joiners have one, and the opener finds one");
                    return Poll::Ready(self.arrive(end));
                }
                NextStep::Wait(runtime) => {
                    self.spawn_task(runtime);
                    return Poll::Pending;
                }
                NextStep::BringWaker => parks = Some(cx.waker().clone()),
            }
        }
    }

    /// How the flight ended, if that can be read without the lock. A leader's result may be set
    /// aside, which only the lock tells.
    fn readable_end(&mut self) -> Option<SharedEnd<T>> {
        self.end.take_if(|end| !self.leads && end.get().is_some())
    }

    #[inline]
    fn look(&mut self, waker: &Waker, parks: &mut Option<Waker>) -> NextStep<T> {
        let turn =
            self.slot().with(|flight| flight.look(self.seat, self.has_own_work, waker, parks));
        turn.unwrap_or(NextStep::Ended(None))
    }

    /// Polls the work in place. `None`: the flight goes on without the result, and this waiter with
    /// it.
    #[inline]
    fn drive(
        &mut self,
        work: Work<T>,
        ancestors: &Ancestors,
        cx: &mut Context<'_>,
    ) -> Option<Poll<Arrival<T>>> {
        match self.slot().poll_work(work, ancestors, cx) {
            Polled::Pending(work) => {
                self.park(work, cx);
                Some(Poll::Pending)
            }
            Polled::Ready(value, late) => self.land(value, late).map(Poll::Ready),
            Polled::Panicked(payload) => self.fail(payload),
        }
    }

    fn park(&mut self, work: Work<T>, cx: &Context<'_>) {
        let waker = cx.waker().clone();
        let parked = self.slot().with(|flight| flight.park(self.seat, work, waker));
        let (earlier, runtime) = parked.expect(DRIVEN);
        self.spawn_task(runtime);
        drop(earlier);
    }

    /// `late`: the panic of the work's drop, if it had one.
    #[inline]
    fn land(&mut self, value: T, late: CaughtPanic) -> Option<Arrival<T>> {
        let slot = self.slot();
        let setback = slot.shard().setback(&value);
        let landed =
            slot.update(|flight| flight.land(value, Some(self.seat), setback)).expect(DRIVEN);
        let arrival = match landed {
            Landed::Own { value, was_joined, leads, waker } => {
                let shard = self.leave_slot();
                drop(waker);
                Some(Arrival { value: Value::Own(value), was_joined, leads, shard })
            }
            Landed::Shared(end) => Some(self.arrive(end)),
            Landed::ForOthers | Landed::SetAside | Landed::Unwanted(_) => None,
        };
        if late.is_some() { self.land_and_panic(arrival, late) } else { arrival }
    }

    #[cold]
    fn land_and_panic(&self, arrival: Option<Arrival<T>>, late: CaughtPanic) -> ! {
        if let Some(Arrival { shard, .. }) = &arrival {
            shard.tell(Event::CallOver { leads: self.leads, how: CallEnd::Panicked });
        }
        drop(arrival);
        late.resume();
        unreachable!("it holds a panic")
    }

    #[cold]
    fn fail(&mut self, payload: Payload) -> ! {
        let (message, mut caught) = (Message::of(&payload), CaughtPanic::default());
        caught.run(|| {
            self.slot().update(|flight| ((), flight.panicked(message, Some(self.seat))));
        });
        caught.forget();
        self.leave_slot().tell(Event::CallOver { leads: self.leads, how: CallEnd::Panicked });
        resume_unwind(payload)
    }

    /// Reads how the flight ended.
    fn arrive(&mut self, end: SharedEnd<T>) -> Arrival<T> {
        if self.seat == Seat::OPENER {
            self.slot().update(|flight| (flight.vacate(self.seat), After::Nothing));
        }
        let shard = self.leave_slot();
        let over = Event::CallOver { leads: self.leads, how: CallEnd::Panicked };
        match end.get().expect("it has ended") {
            End::Landed { was_joined, leader, .. } => {
                let (was_joined, leads) = (*was_joined, *leader == Some(self.seat));
                Arrival { value: Value::Shared(end), was_joined, leads, shard }
            }
            End::Panicked(message) => {
                shard.tell(over);
                message.clone().rethrow()
            }
            End::Lost => {
                shard.tell(over);
                panic!("{LOST}")
            }
        }
    }

    fn slot(&self) -> &Slot<T> {
        self.slot.as_ref().expect(POLLED_AGAIN)
    }

    /// Waits no more.
    fn leave_slot(&mut self) -> Arc<dyn ErasedShard<T>> {
        self.end = None;
        self.slot.take().expect(POLLED_AGAIN).into_shard()
    }
}

const DRIVEN: &str = "a flight does not end while a waiter drives it";

impl<T: Send + Sync + 'static> Drop for Waiter<T> {
    /// Leaves the flight first, and drops the values of the user last: their drop may panic.
    fn drop(&mut self) {
        let Some(slot) = self.slot.take() else { return };
        let (mut left, mut caught) = (None, CaughtPanic::default());
        caught.run(|| {
            slot.update(|flight| {
                let (waker, told, after) = flight.leave(self.seat, self.has_own_work);
                left = Some((waker, told));
                ((), after)
            });
        });
        // Else its own poll ended the flight, and panicked after that.
        let how =
            if left.is_some() || self.end.is_some() { CallEnd::Left } else { CallEnd::Panicked };
        let (_waker, left) = left.unwrap_or_else(|| (None, Left::Ended(self.end.take())));
        if matches!(left, Left::Nothing | Left::Work(_) | Left::Spawn(_)) {
            slot.shard().tell(Event::Left);
        }
        if !self.told {
            slot.shard().tell(Event::CallOver { leads: self.leads, how });
        }
        match left {
            Left::Spawn(runtime) => task::spawn(&runtime, slot),
            Left::Ended(Some(end)) => {
                if let Some(End::Landed { value, leader, .. }) = end.get() {
                    if *leader == Some(self.seat) {
                        slot.shard().on_leader_gone(value);
                    }
                }
            }
            Left::Nothing | Left::Work(_) | Left::Value(_) | Left::Ended(None) => {}
        }
        caught.resume();
    }
}

impl<T: Send + Sync + 'static> Arrival<T> {
    pub(crate) fn leads(&self) -> bool {
        self.leads
    }

    /// Whether another waiter joined the flight.
    pub(crate) fn is_shared(&self) -> bool {
        self.was_joined
    }

    pub(crate) fn get_ref(&self) -> &T {
        match &self.value {
            Value::Own(value) => value,
            Value::Shared(end) => end.value().expect(LANDED),
        }
    }

    /// The result is not for this follower, who `passes` now, or joins others who want the same.
    pub(crate) fn veto(&self, reason: VetoReason, passes: bool) {
        self.shard.tell(Event::Vetoed { reason, passes });
    }

    /// The result is not for this follower, who has no request left, and panics.
    pub(crate) fn waste(&self) {
        self.shard.tell(Event::CallOver { leads: self.leads, how: CallEnd::Panicked });
    }

    /// Clones the value, but for the last taker, who gets the original.
    #[inline]
    pub(crate) fn take(self) -> T
    where
        T: Clone,
    {
        self.shard.tell(Event::CallOver { leads: self.leads, how: CallEnd::Landed });
        match self.value {
            Value::Own(value) => value,
            Value::Shared(end) => take(end),
        }
    }
}

const LANDED: &str = "it has landed";

fn take<T: Clone>(end: SharedEnd<T>) -> T {
    let end = match Arc::strong_count(&end) {
        1 => Arc::try_unwrap(end),
        _ => Err(end),
    };
    match end {
        Ok(end) => match end.into_inner() {
            Some(End::Landed { value, .. }) => value,
            _ => unreachable!("{LANDED}"),
        },
        Err(end) => {
            let value = end.value().expect(LANDED).clone();
            // This may be the last reference. It is dropped before the return: a panic after it
            // would leak the clone.
            drop(end);
            value
        }
    }
}
