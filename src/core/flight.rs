//! A flight as plain data, and its transitions: no lock, no user code.

#[cfg(test)]
mod tests;

use crate::{
    core::{
        reentry::{Ancestors, FlightNumber},
        seats::{Seat, Seats, Wakers},
    },
    observe::{Caller, Ending, FlightEnd, FlightSpan, Link, Work},
    panics::Message,
    stats::NearMiss,
    sync::{Once, Runtime, current_runtime},
};
use std::{mem, sync::Arc, task::Waker, time::Duration};
use tokio::time::Instant;

/// Which joiners a flight takes, and when it goes on without its leader or its waiters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) join_within: Option<Duration>,
    pub(crate) max_waiters: usize,
    pub(crate) run_to_completion: bool,
    pub(crate) rounds: Rounds,
}

impl Default for Rules {
    fn default() -> Self {
        Self { join_within: None, max_waiters: usize::MAX, run_to_completion: false, rounds: Rounds::default() }
    }
}

/// How many more times the followers go on together, in one next flight, when a result is for its leader alone.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rounds {
    pub(crate) after_errors: u16,
    pub(crate) after_refusals: u16,
}

/// Why a result is for its leader alone, so that the followers go on together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setback {
    Error,
    /// The result judges the leader's request, and says nothing about the requests of others.
    #[cfg_attr(not(feature = "http"), allow(dead_code, reason = "only HTTP refuses"))]
    Refusal,
}

impl Rounds {
    fn left(&mut self, after: Setback) -> &mut u16 {
        match after {
            Setback::Error => &mut self.after_errors,
            Setback::Refusal => &mut self.after_refusals,
        }
    }
}

