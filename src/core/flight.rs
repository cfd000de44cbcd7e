//! A flight as plain data, and its transitions: no lock, no user code.

mod end;
#[cfg(test)]
mod tests;

pub(crate) use end::{Landed, Left};

use crate::{
    core::{
        hold::{Hold, HoldTimer},
        reentry::{Ancestors, FlightNumber},
        rules::{Rounds, Rules},
        seats::{Seat, Seats, Wakers},
    },
    observe::{Caller, Ending, FlightSpan, Link, Work},
    panics::Message,
    stats::NearMiss,
    sync::{Once, Runtime, current_runtime},
};
use std::{mem, sync::Arc, task::Waker, time::Duration};
use tokio::time::Instant;

/// Invariants:
///
/// 1. The work is in `Stage::Parked`, or in the hands of the driver (`Stage::Polling`). It is
///    polled and dropped under no lock.
/// 2. Only the driver takes the work out. A waiter drives it, until `claim_task` makes a task the
///    driver.
/// 3. A waiter that drives and parks leaves its waker in its seat, so that it is woken when a task
///    ends the flight.
/// 4. `waiters` counts who waits for a result. It is 0 when the flight has ended.
/// 5. The flight keeps its slot in the shard until it has ended, its opener has gone, and
///    `set_aside` is empty. So the opener needs nothing but the slot: it does not hear of joiners
///    before it is polled.
/// 6. Joiners also hold `end`, which the first of them makes, and read it without a lock.
/// 7. After a setback the flight is lost to its followers, who lead it again, and its leader counts
///    no more. The leader's result is in `set_aside` until it takes it, and its seat stays taken
///    for as long.
/// 8. While its result is held, the flight has ended, is listed, and keeps its slot.
pub(crate) struct Flight<T> {
    number: FlightNumber,
    stage: Stage<T>,
    driver: Driver,
    /// The waiter whose own work this is.
    leader: Option<Seat>,
    seats: Seats,
    waiters: u32,
    /// How many waiters still have work of their own.
    own_works: u32,
    run_to_completion: bool,
    moves_to_task: bool,
    /// Whether anybody has joined the leader.
    was_joined: bool,
    rounds: Rounds,
    /// Boxed, because most flights have none.
    hold: Option<Box<Hold>>,
    opened: Option<Instant>,
    runtime: Option<Runtime>,
    ancestors: Ancestors,
    end: Option<SharedEnd<T>>,
    set_aside: Vec<(Seat, T)>,
    task: Option<Waker>,
    span: FlightSpan,
}

/// How a flight ended, if it has. Shared by the flight and its waiters, who read it without a lock.
pub(crate) type SharedEnd<T> = Arc<Once<End<T>>>;

pub(crate) enum End<T> {
    Landed {
        value: T,
        was_joined: bool,
        leader: Option<Seat>,
    },
    Panicked(Message),
    /// The flight was lost, and no waiter had work left.
    Lost,
}

impl<T> Once<End<T>> {
    /// The result, if the flight landed.
    pub(crate) fn value(&self) -> Option<&T> {
        match self.get()? {
            End::Landed { value, .. } => Some(value),
            End::Panicked(_) | End::Lost => None,
        }
    }
}

enum Stage<T> {
    Parked(Work<T>),
    Polling,
    /// The work is gone without a result, and a waiter may bring its own.
    Lost,
    Ended,
}

#[derive(Clone, Copy, PartialEq)]
enum Driver {
    Nobody,
    Waiter(Seat),
    Task,
}

/// The work that a transition leaves for the time after the lock.
pub(crate) enum After<T> {
    Nothing,
    Tell(Ending),
    Wake(Option<Ending>, Wakers),
    /// The flight ended with company. Boxed, so that a lone flight does not move it about.
    End(Box<AfterEnd<T>>),
}

/// The work that the end of a shared flight leaves.
pub(crate) struct AfterEnd<T> {
    pub(crate) ending: Ending,
    /// Dropped before any waiter is woken, so that the last one finds itself alone with the result.
    pub(crate) end: SharedEnd<T>,
    /// Set before the lock is gone, and after all is counted: a joiner reads it without the lock.
    pub(crate) result: Option<End<T>>,
    /// Whether the leader has gone, while others have yet to look at the result.
    pub(crate) is_leaderless: bool,
    pub(crate) wakers: Wakers,
    /// Set if the result is held.
    pub(crate) timer: Option<HoldTimer>,
}

/// What a joiner finds.
pub(crate) enum Joining<T> {
    Joined(Joined<T>, Link, Option<Runtime>),
    LeadAgain(Joined<T>),
    /// The flight has landed, and its result is held.
    Held(SharedEnd<T>),
    /// The call comes from inside this flight.
    Inside,
    /// The flight takes no more joiners: why, if it is known.
    Closed(Option<NearMiss>),
}

