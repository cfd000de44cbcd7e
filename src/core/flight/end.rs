//! How a flight ends: with a result, with a panic, lost, or left by all its waiters.

use super::{After, AfterEnd, Driver, End, Flight, Joining, SharedEnd, Stage};
use crate::{
    core::{
        hold::{Hold, HoldTimer},
        rules::{Rules, Setback},
        seats::{Seat, Wakers},
    },
    observe::{Ending, FlightEnd, Work},
    panics::Message,
    sync::{Runtime, current_runtime},
};
use std::{mem, task::Waker};
use tokio::time::Instant;

/// What the driver has after the work gave its result.
pub(crate) enum Landed<T> {
    /// The result is for no other waiter.
    Own {
        value: T,
        was_joined: bool,
        /// Whether the driver leads: it may have driven the work of another waiter.
        leads: bool,
        /// Its waker, to be dropped and not woken.
        waker: Option<Waker>,
    },
    /// The result is in here, for the driver too.
    Shared(SharedEnd<T>),
    /// The result is for the waiters. A task, which is none, holds no part of it while they wake
    /// up.
    ForOthers,
    /// The result was for the leader, and is set aside for it: the driver goes on as a follower.
    SetAside,
    /// The leader has gone, and its followers go on.
    Unwanted(#[allow(dead_code, reason = "only dropped")] T),
}

/// What a waiter has to deal with after it left.
pub(crate) enum Left<T> {
    Nothing,
    /// It was the last: the work is dropped.
    Work(#[allow(dead_code, reason = "only dropped")] Work<T>),
    /// A result that was set aside for it.
    Value(#[allow(dead_code, reason = "only dropped")] T),
    /// It was the last, and the work goes on in a task of this runtime.
    Spawn(Runtime),
    /// The flight had ended. Where it is told how, if the waiter had company.
    Ended(Option<SharedEnd<T>>),
}

impl<T> Flight<T> {
    /// The work gave a result. `driver`: the waiter that polled it, if no task did. `setback`: why
    /// it is for the leader alone, if it is.
    #[inline]
    pub(crate) fn land(
        &mut self,
        value: T,
        driver: Option<Seat>,
        setback: Option<Setback>,
    ) -> (Landed<T>, After<T>) {
        if self.has_ended() {
            return (Landed::Unwanted(value), After::Nothing);
        }
        if setback.is_some_and(|setback| self.take_round(setback)) {
            return self.go_on(value, driver);
        }
        if self.hold.is_some() {
            if let Some(timer) = self.begin_hold(setback) {
                return self.land_and_hold(value, driver, timer);
            }
        }
        let (was_joined, leader) = (self.was_joined, self.leader);
        if self.waiters == u32::from(driver.is_some()) {
            let ending = self.end_as(Some(FlightEnd::Landed), driver);
            return (
                Landed::Own { value, was_joined, leads: leader == driver, waker: None },
                After::Tell(ending),
            );
        }
        let landed = match &self.end {
            Some(end) if driver.is_some() => Landed::Shared(end.clone()),
            _ => Landed::ForOthers,
        };
        (
            landed,
            self.end_with(
                End::Landed { value, was_joined, leader },
                Some(FlightEnd::Landed),
                driver,
            ),
        )
    }

    /// Begins to hold the result that lands now, if the rules say so and there is a runtime for the
    /// timer.
    #[cold]
    fn begin_hold(&mut self, setback: Option<Setback>) -> Option<HoldTimer> {
        if setback.is_some() {
            return None;
        }
        let runtime = current_runtime().or_else(|| self.runtime.take())?;
        Some(HoldTimer { runtime, until: self.hold.as_mut()?.begin()? })
    }

    /// Lands, and keeps the result for newcomers.
    #[cold]
    fn land_and_hold(
        &mut self,
        value: T,
        driver: Option<Seat>,
        timer: HoldTimer,
    ) -> (Landed<T>, After<T>) {
        let end = self.end.get_or_insert_default().clone();
        let landed = driver.map_or(Landed::ForOthers, |_| Landed::Shared(end.clone()));
        let (was_joined, leader) = (self.was_joined, self.leader);
        let (result, is_leaderless) =
            (Some(End::Landed { value, was_joined, leader }), leader.is_none());
        let ending = self.end_as(Some(FlightEnd::Landed), driver);
        let wakers = self.seats.empty(driver);
        (
            landed,
            After::End(Box::new(AfterEnd {
                ending,
                end,
                result,
                is_leaderless,
                wakers,
                timer: Some(timer),
            })),
        )
    }

    pub(crate) fn is_held(&self) -> bool {
        matches!(self.hold.as_deref(), Some(Hold::Until(_)))
    }

    /// Holds the result no more, now or when it lands.
    pub(crate) fn end_hold(&mut self) {
        self.hold = None;
    }

    /// Gives the held result to a newcomer, if the rules let it have that.
    #[cold]
    pub(super) fn take_held(&self, rules: &Rules) -> Joining<T> {
        let is_in_time =
            matches!(self.hold.as_deref(), Some(Hold::Until(until)) if Instant::now() < *until);
        match &self.end {
            Some(end)
                if is_in_time
                    && rules.holds_for().is_some()
                    && self.is_young(rules.join_within) =>
            {
                Joining::Held(end.clone())
            }
            _ => Joining::Closed(None),
        }
    }

    /// Takes a round, if one is left and followers with work of their own can go on.
    fn take_round(&mut self, after: Setback) -> bool {
        let rounds = self.rounds.left(after);
        if *rounds == 0 || self.own_works == 0 {
            return false;
        }
        *rounds -= 1;
        true
    }

    /// Leaves the value to the leader, and the flight to its followers: the first of them that is
    /// polled leads it. It stays in the table, so joiners join them.
    fn go_on(&mut self, value: T, driver: Option<Seat>) -> (Landed<T>, After<T>) {
        let leader = self.leader.take();
        let was_joined = mem::replace(&mut self.was_joined, false);
        let has_leader = u32::from(leader.is_some());
        self.waiters -= has_leader;
        let ending = Ending { went_on: true, ..self.ending(Some(FlightEnd::Landed), has_leader) };
        (self.stage, self.driver) = (Stage::Lost, Driver::Nobody);
        let landed = match leader {
            None => Landed::Unwanted(value),
            Some(seat) if driver == Some(seat) => {
                Landed::Own { value, was_joined, leads: true, waker: self.seats.leave(seat) }
            }
            Some(seat) => {
                self.set_aside.push((seat, value));
                Landed::SetAside
            }
        };
        (landed, After::Wake(Some(ending), self.seats.take_wakers()))
    }

    pub(super) fn has_set_aside(&self, seat: Seat) -> bool {
        self.set_aside.iter().any(|(leader, _)| *leader == seat)
    }

    /// The waiter in `seat` takes the result that was set aside for it.
    pub(crate) fn take_aside(&mut self, seat: Seat) -> Option<T> {
        let at = self.set_aside.iter().position(|(leader, _)| *leader == seat)?;
        if self.has_ended() {
            self.seats.vacate_opener(seat);
        } else {
            // It was woken when the value was set aside, and has parked no waker since.
            drop(self.seats.leave(seat));
        }
        Some(self.set_aside.swap_remove(at).1)
    }

    /// The waiter in `seat` has read how the flight ended.
    pub(crate) fn vacate(&mut self, seat: Seat) {
        self.seats.vacate_opener(seat);
    }

    /// The work panicked.
    pub(crate) fn panicked(&mut self, message: Message, driver: Option<Seat>) -> After<T> {
        if self.has_ended() {
            return After::Nothing;
        }
        self.end_with(End::Panicked(message), Some(FlightEnd::Panicked), driver)
    }

    /// Ends the flight with `result`, for all waiters but the driver.
    fn end_with(
        &mut self,
        result: End<T>,
        outcome: Option<FlightEnd>,
        driver: Option<Seat>,
    ) -> After<T> {
        let has_others = self.waiters > u32::from(driver.is_some());
        let (is_leaderless, ending) = (self.leader.is_none(), self.end_as(outcome, driver));
        // The opener reads it there, if it has yet to hear of the end.
        let end = if self.frees_slot() { self.end.take() } else { self.end.clone() };
        match end.filter(|_| has_others) {
            None => After::Tell(ending),
            Some(end) => {
                let wakers = self.seats.empty(driver);
                After::End(Box::new(AfterEnd {
                    ending,
                    end,
                    result: Some(result),
                    is_leaderless,
                    wakers,
                    timer: None,
                }))
            }
        }
    }

    /// Ends the flight, and counts all waiters out.
    #[inline]
    fn end_as(&mut self, outcome: Option<FlightEnd>, driver: Option<Seat>) -> Ending {
        let waiters = mem::take(&mut self.waiters);
        self.stage = Stage::Ended;
        if let Some(seat) = driver {
            self.seats.vacate_opener(seat);
        }
        self.ending(outcome, waiters)
    }

    /// The work is gone without a result: its task was dropped, or its leader panicked before it
    /// brought any.
    pub(crate) fn lose(&mut self) -> (Option<Work<T>>, After<T>) {
        let work = match mem::replace(&mut self.stage, Stage::Lost) {
            Stage::Parked(work) => Some(work),
            Stage::Polling => None,
            unchanged => {
                self.stage = unchanged;
                return (None, After::Nothing);
            }
        };
        self.driver = Driver::Nobody;
        if self.own_works == 0 {
            return (work, self.end_with(End::Lost, Some(FlightEnd::Lost), None));
        }
        let ending = self.ending(Some(FlightEnd::Lost), 0);
        (work, After::Wake(Some(ending), self.seats.take_wakers()))
    }

    /// The waiter in `seat` goes. Gives back its waker, to be dropped, and the rest that it has to
    /// do.
    pub(crate) fn leave(
        &mut self,
        seat: Seat,
        has_own_work: bool,
    ) -> (Option<Waker>, Left<T>, After<T>) {
        if let Some(value) = self.take_aside(seat) {
            return (None, Left::Value(value), After::Nothing);
        }
        if self.has_ended() {
            self.seats.vacate_opener(seat);
            return (None, Left::Ended(self.end.clone()), After::Nothing);
        }
        let waker = self.seats.leave(seat);
        self.waiters -= 1;
        self.own_works -= u32::from(has_own_work);
        self.leader = self.leader.filter(|leader| *leader != seat);
        let (left, after) = if self.waiters == 0 { self.deserted() } else { self.left_by(seat) };
        (waker, left, after)
    }

    /// No one waits. The work is dropped, unless the flight runs to completion, and can. Ending it
    /// here is what keeps joiners out.
    fn deserted(&mut self) -> (Left<T>, After<T>) {
        if self.run_to_completion {
            if let Some(runtime) = self.claim_task() {
                return (Left::Spawn(runtime), After::Nothing);
            }
            let is_driven = self.driver == Driver::Task;
            if is_driven && !matches!(self.stage, Stage::Lost) {
                return (Left::Nothing, After::Nothing);
            }
        }
        // That it was lost was told already.
        let outcome = (!matches!(self.stage, Stage::Lost)).then_some(FlightEnd::Cancelled);
        let ending = self.ending(outcome, 0);
        let left = match mem::replace(&mut self.stage, Stage::Ended) {
            Stage::Parked(work) => Left::Work(work),
            Stage::Polling | Stage::Lost | Stage::Ended => Left::Nothing,
        };
        let after = match self.task.take() {
            Some(task) => After::Wake(Some(ending), Wakers::one(task)),
            None => After::Tell(ending),
        };
        (left, after)
    }

    /// Others wait. They have to drive the work, if the waiter in `seat` did.
    fn left_by(&mut self, seat: Seat) -> (Left<T>, After<T>) {
        if matches!(self.stage, Stage::Lost) && self.own_works == 0 {
            return (Left::Nothing, self.end_with(End::Lost, None, None));
        }
        if self.driver != Driver::Waiter(seat) {
            return (Left::Nothing, After::Nothing);
        }
        self.driver = Driver::Nobody;
        if matches!(self.stage, Stage::Polling) {
            // It panicked while it had the work.
            return (Left::Nothing, self.lose().1);
        }
        (Left::Nothing, After::Wake(None, self.seats.take_wakers()))
    }

    /// What to tell of the end, once nothing is locked. `released`: waiters that wait no more.
    fn ending(&mut self, outcome: Option<FlightEnd>, released: u32) -> Ending {
        Ending {
            outcome,
            went_on: false,
            opened: self.opened,
            released: released as usize,
            span: mem::take(&mut self.span),
        }
    }
}
