//! One execution of the work for one key, and those who wait for it.

use crate::{
    core::lone::{Home, Lone},
    core::reentry::{self, Lineage, Polled, Underway},
    core::seats::{Seat, Seats, wake_all},
    observe::{Caller, Ending, Event, FlightSpan, Link, Outcome, Work},
    panics::{Debris, Message, Payload},
    stats::NearMiss,
    sync::{Mutex, MutexGuard, Once, Runtime, current_runtime},
};
use std::{
    fmt, mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::time::Instant;

/// Which newcomers a flight takes, and whether it goes on when all have left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) join_within: Option<Duration>,
    pub(crate) max_waiters: usize,
    pub(crate) run_to_completion: bool,
    pub(crate) rounds: Rounds,
}

/// How often the followers of a flight still go on together, in one next flight, when its result is not for them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rounds {
    pub(crate) after_errors: u16,
    pub(crate) after_refusals: u16,
}

/// Why a result is its leader's alone, so that the followers go on together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setback {
    Error,
    /// It judges the leader's request, and says nothing about those of others.
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

impl Default for Rules {
    fn default() -> Self {
        Self { join_within: None, max_waiters: usize::MAX, run_to_completion: false, rounds: Rounds::default() }
    }
}

/// Where the table keeps a flight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// Picks the shard.
    pub(crate) shard: u64,
    /// Finds the flight in its shard.
    pub(crate) hash: u64,
    /// Finds the flights that a write to a path seals; 0 where nothing is written.
    #[cfg_attr(not(feature = "http"), allow(dead_code, reason = "only HTTP has paths"))]
    pub(crate) path: u64,
}

impl Place {
    /// Of a flight that is found by its key alone.
    pub(crate) fn of(hash: u64) -> Self {
        Self { shard: hash, hash, path: 0 }
    }
}

/// Invariants:
///
/// 1. The work is in `Stage::Parked`, or with the one who polls it, or with the leader that has yet to put it in
///    (`Stage::Aloft`). It is polled and dropped under no lock.
/// 2. Only the pilot takes the work out: a waiter polls it in place, until `claim_for_task` makes a task the pilot.
/// 3. `waiters` counts the seats taken. After landing nobody is counted: each waiter takes its share without a lock, and
///    the value goes with the last of those who hold the flight.
/// 4. Whoever parks as pilot leaves its waker in its seat as well, so that it is woken when a task
///    lands the flight in its place.
/// 5. `closed` turns true once, before anybody can see how the flight ended: the table and the gauges no
///    longer know it by then.
/// 6. Locks are taken in the order shard, flight; never two flights.
/// 7. After a setback the flight is lost to its followers, who lead it anew, and its leader counts no more. What is
///    for the leader is in `set_aside` until it takes it, and its seat stays taken for as long.
pub struct Flight<T> {
    home: Arc<dyn Home<T>>,
    place: Place,
    closed: AtomicBool,
    /// For all waiters but a pilot that had no company.
    landing: Once<Landing<T>>,
    state: Mutex<State<T>>,
}

struct Landing<T> {
    value: T,
    shared: bool,
    leader: Option<Seat>,
}

struct State<T> {
    stage: Stage<T>,
    pilot: Pilot,
    /// The waiter whose own work this is.
    leader: Option<Seat>,
    waiters: usize,
    /// Until it is about to land with a result that is not for newcomers.
    takes_newcomers: bool,
    /// Waiters that still have work of their own.
    spares: usize,
    shared: bool,
    run_to_completion: bool,
    opened: Option<Instant>,
    runtime: Option<Runtime>,
    reserve: Option<Reserve<T>>,
    rounds: Rounds,
    /// Results of leaders whose followers went on without them.
    set_aside: Vec<(Seat, T)>,
    lineage: Lineage,
    span: FlightSpan,
    seats: Seats,
    /// Wakes the task that carries the flight.
    carrier: Option<Waker>,
}