/// What a joiner gets: its seat, and where it reads how the flight ended.
pub(crate) struct Joined<T> {
    pub(crate) seat: Seat,
    pub(crate) end: SharedEnd<T>,
    /// Whether it leads a flight that was lost, and has to bring its work.
    pub(crate) leads: bool,
}

/// What a waiter can do when it is polled.
pub(crate) enum NextStep<T> {
    /// Poll the work: the waiter drives it.
    Poll(Work<T>, Ancestors),
    /// Bring its own work: the flight was lost.
    LeadAgain,
    /// Take its result, which is set aside: its followers went on without it.
    SetAside,
    /// Read how the flight ended: there, if it is the opener.
    Ended(Option<SharedEnd<T>>),
    /// Wait: its waker is parked. The work moves to a task of this runtime, if there is one.
    Wait(Option<Runtime>),
    /// Look again, with a waker to park.
    BringWaker,
}

impl<T> Flight<T> {
    /// A flight that its leader opens.
    #[inline(always)]
    pub(crate) fn new(
        number: FlightNumber,
        work: Work<T>,
        rules: &Rules,
        ancestors: Ancestors,
        opened: Option<Instant>,
    ) -> Self {
        Self {
            number,
            stage: Stage::Parked(work),
            driver: Driver::Waiter(Seat::OPENER),
            leader: Some(Seat::OPENER),
            seats: Seats::with_opener(),
            waiters: 1,
            own_works: 0,
            run_to_completion: rules.run_to_completion,
            moves_to_task: rules.moves_to_task,
            was_joined: false,
            rounds: rules.rounds,
            hold: rules.holds_for().map(Hold::boxed),
            opened,
            runtime: current_runtime(),
            ancestors,
            end: None,
            set_aside: Vec::new(),
            task: None,
            span: FlightSpan::default(),
        }
    }

    pub(crate) fn number(&self) -> FlightNumber {
        self.number
    }