/// Invariants:
///
/// 1. The work is in `Stage::Parked`, or in the hands of the driver (`Stage::Polling`). It is polled and dropped under no
///    lock.
/// 2. Only the driver takes the work out. A waiter drives it, until `claim_task` makes a task the driver.
/// 3. A waiter that drives and parks leaves its waker in its seat, so that it is woken when a task ends the flight.
/// 4. `waiters` counts who waits for a result. It is 0 when the flight has ended.
/// 5. The flight keeps its slot in the shard until it has ended, its opener has gone, and `set_aside` is empty. So the
///    opener needs nothing but the slot: it does not hear of joiners before it is polled.
/// 6. Joiners also hold `end`, which the first of them makes, and read it without a lock.
/// 7. After a setback the flight is lost to its followers, who lead it again, and its leader counts no more. The leader's
///    result is in `set_aside` until it takes it, and its seat stays taken for as long.
pub(crate) struct Flight<T> {
    number: FlightNumber,
    stage: Stage<T>,
    driver: Driver,
    /// The waiter whose own work this is.
    leader: Option<Seat>,
    seats: Seats,
    waiters: usize,
    /// How many waiters still have work of their own.
    own_works: usize,
    run_to_completion: bool,
    /// Whether anybody has joined the leader.
    was_joined: bool,
    rounds: Rounds,
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

/// What is left to do after a transition, once nothing is locked.
pub(crate) struct After<T> {
    pub(crate) ending: Option<Ending>,
    /// The end of a flight whose leader has gone, while others have yet to look at its result.
    pub(crate) leaderless: Option<SharedEnd<T>>,
    /// Dropped before any waiter is woken, so that the last one finds itself alone with the result.
    pub(crate) released: Option<SharedEnd<T>>,
    pub(crate) wake: Option<Wakers>,
}

impl<T> After<T> {
    pub(crate) const NOTHING: Self = Self { ending: None, leaderless: None, released: None, wake: None };
}

/// What a joiner finds.
pub(crate) enum Joining<T> {
    Joined(Joined<T>, Link, Option<Runtime>),
    LeadAgain(Joined<T>),
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
pub(crate) enum Turn<T> {
    /// Poll the work: the waiter drives it.
    Poll(Work<T>, Ancestors),
    /// Bring its own work: the flight was lost.
    LeadAgain,
    /// Take its result: its followers went on without it.
    SetAside(T),
    /// Read there how the flight ended.
    Ended(SharedEnd<T>),
    /// Wait: its waker is parked. The work moves to a task of this runtime, if there is one.
    Wait(Option<Runtime>),
    /// Look again, with a waker to park.
    BringWaker,
}

/// What the driver has after the work gave its result.
pub(crate) enum Landed<T> {
    /// The result is for no other waiter.
    Own { value: T, was_joined: bool },
    /// The result is in here, for the driver too.
    Shared(SharedEnd<T>),
    /// The result is for the waiters. A task, which is none, holds no part of it while they wake up.
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
    /// A flight that its leader opens.
    #[inline]
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
            was_joined: false,
            rounds: rules.rounds,
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
        self.waiters
    }

    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.stage, Stage::Ended)
    }

    /// Whether its slot is free for another flight.
    pub(crate) fn frees_slot(&self) -> bool {
        self.has_ended() && !self.seats.has_opener() && self.set_aside.is_empty()
    }

    /// Takes the joiner, if the rules let it in. `here` are the flights around the code that joins.
    pub(crate) fn join(&mut self, rules: &Rules, here: &Ancestors, caller: &mut Caller) -> Joining<T> {
        if here.contains(self.number) {
            return Joining::Inside;
        }
        if let Some(why) = self.refuses_joiner(rules) {
            return Joining::Closed(Some(why));
        }
        let leads = matches!(self.stage, Stage::Lost);
        let joined = Joined { seat: self.seats.sit(), end: self.end.get_or_insert_default().clone(), leads };
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
        if self.waiters >= rules.max_waiters {
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

    /// The new leader brings its work. `here` are the flights around it, which now wait for this one as well. The work
    /// moves to a task of the runtime that is returned.
    #[must_use]
    pub(crate) fn bring_work(&mut self, work: Work<T>, here: &Ancestors) -> Option<Runtime> {
        self.ancestors = mem::take(&mut self.ancestors).and(here);
        self.runtime = current_runtime();
        self.stage = Stage::Parked(work);
        self.claim_task_if_joined()
    }

    /// What the waiter in `seat` can do now. `parks` is the waker to leave in its seat; it holds the earlier one
    /// afterwards.
    #[inline]
    pub(crate) fn look(&mut self, seat: Seat, has_own_work: bool, waker: &Waker, parks: &mut Option<Waker>) -> Turn<T> {
        match mem::replace(&mut self.stage, Stage::Polling) {
            Stage::Parked(work) if self.may_drive(seat) => {
                self.driver = Driver::Waiter(seat);
                return Turn::Poll(work, self.ancestors.clone());
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
    ) -> Turn<T> {
        if let Some(value) = self.take_aside(seat) {
            return Turn::SetAside(value);
        }
        if self.has_ended() {
            self.seats.vacate_opener(seat);
            return Turn::Ended(self.end.clone().expect("it is made before a flight is out of its opener's hands"));
        }
        if matches!(self.stage, Stage::Lost) && has_own_work {
            self.own_works -= 1;
            self.lead_again(seat);
            return Turn::LeadAgain;
        }
        let is_driven_here = matches!(self.stage, Stage::Polling) && self.driver == Driver::Waiter(seat);
        assert!(
            !is_driven_here,
            "tower-singleflight: polled after its waker had panicked, which took the work with it"
        );
        if !self.seats.has_parked(seat, waker) {
            let Some(waker) = parks.take() else { return Turn::BringWaker };
            *parks = self.seats.park(seat, waker);
        }
        Turn::Wait(self.claim_task())
    }

    fn may_drive(&self, seat: Seat) -> bool {
        self.driver == Driver::Waiter(seat) || self.driver == Driver::Nobody
    }

    /// The driver in `seat` polled the work, which is pending. Gives the earlier waker back, and the runtime to whose task
    /// the work moves.
    #[inline]
    #[must_use]
    pub(crate) fn park(&mut self, seat: Seat, work: Work<T>, waker: Waker) -> (Option<Waker>, Option<Runtime>) {
        debug_assert!(matches!(self.stage, Stage::Polling), "only the driver has the work");
        self.stage = Stage::Parked(work);
        (self.seats.park(seat, waker), self.claim_task_if_joined())
    }

    #[inline]
    fn claim_task_if_joined(&mut self) -> Option<Runtime> {
        if self.waiters > 1 { self.claim_task() } else { None }
    }

    /// Makes a task the driver: a task of the runtime that is returned. Not while the work is polled: its driver claims a
    /// task when it parks. The first poll of any waiter inside a runtime claims one, if there was none before.
    pub(crate) fn claim_task(&mut self) -> Option<Runtime> {
        if !matches!(self.stage, Stage::Parked(_)) || self.driver == Driver::Task {
            return None;
        }
        let runtime = self.runtime.take().or_else(current_runtime)?;
        self.driver = Driver::Task;
        self.end.get_or_insert_default();
        Some(runtime)
    }

    /// For the task: the work, or `None` if there is nothing left to do. `parks`: the waker that ends the task early, for
    /// which the earlier one is given back.
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

    /// The task polled the work, which is pending. Gives it back if all waiters have left meanwhile.
    #[must_use]
    pub(crate) fn return_work(&mut self, work: Work<T>) -> Option<Work<T>> {
        if !matches!(self.stage, Stage::Polling) {
            return Some(work);
        }
        self.stage = Stage::Parked(work);
        None
    }

    /// The span of the flight is open. Gives back what it knew of its span before, or the new one if the flight has ended.
    pub(crate) fn set_span(&mut self, span: FlightSpan) -> Result<FlightSpan, FlightSpan> {
        if self.has_ended() { Err(span) } else { Ok(mem::replace(&mut self.span, span)) }
    }

    /// The work gave a result. `driver`: the waiter that polled it, if no task did. `setback`: why it is for the leader
    /// alone, if it is.
    #[inline]
    pub(crate) fn land(&mut self, value: T, driver: Option<Seat>, setback: Option<Setback>) -> (Landed<T>, After<T>) {
        if self.has_ended() {
            return (Landed::Unwanted(value), After::NOTHING);
        }
        if setback.is_some_and(|setback| self.take_round(setback)) {
            return self.go_on(value, driver);
        }
        let (was_joined, leader) = (self.was_joined, self.leader);
        if self.waiters == usize::from(driver.is_some()) {
            return (Landed::Own { value, was_joined }, self.end_as(Some(FlightEnd::Landed), driver));
        }
        let end = self.end.clone().expect("a flight with other waiters, or a task, has one");
        end.set(End::Landed { value, was_joined, leader });
        let after = self.end_as(Some(FlightEnd::Landed), driver);
        let leaderless = leader.is_none().then(|| end.clone());
        let landed = if driver.is_some() { Landed::Shared(end) } else { Landed::ForOthers };
        (landed, After { leaderless, ..after })
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

    /// Leaves the value to the leader, and the flight to its followers: the first of them that is polled leads it. It
    /// stays in the table, so joiners join them.
    fn go_on(&mut self, value: T, driver: Option<Seat>) -> (Landed<T>, After<T>) {
        let leader = self.leader.take();
        let was_joined = mem::replace(&mut self.was_joined, false);
        self.waiters -= usize::from(leader.is_some());
        let ending = Ending { went_on: true, ..self.ending(Some(FlightEnd::Landed), usize::from(leader.is_some())) };
        (self.stage, self.driver) = (Stage::Lost, Driver::Nobody);
        let mut own_waker = None;
        let landed = match leader {
            None => Landed::Unwanted(value),
            Some(seat) if driver == Some(seat) => {
                own_waker = self.seats.leave(seat);
                Landed::Own { value, was_joined }
            }
            Some(seat) => {
                self.set_aside.push((seat, value));
                Landed::SetAside
            }
        };
        let wake = self.seats.take_wakers().without([own_waker, self.task.take()]);
        (landed, After { ending: Some(ending), wake: Some(wake), ..After::NOTHING })
    }

    /// The result that was set aside for the leader in `seat`, whose followers went on.
    fn take_aside(&mut self, seat: Seat) -> Option<T> {
        let at = self.set_aside.iter().position(|(leader, _)| *leader == seat)?;
        if self.has_ended() {
            self.seats.vacate_opener(seat);
        } else {
            // It was woken when the value was set aside, and has parked no waker since.
            drop(self.seats.leave(seat));
        }
        Some(self.set_aside.swap_remove(at).1)
    }

    /// The work panicked.
    pub(crate) fn panicked(&mut self, message: Message, driver: Option<Seat>) -> After<T> {
        if self.has_ended() {
            return After::NOTHING;
        }
        self.end_without_result(End::Panicked(message), Some(FlightEnd::Panicked), driver)
    }

    fn end_without_result(&mut self, end: End<T>, outcome: Option<FlightEnd>, driver: Option<Seat>) -> After<T> {
        if let Some(shared) = &self.end {
            shared.set(end);
        }
        self.end_as(outcome, driver)
    }

    /// Ends the flight: counts all waiters out, and takes the wakers of all but the driver.
    #[inline]
    fn end_as(&mut self, outcome: Option<FlightEnd>, driver: Option<Seat>) -> After<T> {
        let waiters = mem::take(&mut self.waiters);
        let ending = Some(self.ending(outcome, waiters));
        self.stage = Stage::Ended;
        if let Some(seat) = driver {
            self.seats.vacate_opener(seat);
        }
        let has_others = waiters > usize::from(driver.is_some());
        let wake = has_others.then(|| self.seats.empty(driver));
        let released = if self.frees_slot() { self.end.take() } else { None };
        After { ending, leaderless: None, released, wake }
    }

    /// The work is gone without a result: its task was dropped, or its leader panicked before it brought any.
    pub(crate) fn lose(&mut self) -> (Option<Work<T>>, After<T>) {
        let work = match mem::replace(&mut self.stage, Stage::Lost) {
            Stage::Parked(work) => Some(work),
            Stage::Polling => None,
            unchanged => {
                self.stage = unchanged;
                return (None, After::NOTHING);
            }
        };
        self.driver = Driver::Nobody;
        if self.own_works == 0 {
            return (work, self.end_without_result(End::Lost, Some(FlightEnd::Lost), None));
        }
        let ending = self.ending(Some(FlightEnd::Lost), 0);
        let wake = Some(self.seats.take_wakers().without([self.task.take()]));
        (work, After { ending: Some(ending), wake, ..After::NOTHING })
    }

    /// The waiter in `seat` goes. Gives back its waker, and what it has to deal with.
    pub(crate) fn leave(&mut self, seat: Seat, has_own_work: bool) -> (Option<Waker>, Left<T>, After<T>) {
        if let Some(value) = self.take_aside(seat) {
            return (None, Left::Value(value), After::NOTHING);
        }
        if self.has_ended() {
            self.seats.vacate_opener(seat);
            return (None, Left::Ended(self.end.clone()), After::NOTHING);
        }
        let waker = self.seats.leave(seat);
        self.waiters -= 1;
        self.own_works -= usize::from(has_own_work);
        self.leader = self.leader.filter(|leader| *leader != seat);
        let (left, after) = if self.waiters == 0 { self.deserted() } else { self.left_by(seat) };
        (waker, left, after)
    }

    /// No one waits. The work is dropped, unless the flight runs to completion, and can. Ending it here is what keeps
    /// joiners out.
    fn deserted(&mut self) -> (Left<T>, After<T>) {
        if self.run_to_completion {
            if let Some(runtime) = self.claim_task() {
                return (Left::Spawn(runtime), After::NOTHING);
            }
            let is_driven = self.driver == Driver::Task;
            if is_driven && !matches!(self.stage, Stage::Lost) {
                return (Left::Nothing, After::NOTHING);
            }
        }
        // That it was lost was told already.
        let outcome = (!matches!(self.stage, Stage::Lost)).then_some(FlightEnd::Cancelled);
        let ending = self.ending(outcome, 0);
        let left = match mem::replace(&mut self.stage, Stage::Ended) {
            Stage::Parked(work) => Left::Work(work),
            Stage::Polling | Stage::Lost | Stage::Ended => Left::Nothing,
        };
        let wake = self.task.take().map(Wakers::one);
        (left, After { ending: Some(ending), wake, ..After::NOTHING })
    }

    /// Others wait. They have to drive the work, if the waiter in `seat` did.
    fn left_by(&mut self, seat: Seat) -> (Left<T>, After<T>) {
        if matches!(self.stage, Stage::Lost) && self.own_works == 0 {
            return (Left::Nothing, self.end_without_result(End::Lost, None, None));
        }
        if self.driver != Driver::Waiter(seat) {
            return (Left::Nothing, After::NOTHING);
        }
        self.driver = Driver::Nobody;
        if matches!(self.stage, Stage::Polling) {
            // It panicked while it had the work.
            return (Left::Nothing, self.lose().1);
        }
        (Left::Nothing, After { wake: Some(self.seats.take_wakers()), ..After::NOTHING })
    }

    /// What to tell of the end, once nothing is locked. `released`: waiters that wait no more.
    fn ending(&mut self, outcome: Option<FlightEnd>, released: usize) -> Ending {
        Ending { outcome, went_on: false, opened: self.opened, released, span: mem::take(&mut self.span) }
    }
}