/// Work that a task does should the flight be lost, though nobody polls the waiter that brought it.
struct Reserve<T> {
    /// Its waiter, as long as that waits.
    seat: Option<Seat>,
    work: Work<T>,
    runtime: Runtime,
    here: Lineage,
}

enum Stage<T> {
    Aloft,
    Parked(Work<T>),
    /// The work is gone without a result, and a waiter may put in its own.
    Lost,
    /// The value is in `Flight::landing`.
    Landed,
    Crashed(Message),
    /// Lost, and no waiter has work left.
    Stranded,
    /// Nobody waits any more.
    Over,
}

#[derive(Clone, Copy, PartialEq)]
enum Pilot {
    Nobody,
    Waiter(Seat),
    Task,
}

/// What a newcomer finds.
pub(crate) enum Boarding {
    Seat {
        seat: Seat,
        /// The flight was lost before: the newcomer is its leader, and has to `board`.
        leads_anew: bool,
        /// A waiter flies it, and may go quiet: it needs a task.
        needs_task: bool,
        link: Link,
    },
    /// It is called from inside this flight.
    Inside,
    /// The flight takes nobody more: why, if it goes on.
    Closed(Option<NearMiss>),
}

/// Whether a task may fly.
pub(crate) enum Claim {
    Granted(Runtime),
    NotNeeded,
    NoRuntime,
}

/// What a waiter finds when it is polled.
pub(crate) enum View<T> {
    /// It is the pilot: here is the work.
    Fly(Work<T>),
    /// The flight was lost, and it is to board its own work.
    LeadAnew,
    Landed(Share),
    /// Its followers went on without it, and this is its result.
    SetAside(T),
    Crashed(Message),
    Stranded,
    /// Its waker is parked.
    Wait {
        /// Another waiter flies it, and may go quiet. There was no runtime when the two met.
        needs_task: bool,
    },
    /// It is to look again with a waker to park.
    BringWaker,
}

/// How the work's result is dealt with.
enum TouchDown<T> {
    /// `own`: the value, if the pilot had no company.
    Landed { own: Option<T>, share: Share, seats: Seats, leftovers: Leftovers<T> },
    /// The followers go on without it. `own`: the value, if it is the pilot's.
    WentOn { own: Option<T> },
}

/// What a pilot gets that lands a flight as a waiter: the value too, if it is nobody else's.
pub(crate) struct Landed<T> {
    pub(crate) own: Option<T>,
    pub(crate) share: Share,
}

/// What a landed flight needs no more, to be dropped once the waiters are awake.
struct Leftovers<T>(
    #[allow(dead_code, reason = "only dropped")] Option<Waker>,
    #[allow(dead_code, reason = "only dropped")] Option<Reserve<T>>,
);

const LANDED: &str = "it has landed";

/// What a waiter is to its flight, once that has landed.
#[derive(Clone, Copy)]
pub(crate) struct Share {
    pub(crate) shared: bool,
    pub(crate) leads: bool,
}

impl Share {
    /// Of a leader whose followers went on without it.
    pub(crate) const SET_ASIDE: Self = Self { shared: true, leads: true };
}

/// How one poll of the work ended.
pub(crate) enum Step<T> {
    Pending,
    /// With what its drop panicked with, if it did.
    Ready(T, Debris),
    Panicked(Payload),
}

/// One poll of the work. After its end the work has been dropped.
pub(crate) fn step<T>(work: &mut Option<Work<T>>, cx: &mut Context<'_>) -> Step<T> {
    let mut value = None;
    let polled = catch_unwind(AssertUnwindSafe(|| {
        let future = work.as_mut().expect("the pilot has the work");
        if let Poll::Ready(result) = Pin::new(future).poll(cx) {
            value = Some(result);
            drop(work.take());
        }
    }));
    let mut debris = Debris::default();
    match (polled, value) {
        (Ok(()), None) => Step::Pending,
        (Ok(()), Some(value)) => Step::Ready(value, debris),
        (Err(payload), Some(value)) => {
            debris.keep(payload);
            Step::Ready(value, debris)
        }
        (Err(payload), None) => {
            debris.sweep(work.take());
            debris.swallow();
            Step::Panicked(payload)
        }
    }
}