    pub(crate) fn waiters(&self) -> usize {
        self.waiters as usize
    }

    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.stage, Stage::Ended)
    }

    /// Whether its slot is free for another flight.
    pub(crate) fn frees_slot(&self) -> bool {
        self.has_ended() && !self.seats.has_opener() && self.set_aside.is_empty() && !self.is_held()
    }

    /// Takes the joiner, if the rules let it in. `here` are the flights around the code that joins.
    pub(crate) fn join(
        &mut self,
        rules: &Rules,
        here: &Ancestors,
        caller: &mut Caller,
    ) -> Joining<T> {
        if self.has_ended() {
            return self.take_held(rules);
        }
        if here.contains(self.number) {
            return Joining::Inside;
        }
        if let Some(why) = self.refuses_joiner(rules) {
            return Joining::Closed(Some(why));
        }
        let leads = matches!(self.stage, Stage::Lost);
        let joined =
            Joined { seat: self.seats.sit(), end: self.end.get_or_insert_default().clone(), leads };
        self.waiters += 1;
        self.was_joined = true;
        self.run_to_completion |= rules.run_to_completion;
        if leads {
            self.lead_again(joined.seat);
            return Joining::LeadAgain(joined);
        }
        self.own_works += 1;
        let is_polled = match &self.stage {
            Stage::Parked(work) => work.was_polled(),
            Stage::Polling | Stage::Lost | Stage::Ended => true,
        };
        Joining::Joined(joined, self.span.join(caller, is_polled), self.claim_task())
    }

    fn refuses_joiner(&self, rules: &Rules) -> Option<NearMiss> {
        if self.waiters() >= rules.max_waiters {
            Some(NearMiss::Full)
        } else if !self.is_young(rules.join_within) {
            Some(NearMiss::TooOld)
        } else {
            None
        }
    }

    fn is_young(&self, join_within: Option<Duration>) -> bool {
        // A flight of unknown age counts as too old.
        join_within.is_none_or(|limit| self.opened.is_some_and(|opened| opened.elapsed() < limit))
    }

    /// The waiter in `seat` leads, and has to bring its work.
    fn lead_again(&mut self, seat: Seat) {
        self.stage = Stage::Polling;
        self.driver = Driver::Waiter(seat);
        self.leader = Some(seat);
        self.was_joined = self.waiters > 1;
        self.opened = Some(Instant::now());
    }

    /// The new leader brings its work. `here` are the flights around it, which now wait for this
    /// one as well. Gives the earlier runtime back, to be dropped, and the runtime to whose task
    /// the work moves.
    #[must_use]
    pub(crate) fn bring_work(
        &mut self,
        work: Work<T>,
        here: &Ancestors,
    ) -> (Option<Runtime>, Option<Runtime>) {
        self.ancestors = mem::take(&mut self.ancestors).and(here);
        let earlier = mem::replace(&mut self.runtime, current_runtime());
        self.stage = Stage::Parked(work);
        (earlier, self.claim_task_if_needed())
    }

    /// What the waiter in `seat` can do now. `parks` is the waker to leave in its seat; it holds
    /// the earlier one afterwards.
    #[inline]
    pub(crate) fn look(
        &mut self,
        seat: Seat,
        has_own_work: bool,
        waker: &Waker,
        parks: &mut Option<Waker>,
    ) -> NextStep<T> {
        if self.has_set_aside(seat) {
            return NextStep::SetAside;
        }
        match mem::replace(&mut self.stage, Stage::Polling) {
            Stage::Parked(work) if self.may_drive(seat) => {
                self.driver = Driver::Waiter(seat);
                return NextStep::Poll(work, self.ancestors.clone());
            }
            unchanged => self.stage = unchanged,
        }
        self.look_as_passenger(seat, has_own_work, waker, parks)
    }

    #[inline(never)]
    fn look_as_passenger(
        &mut self,
        seat: Seat,
        has_own_work: bool,
        waker: &Waker,
        parks: &mut Option<Waker>,
    ) -> NextStep<T> {
        if self.has_ended() {
            return NextStep::Ended(self.end.clone());
        }
        if matches!(self.stage, Stage::Lost) && has_own_work {
            self.own_works -= 1;
            self.lead_again(seat);
            return NextStep::LeadAgain;
        }
        let is_driven_here =
            matches!(self.stage, Stage::Polling) && self.driver == Driver::Waiter(seat);
        assert!(
            !is_driven_here,
            "tower-singleflight: polled after its waker had panicked, which took the work with it"
        );
        if !self.seats.has_parked(seat, waker) {
            let Some(waker) = parks.take() else { return NextStep::BringWaker };
            *parks = self.seats.park(seat, waker);
        }
        NextStep::Wait(self.claim_task())
    }

    fn may_drive(&self, seat: Seat) -> bool {
        self.driver == Driver::Waiter(seat) || self.driver == Driver::Nobody
    }

    /// The driver in `seat` polled the work, which is pending. Gives the earlier waker back, and
    /// the runtime to whose task the work moves.
    #[inline]
    #[must_use]
    pub(crate) fn park(
        &mut self,
        seat: Seat,
        work: Work<T>,
        waker: Waker,
    ) -> (Option<Waker>, Option<Runtime>) {
        debug_assert!(matches!(self.stage, Stage::Polling), "only the driver has the work");
        self.stage = Stage::Parked(work);
        (self.seats.park(seat, waker), self.claim_task_if_needed())
    }

    /// Also if the joiner has left meanwhile: it may have asked for the flight to be finished.
    #[inline]
    fn claim_task_if_needed(&mut self) -> Option<Runtime> {
        if self.was_joined || self.moves_to_task { self.claim_task() } else { None }
    }

    /// Makes a task the driver: a task of the runtime that is returned. While the work is polled,
    /// this only notes the runtime of the caller, if there was none: the driver claims a task when
    /// it parks.
    pub(crate) fn claim_task(&mut self) -> Option<Runtime> {
        if self.driver == Driver::Task || matches!(self.stage, Stage::Lost | Stage::Ended) {
            return None;
        }
        self.runtime = self.runtime.take().or_else(current_runtime);
        if matches!(self.stage, Stage::Polling) {
            return None;
        }
        let runtime = self.runtime.take()?;
        self.driver = Driver::Task;
        self.end.get_or_insert_default();
        Some(runtime)
    }

    /// For the task: the work, or `None` if there is nothing left to do. `parks`: the waker that
    /// ends the task early, for which the earlier one is given back.
    pub(crate) fn take_work(&mut self, parks: &mut Option<Waker>) -> Option<(Work<T>, Ancestors)> {
        if let Some(waker) = parks.take() {
            *parks = self.task.replace(waker);
        }
        match mem::replace(&mut self.stage, Stage::Polling) {
            Stage::Parked(work) => Some((work, self.ancestors.clone())),
            unchanged => {
                self.stage = unchanged;
                None
            }
        }
    }

    /// The task polled the work, which is pending. Gives it back if all waiters have left
    /// meanwhile.
    #[must_use]
    pub(crate) fn return_work(&mut self, work: Work<T>) -> Option<Work<T>> {
        if !matches!(self.stage, Stage::Polling) {
            return Some(work);
        }
        self.stage = Stage::Parked(work);
        None
    }

    /// The span of the flight is open. Gives back the earlier value, or the new one if the flight
    /// has ended.
    pub(crate) fn set_span(&mut self, span: FlightSpan) -> Result<FlightSpan, FlightSpan> {
        if self.has_ended() { Err(span) } else { Ok(mem::replace(&mut self.span, span)) }
    }
}