impl<T: Send + Sync + 'static> Flight<T> {
    /// Of a leader that sits in the first seat.
    pub(crate) fn new(home: Arc<dyn Home<T>>, lone: Lone<T>) -> Arc<Self> {
        let leader = Seat::FIRST;
        // If somebody wanted to see it, it would not be polled alone.
        let span = lone.work.as_ref().map_or(FlightSpan::UNSEEN, Work::span);
        let state = State {
            stage: lone.work.map_or(Stage::Aloft, Stage::Parked),
            pilot: Pilot::Waiter(leader),
            leader: Some(leader),
            waiters: 1,
            takes_newcomers: true,
            spares: 0,
            shared: false,
            run_to_completion: lone.run_to_completion,
            opened: lone.opened,
            runtime: lone.runtime,
            reserve: None,
            rounds: lone.rounds,
            set_aside: Vec::new(),
            lineage: lone.lineage,
            span,
            seats: Seats::with_one(lone.waker),
            carrier: None,
        };
        let closed = AtomicBool::new(false);
        Arc::new(Self { home, place: lone.place, closed, landing: Once::default(), state: Mutex::new(state) })
    }

    pub(crate) fn place(&self) -> Place {
        self.place
    }

    /// Call it under no lock.
    #[inline(always)]
    pub(crate) fn tell(&self, event: Event) {
        self.home.tell(event);
    }

    /// Nobody must see them still counted who sees how the flight ended, so this is done under the lock. The rest of
    /// the event is told after.
    fn count_out(&self, waiters: usize) {
        self.home.observer().count_out(waiters);
    }

    /// All its waiters wait no more.
    fn release(&self, state: &mut State<T>, outcome: Option<Outcome>) -> Ending {
        self.count_out(state.waiters);
        // All may have left while the work was polled, which was told already.
        let outcome = outcome.filter(|_| state.is_open());
        state.ending(outcome, state.waiters)
    }

    /// Joins it, if it takes the newcomer. `here` is the lineage of the code that joins.
    pub(crate) fn join(self: &Arc<Self>, rules: &Rules, here: &Lineage, caller: &mut Caller) -> Boarding {
        let mut state = self.state.lock();
        if !state.is_open() || !state.takes_newcomers {
            return Boarding::Closed(None);
        }
        if here.contains(self) {
            return Boarding::Inside;
        }
        match state.refuses_newcomer(rules) {
            None => state.seat_newcomer(rules, caller),
            why => Boarding::Closed(why),
        }
    }

    /// The leader puts its work in. True: it has company, and the work needs a task.
    #[must_use]
    pub(crate) fn board(&self, work: Work<T>) -> bool {
        let runtime = current_runtime();
        let mut state = self.state.lock();
        let had = mem::replace(&mut state.runtime, runtime);
        let crowded = state.put_back(work);
        drop(state);
        drop(had);
        crowded
    }

    /// The flights in `here` now wait for this one as well.
    pub(crate) fn adopt(&self, here: Lineage) {
        if !here.is_empty() {
            let mut state = self.state.lock();
            state.lineage = mem::take(&mut state.lineage).and(here);
        }
    }

    /// The pilot's poll found the work pending. True: somebody joined, and the work needs a task.
    #[must_use]
    pub(crate) fn park(&self, seat: Seat, work: Work<T>, waker: Waker) -> bool {
        let mut state = self.state.lock();
        let parked = state.seats.park(seat, waker);
        let crowded = state.put_back(work);
        drop(state);
        drop(parked);
        crowded
    }

    /// Makes a task the pilot. No claim is given while the work is being polled: whoever polls it puts it back and
    /// asks again.
    pub(crate) fn claim_for_task(&self) -> Claim {
        let here = current_runtime();
        let mut state = self.state.lock();
        if !matches!(state.stage, Stage::Parked(_)) || state.pilot == Pilot::Task {
            return Claim::NotNeeded;
        }
        let Some(runtime) = state.runtime.take().or(here) else { return Claim::NoRuntime };
        state.pilot = Pilot::Task;
        Claim::Granted(runtime)
    }

    /// What the waiter in `seat` can do now. `spare`: it has work of its own. `parks`: the waker to leave in its
    /// seat, which takes the one that was there before.
    pub(crate) fn look(&self, seat: Seat, spare: bool, waker: &Waker, parks: &mut Option<Waker>) -> View<T> {
        let mut state = self.state.lock();
        let state = &mut *state;
        if let Some(value) = state.take_aside(seat) {
            return View::SetAside(value);
        }
        match mem::replace(&mut state.stage, Stage::Aloft) {
            Stage::Parked(work) if state.may_fly(seat) => {
                state.pilot = Pilot::Waiter(seat);
                return View::Fly(work);
            }
            Stage::Lost if spare => {
                state.spares -= 1;
                state.lead_anew(Some(seat));
                return View::LeadAnew;
            }
            unchanged => state.stage = unchanged,
        }
        let needs_task = matches!(state.stage, Stage::Parked(_)) && state.pilot != Pilot::Task;
        match &state.stage {
            Stage::Landed => View::Landed(self.share(seat).expect(LANDED)),
            Stage::Crashed(message) => View::Crashed(message.clone()),
            Stage::Stranded | Stage::Over => View::Stranded,
            _ if state.seats.has_parked(seat, waker) => View::Wait { needs_task },
            _ => match parks.take() {
                Some(waker) => {
                    *parks = state.seats.park(seat, waker);
                    View::Wait { needs_task }
                }
                None => View::BringWaker,
            },
        }
    }

    /// Takes the work of the waiter in `seat`, to be done in a task of this runtime should the flight be lost; at once,
    /// if it is lost already. Gives it back if there is such work.
    pub(crate) fn entrust(&self, seat: Seat, work: Work<T>) -> Option<Work<T>> {
        let (runtime, here) = (current_runtime(), Lineage::here());
        let mut state = self.state.lock();
        let is_underway = matches!(state.stage, Stage::Aloft | Stage::Parked(_) | Stage::Lost);
        let Some(runtime) = runtime.filter(|_| is_underway && state.reserve.is_none()) else { return Some(work) };
        state.spares -= 1;
        state.reserve = Some(Reserve { seat: Some(seat), work, runtime, here });
        if matches!(state.stage, Stage::Lost) {
            state.launch_reserve();
        }
        None
    }

    /// Gives back what the waiter in `seat` entrusted, if it was not needed so far.
    pub(crate) fn reclaim(&self, seat: Seat) -> Option<Work<T>> {
        let mut state = self.state.lock();
        let Reserve { work, runtime, here, .. } = state.reserve.take_if(|reserve| reserve.seat == Some(seat))?;
        state.spares += 1;
        drop(state);
        drop((runtime, here));
        Some(work)
    }

    /// One poll of the work, whoever is the pilot.
    pub(crate) fn step(self: &Arc<Self>, work: &mut Option<Work<T>>, cx: &mut Context<'_>) -> Step<T> {
        let _entered = reentry::enter(Polled::Flight(self.clone()));
        self.take_off(work.as_mut().expect("the pilot has the work"));
        step(work, cx)
    }

    /// The first poll of some work opens the span of the flight.
    fn take_off(&self, work: &mut Work<T>) {
        let Some(span) = work.take_off(self.home.observer().name()) else { return };
        let mut state = self.state.lock();
        if !state.is_open() {
            // All have left meanwhile, and how it ended was told without this span.
            drop(state);
            return span.end(Some(Outcome::Cancelled), 0);
        }
        let early = mem::replace(&mut state.span, span.clone());
        drop(state);
        early.link_early(&span);
    }

    /// The work gave a result, and the waiter in `seat` was its pilot, who gets its share at once. `None`: the result
    /// was not for it, and it goes on with the other followers.
    pub(crate) fn land(&self, value: T, seat: Seat, debris: &mut Debris) -> Option<Landed<T>> {
        match self.touch_down(value, Some(seat), debris) {
            TouchDown::Landed { own, share, mut seats, leftovers } => {
                let own_waker = seats.leave(seat);
                seats.wake_all();
                debris.sweep(own_waker);
                debris.sweep(leftovers);
                Some(Landed { own, share })
            }
            TouchDown::WentOn { own } => own.map(|value| Landed { own: Some(value), share: Share::SET_ASIDE }),
        }
    }

    /// The work gave a result, and a task was its pilot.
    pub(crate) fn land_for_others(self: Arc<Self>, value: T, debris: &mut Debris) {
        match self.touch_down(value, None, debris) {
            TouchDown::Landed { own, seats, leftovers, .. } => {
                // Before anybody is woken: the last waiter gets the original, however early it comes.
                debris.sweep((own, self));
                seats.wake_all();
                debris.sweep(leftovers);
            }
            TouchDown::WentOn { own } => debris.sweep(own),
        }
    }

    fn touch_down(&self, value: T, pilot: Option<Seat>, debris: &mut Debris) -> TouchDown<T> {
        if let Some(setback) = self.home.setback(&value) {
            let mut state = self.state.lock();
            if state.take_round(setback) {
                return TouchDown::WentOn { own: self.go_on(state, value, pilot, debris) };
            }
            state.takes_newcomers = false;
        }
        self.close(debris);
        let mut state = self.state.lock();
        let ending = self.release(&mut state, Some(Outcome::Landed));
        let share = Share { shared: state.shared, leads: pilot.is_some() && state.leader == pilot };
        let has_others = state.waiters > usize::from(pilot.is_some());
        let own = if has_others {
            state.stage = Stage::Landed;
            self.landing.set(Landing { value, shared: share.shared, leader: state.leader });
            None
        } else {
            state.stage = Stage::Over;
            Some(value)
        };
        let (seats, leftovers) = (state.seats.clear(), Leftovers(state.carrier.take(), state.reserve.take()));
        let is_leaderless = has_others && state.leader.is_none();
        drop(state);
        if is_leaderless {
            debris.run(|| self.home.leaderless(self.value()));
        }
        self.tell(Event::FlightOver(ending));
        TouchDown::Landed { own, share, seats, leftovers }
    }

    /// Leaves the value to the leader, and the flight to its followers, the first of which to be polled leads it anew.
    /// It stays in the table, so newcomers join them. Gives the value back to a leader that is the pilot.
    fn go_on(
        &self,
        mut state: MutexGuard<'_, State<T>>,
        value: T,
        pilot: Option<Seat>,
        debris: &mut Debris,
    ) -> Option<T> {
        let leader = state.leader.take();
        let waiters = usize::from(leader.is_some());
        self.count_out(waiters);
        state.waiters -= waiters;
        let ending = state.ending(Some(Outcome::Landed), waiters);
        (state.stage, state.pilot) = (Stage::Lost, Pilot::Nobody);
        let held = (state.carrier.take(), state.runtime.take());
        let (mut own, mut own_waker, mut nobodys) = (None, None, None);
        match leader {
            Some(seat) if pilot == Some(seat) => {
                own_waker = state.seats.leave(seat);
                own = Some(value);
            }
            Some(seat) => state.set_aside.push((seat, value)),
            None => nobodys = Some(value),
        }
        let wakers = state.seats.take_wakers();
        drop(state);
        self.tell(Event::FlightOver(ending));
        self.tell(Event::WentOn);
        wake_all(wakers);
        debris.sweep((own_waker, held));
        debris.sweep(nobodys);
        own
    }

    /// What the waiter in `seat` is to the flight, if that has landed.
    pub(crate) fn share(&self, seat: Seat) -> Option<Share> {
        self.landing.get().map(|landing| Share { shared: landing.shared, leads: landing.leader == Some(seat) })
    }

    /// What it landed with.
    pub(crate) fn value(&self) -> &T {
        &self.landing.get().expect(LANDED).value
    }

    /// What it landed with, for one who has its share: a clone, but the original for the last.
    pub(crate) fn into_value(self: Arc<Self>) -> T
    where
        T: Clone,
    {
        let flight = match Arc::strong_count(&self) {
            1 => Arc::try_unwrap(self),
            _ => Err(self),
        };
        let flight = match flight {
            Ok(flight) => return flight.landing.into_inner().expect(LANDED).value,
            Err(flight) => flight,
        };
        let (value, mut debris) = (flight.value().clone(), Debris::default());
        // It may have become the last: were that to panic at the end of this function, the clone would be leaked.
        debris.sweep(flight);
        debris.rethrow_or(value)
    }

    /// The work panicked.
    pub(crate) fn crash(&self, payload: &Payload) {
        let mut debris = Debris::default();
        self.close(&mut debris);
        self.end(self.state.lock(), Stage::Crashed(Message::of(payload)), Some(Outcome::Panicked), &mut debris);
        debris.swallow();
    }

    /// Ends the flight without a value, and tells the waiters.
    fn end(&self, mut state: MutexGuard<'_, State<T>>, stage: Stage<T>, outcome: Option<Outcome>, debris: &mut Debris) {
        let ending = self.release(&mut state, outcome);
        let was = mem::replace(&mut state.stage, stage);
        let (seats, carrier) = (state.seats.clear(), state.carrier.take());
        let reserve = state.reserve.take();
        drop(state);
        self.close(debris);
        self.tell(Event::FlightOver(ending));
        seats.wake_all();
        debris.sweep((was, carrier));
        debris.sweep(reserve);
    }

    /// The work is gone without a result: its task was dropped, or it never boarded. True: there is other work, and it
    /// needs a task.
    #[must_use]
    pub(crate) fn lose(&self) -> bool {
        let mut debris = Debris::default();
        let needs_task = self.lost(self.state.lock(), &mut debris);
        debris.swallow();
        needs_task
    }

    fn lost(&self, mut state: MutexGuard<'_, State<T>>, debris: &mut Debris) -> bool {
        if !matches!(state.stage, Stage::Aloft | Stage::Parked(_)) {
            return false;
        }
        if state.spares == 0 && state.reserve.is_none() {
            self.end(state, Stage::Stranded, Some(Outcome::Lost), debris);
            return false;
        }
        let ending = state.ending(Some(Outcome::Lost), 0);
        let work = mem::replace(&mut state.stage, Stage::Lost);
        state.pilot = Pilot::Nobody;
        let held = (state.carrier.take(), state.runtime.take());
        let needs_task = state.launch_reserve();
        let wakers = if needs_task { Vec::new() } else { state.seats.take_wakers() };
        drop(state);
        self.tell(Event::FlightOver(ending));
        wake_all(wakers);
        debris.sweep((work, held));
        needs_task
    }

    /// The waiter in `seat` goes. If it was the last, the work is dropped before this returns, unless
    /// the flight runs to completion: then `true` says that it needs a task.
    #[must_use]
    pub(crate) fn leave(&self, seat: Seat, spare: bool, debris: &mut Debris) -> bool {
        let mut state = self.state.lock();
        if let Some(value) = state.take_aside(seat) {
            drop(state);
            debris.sweep(value);
            return false;
        }
        match state.stage {
            Stage::Landed if state.leader == Some(seat) => {
                drop(state);
                debris.run(|| self.home.leaderless(self.value()));
                false
            }
            Stage::Landed | Stage::Crashed(_) | Stage::Stranded | Stage::Over => false,
            Stage::Aloft | Stage::Parked(_) | Stage::Lost => {
                self.count_out(1);
                let waker = state.vacate(seat, spare);
                let needs_task = self.left(state, seat, debris);
                self.tell(Event::Left);
                debris.sweep(waker);
                needs_task
            }
        }
    }

    /// What a departure means for those who stay, or for the work if nobody does.
    fn left(&self, mut state: MutexGuard<'_, State<T>>, seat: Seat, debris: &mut Debris) -> bool {
        let pilotless = state.pilot == Pilot::Waiter(seat);
        if pilotless {
            state.pilot = Pilot::Nobody;
        }
        let empty = state.waiters == 0;
        match state.stage {
            _ if empty && !state.run_to_completion => self.cancel(state, debris),
            Stage::Lost if empty => self.cancel(state, debris),
            Stage::Lost if state.spares == 0 => self.end(state, Stage::Stranded, None, debris),
            // It went while it had the work: it panicked, and the work with it.
            Stage::Aloft if pilotless => return self.lost(state, debris),
            Stage::Parked(_) if empty => return true,
            // There is no runtime, so that another waiter must fly.
            _ if pilotless => {
                let wakers = state.seats.take_wakers();
                drop(state);
                wake_all(wakers);
            }
            _ => {}
        }
        false
    }

    /// Nobody waits, and nobody can carry the work on.
    pub(crate) fn cancel_if_deserted(&self, debris: &mut Debris) {
        let state = self.state.lock();
        if state.waiters == 0 && matches!(state.stage, Stage::Parked(_)) {
            self.cancel(state, debris);
        }
    }

    /// Nobody waits: drops the work. Ending it here, under the lock, is what keeps newcomers out.
    fn cancel(&self, mut state: MutexGuard<'_, State<T>>, debris: &mut Debris) {
        let work = mem::replace(&mut state.stage, Stage::Over);
        let (carrier, reserve) = (state.carrier.take(), state.reserve.take());
        // That it was lost was told already.
        let outcome = (!matches!(work, Stage::Lost)).then_some(Outcome::Cancelled);
        let ending = state.ending(outcome, 0);
        drop(state);
        self.close(debris);
        wake_all(carrier);
        debris.sweep(work);
        debris.sweep(reserve);
        self.tell(Event::FlightOver(ending));
    }

    /// Takes the flight off the table and the gauge, once.
    fn close(&self, debris: &mut Debris) {
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Err(payload) = self.home.unlink(self.place, self) {
            debris.keep(payload);
        }
        self.tell(Event::Closed);
    }

    /// For the task that carries the flight: the work, or `None` if there is nothing left to do.
    /// `parks`: the waker that ends the task early.
    pub(crate) fn take_aboard(&self, parks: Option<Waker>) -> Option<Work<T>> {
        let mut state = self.state.lock();
        let had = parks.and_then(|waker| state.carrier.replace(waker));
        let work = match mem::replace(&mut state.stage, Stage::Aloft) {
            Stage::Parked(work) => Some(work),
            other => {
                state.stage = other;
                None
            }
        };
        drop(state);
        drop(had);
        work
    }

    /// The task's poll found the work pending. Gives it back if everybody left meanwhile.
    pub(crate) fn put_down(&self, work: Work<T>) -> Option<Work<T>> {
        let mut state = self.state.lock();
        if !matches!(state.stage, Stage::Aloft) {
            return Some(work);
        }
        state.stage = Stage::Parked(work);
        None
    }
}

impl<T> fmt::Debug for Flight<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flight").finish_non_exhaustive()
    }
}

impl<T> State<T> {
    fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Aloft | Stage::Parked(_) | Stage::Lost)
    }

    fn refuses_newcomer(&self, rules: &Rules) -> Option<NearMiss> {
        if self.waiters >= rules.max_waiters {
            Some(NearMiss::Full)
        } else if !self.is_young(rules.join_within) {
            Some(NearMiss::TooOld)
        } else {
            None
        }
    }

    fn is_young(&self, join_within: Option<Duration>) -> bool {
        // Of one whose time is not known it is said that it is too old.
        join_within.is_none_or(|limit| self.opened.is_some_and(|opened| opened.elapsed() < limit))
    }

    fn seat_newcomer(&mut self, rules: &Rules, caller: &mut Caller) -> Boarding {
        let seat = self.seats.sit();
        let leads_anew = matches!(self.stage, Stage::Lost);
        self.waiters += 1;
        self.shared = true;
        self.run_to_completion |= rules.run_to_completion;
        let link = if leads_anew {
            self.stage = Stage::Aloft;
            self.lead_anew(Some(seat));
            Link::default()
        } else {
            self.spares += 1;
            self.span.join(caller)
        };
        Boarding::Seat { seat, leads_anew, needs_task: self.pilot != Pilot::Task, link }
    }

    /// What is to be told of the end, once nothing is locked. `released`: waiters that wait no more.
    fn ending(&mut self, outcome: Option<Outcome>, released: usize) -> Ending {
        Ending { outcome, opened: self.opened, released, span: mem::take(&mut self.span) }
    }

    /// True: the pilot is a waiter that has company.
    fn put_back(&mut self, work: Work<T>) -> bool {
        debug_assert!(matches!(self.stage, Stage::Aloft), "only the pilot has the work");
        self.stage = Stage::Parked(work);
        self.waiters > 1
    }

    /// Takes a round, if one is left and there are followers with requests of their own to go on.
    fn take_round(&mut self, after: Setback) -> bool {
        let rounds = self.rounds.left(after);
        if *rounds == 0 || self.spares == 0 || !matches!(self.stage, Stage::Aloft) {
            return false;
        }
        *rounds -= 1;
        true
    }

    /// The result of the leader in `seat`, whose followers went on. It waits no more.
    fn take_aside(&mut self, seat: Seat) -> Option<T> {
        let at = self.set_aside.iter().position(|(leader, _)| *leader == seat)?;
        if self.is_open() {
            // It was woken when the value was set aside, and has parked no waker since.
            drop(self.seats.leave(seat));
        }
        Some(self.set_aside.swap_remove(at).1)
    }

    fn may_fly(&self, seat: Seat) -> bool {
        self.pilot == Pilot::Waiter(seat) || self.pilot == Pilot::Nobody
    }

    fn lead_anew(&mut self, seat: Option<Seat>) {
        self.pilot = seat.map_or(Pilot::Nobody, Pilot::Waiter);
        self.leader = seat;
        self.shared = self.waiters > usize::from(seat.is_some());
        self.opened = Some(Instant::now());
    }

    /// True: there was a reserve, and it needs a task.
    fn launch_reserve(&mut self) -> bool {
        let Some(Reserve { seat, work, runtime, here }) = self.reserve.take() else { return false };
        self.lead_anew(seat);
        self.lineage = mem::take(&mut self.lineage).and(here);
        self.stage = Stage::Parked(work);
        self.runtime = Some(runtime);
        true
    }

    fn vacate(&mut self, seat: Seat, spare: bool) -> Option<Waker> {
        self.waiters -= 1;
        self.spares -= usize::from(spare);
        self.leader = self.leader.filter(|leader| *leader != seat);
        if let Some(reserve) = &mut self.reserve {
            reserve.seat = reserve.seat.filter(|owner| *owner != seat);
        }
        self.seats.leave(seat)
    }
}

impl<T: Send + Sync + 'static> Underway for Flight<T> {
    fn is_underway(&self) -> bool {
        !self.closed.load(Ordering::Acquire)
    }

    fn lineage(&self) -> Lineage {
        self.state.lock().lineage.clone()
    }
}
