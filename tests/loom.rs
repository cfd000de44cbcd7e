//! A model check of the core: every order, within a bound on preemptions, in which threads can
//! join, land, drop, forget, move to a task, lose their task, lead anew, go on after a failure and
//! lose their patience. What HTTP adds has models of its own, in `src/http/models`.
//!
//! ```text
//! RUSTFLAGS="--cfg tower_singleflight_loom" cargo test --release --no-default-features --test loom
//! ```
//!
//! Covered: the locks of the table and of the flights, the landing that is read without one, every
//! waker, and the tasks that carry flights. Not covered: the counters and the flag that a flight is
//! closed, which are `std`'s and so single steps; time; more than three threads besides the tasks;
//! more than three preemptions.
#![cfg(tower_singleflight_loom)]
#![allow(missing_docs, reason = "a test says what it tests in its name")]

use loom::{
    future::block_on,
    model::Builder,
    sync::Mutex,
    thread::{self, JoinHandle},
};
use std::{
    future::poll_fn,
    hash::{BuildHasherDefault, DefaultHasher},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
};
use tower_singleflight::{Outcome, Role, Run, model};

type Group = tower_singleflight::Group<u32, Value, BuildHasherDefault<DefaultHasher>>;

const KEY: u32 = 1;

/// Runs `scenario` in every order, and checks after each that nothing is left.
fn check(scenario: impl Fn(&World) + Send + Sync + 'static) {
    check_with(2, scenario);
}

fn check_with(preemptions: usize, scenario: impl Fn(&World) + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound.get_or_insert(preemptions);
    builder.check(move || {
        model::reset();
        let world = World::new();
        scenario(&world);
        model::join_tasks();
        assert_eq!(world.group.in_flight(), 0, "no flight is left");
        assert_eq!(world.group.stats().waiting, 0, "nobody is counted as waiting");
        assert_eq!(world.works.get(), 0, "every work was dropped");
        assert_eq!(world.values.get(), 0, "every value was dropped");
    });
}

/// A group, and what is alive in it.
#[derive(Clone)]
struct World {
    group: Group,
    works: Alive,
    values: Alive,
    /// How many works began.
    begun: Arc<AtomicUsize>,
}

#[derive(Clone, Default)]
struct Alive(Arc<AtomicUsize>);

impl Alive {
    fn get(&self) -> usize {
        self.0.load(SeqCst)
    }

    fn one(&self) -> One {
        self.0.fetch_add(1, SeqCst);
        One(self.clone())
    }
}

struct One(Alive);

impl Drop for One {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, SeqCst);
    }
}

/// Says whose work it is from. Works with a number from 100 on fail.
struct Value(u32, One);

impl model::MayFail for Value {
    fn failed(&self) -> bool {
        self.0 >= 100
    }
}

impl Clone for Value {
    fn clone(&self) -> Self {
        Self(self.0, self.1.0.one())
    }
}

impl World {
    fn new() -> Self {
        let group = Group::retrying(BuildHasherDefault::new());
        Self { group, works: Alive::default(), values: Alive::default(), begun: Arc::default() }
    }

    /// How many works began.
    fn begun(&self) -> usize {
        self.begun.load(SeqCst)
    }

    /// As `run`. If it leads a flight, the followers go on after one failure.
    fn retry(&self, number: u32) -> Run<Value> {
        self.retry_times(1, number)
    }

    fn retry_times(&self, retries: u32, number: u32) -> Run<Value> {
        self.group.run_and_retry(retries, KEY, self.work(number, None))
    }

    /// The patience of `run` ends, unless it leads by now.
    fn run_newer(&self, run: Run<Value>, number: u32) -> Run<Value> {
        self.group.run_newer(run, 1, KEY, self.work(number, None))
    }

    /// A call whose work is pending once, and then gives `number`.
    fn run(&self, number: u32) -> Run<Value> {
        self.group.run(KEY, self.work(number, None))
    }

    /// A call whose work waits for the signal.
    fn run_on(&self, number: u32, signal: &Signal) -> Run<Value> {
        self.group.run(KEY, self.work(number, Some(signal.clone())))
    }

    fn run_and_panic(&self) -> Run<Value> {
        let work = self.works.one();
        self.group.run(KEY, move || async move {
            let _work = work;
            yield_once().await;
            std::panic::resume_unwind(Box::new("work"))
        })
    }

    fn work(&self, number: u32, signal: Option<Signal>) -> impl FnOnce() -> Work + Send + 'static {
        let (work, values, begun) = (self.works.one(), self.values.clone(), self.begun.clone());
        move || {
            begun.fetch_add(1, SeqCst);
            Box::pin(async move {
                let _work = work;
                match signal {
                    Some(signal) => poll_fn(|cx| signal.poll(cx)).await,
                    None => yield_once().await,
                }
                Value(number, values.one())
            })
        }
    }

    /// Work that counts its landing.
    fn counted(
        &self,
        number: u32,
        landed: &Arc<AtomicUsize>,
    ) -> impl FnOnce() -> Work + Send + 'static {
        let (work, landed) = (self.work(number, None), landed.clone());
        move || {
            Box::pin(async move {
                let value = work().await;
                landed.fetch_add(1, SeqCst);
                value
            })
        }
    }

    fn thread<R: 'static>(&self, f: impl FnOnce(World) -> R + 'static) -> JoinHandle<R> {
        let world = self.clone();
        thread::spawn(move || f(world))
    }
}

type Work = Pin<Box<dyn Future<Output = Value> + Send>>;

async fn yield_once() {
    let mut yielded = false;
    poll_fn(|cx| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

/// Wakes the last that polled it.
#[derive(Clone)]
struct Signal(Arc<Mutex<(bool, Option<Waker>)>>);

impl Signal {
    fn new() -> Self {
        Self(Arc::new(Mutex::new((false, None))))
    }

    fn give(&self) {
        let waker = {
            let mut state = self.0.lock().unwrap();
            state.0 = true;
            state.1.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.lock().unwrap();
        if state.0 {
            return Poll::Ready(());
        }
        state.1 = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// Polls once. Gives the run back if it is still pending.
fn poll_once(mut run: Run<Value>) -> Option<Run<Value>> {
    let ready = block_on(poll_fn(|cx| Poll::Ready(Pin::new(&mut run).poll(cx).is_ready())));
    (!ready).then_some(run)
}

/// Polls once. The number, or the run if it is still pending.
fn poll_for_number(mut run: Run<Value>) -> Result<u32, Run<Value>> {
    let polled = block_on(poll_fn(|cx| Poll::Ready(Pin::new(&mut run).poll(cx))));
    match polled {
        Poll::Ready(outcome) => Ok(outcome.value.0),
        Poll::Pending => Err(run),
    }
}

/// The number that a caller gets whose patience ends after one poll, and whose own work has
/// `number` then.
fn impatient(world: &World, run: Run<Value>, number: u32) -> u32 {
    poll_for_number(run).unwrap_or_else(|run| self::number(world.run_newer(run, number)))
}

/// Who gave the value, whether it was shared, and this caller's role.
fn outcome(run: Run<Value>) -> (u32, bool, Role) {
    let Outcome { value, shared, role, .. } = block_on(run);
    (value.0, shared, role)
}

fn number_of(outcome: Outcome<Value>) -> (u32, bool) {
    (outcome.value.0, outcome.shared)
}

fn number(run: Run<Value>) -> u32 {
    outcome(run).0
}

/// The number, or `None` after a panic with a text that has `text` in it.
fn number_or_panic(run: Run<Value>, text: &str) -> Option<u32> {
    let payload = match catch_unwind(AssertUnwindSafe(|| number(run))) {
        Ok(number) => return Some(number),
        Err(payload) => payload,
    };
    let told = payload.downcast_ref::<&str>().copied().map(String::from);
    let told = told.or_else(|| payload.downcast_ref::<String>().cloned()).expect("a text");
    assert!(told.contains(text), "{told}");
    None
}

#[test]
fn two_callers_join_or_lead() {
    check_with(3, |world| {
        let other = world.thread(|world| outcome(world.run(2)));
        let mine = outcome(world.run(1));
        let other = other.join().unwrap();
        if mine.1 || other.1 {
            assert_eq!(mine.0, other.0, "they shared one flight");
            assert_ne!(mine.2, other.2, "one of them led it");
        } else {
            assert_eq!((mine.0, other.0), (1, 2));
        }
    });
}

#[test]
fn three_callers_join_or_lead() {
    check(|world| {
        let two = world.thread(|world| outcome(world.run(2)));
        let three = world.thread(|world| outcome(world.run(3)));
        let all = [outcome(world.run(1)), two.join().unwrap(), three.join().unwrap()];
        for (value, shared, role) in all {
            let led = all[value as usize - 1];
            assert_eq!(
                (led.0, led.2),
                (value, Role::Leader),
                "each value is from its leader's flight"
            );
            assert_eq!(led.1, shared, "all of a flight say the same");
            let others = all.iter().filter(|other| other.0 == value).count();
            assert_eq!(shared, others > 1 || role == Role::Follower);
        }
    });
}

#[test]
fn a_parked_leader_is_woken_when_a_task_lands_its_work() {
    check_with(3, |world| {
        let signal = Signal::new();
        let leader = world.run_on(1, &signal);
        let leader = thread::spawn(move || number(leader));
        let follower = world.run(2);
        signal.give();
        let follower = number(follower);
        let leader = leader.join().unwrap();
        assert!(leader == 1 && (follower == 1 || follower == 2), "{leader} {follower}");
    });
}

#[test]
fn work_is_woken_while_it_moves_to_a_task() {
    check(|world| {
        let signal = Signal::new();
        let leader = world.run_on(1, &signal);
        let other = signal.clone();
        let lander = thread::spawn(move || other.give());
        let leader = thread::spawn(move || number(leader));
        let follower = number(world.run_on(2, &signal));
        lander.join().unwrap();
        assert_eq!(leader.join().unwrap(), 1);
        assert!(follower == 1 || follower == 2);
    });
}

#[test]
fn a_leader_goes_quiet_while_a_follower_joins() {
    check_with(3, |world| {
        let leader = world.run(1);
        let quiet = thread::spawn(move || poll_once(leader));
        let follower = number(world.run(2));
        assert!(follower == 1 || follower == 2);
        let leader = quiet.join().unwrap();
        assert!(leader.is_none_or(|leader| number(leader) == 1));
    });
}

#[test]
fn a_follower_goes_quiet_and_takes_its_value_later() {
    check(|world| {
        let leader = world.run(1);
        let quiet = world.run(2);
        let next = thread::spawn(move || poll_once(quiet));
        assert_eq!(number(leader), 1);
        let quiet = next.join().unwrap();
        assert!(quiet.is_none_or(|quiet| number(quiet) == 1));
    });
}

#[test]
fn a_leader_leaves_while_a_follower_joins() {
    check_with(3, |world| {
        let leader = world.run(1);
        let leaving = thread::spawn(move || drop(poll_once(leader)));
        let mine = number(world.run(2));
        leaving.join().unwrap();
        assert!(mine == 1 || mine == 2);
    });
}

#[test]
fn a_leader_that_was_never_polled_leaves_while_two_follow() {
    check(|world| {
        let leader = world.run(1);
        let follower = world.run(2);
        let leaving = thread::spawn(move || drop(leader));
        let late = world.thread(|world| number(world.run(3)));
        assert_eq!(number(follower), 1);
        assert!([1, 3].contains(&late.join().unwrap()));
        leaving.join().unwrap();
    });
}

#[test]
fn a_follower_leaves_while_the_flight_lands() {
    check_with(3, |world| {
        let leader = world.run(1);
        let follower = world.run(2);
        let leaving = thread::spawn(move || drop(poll_once(follower)));
        assert_eq!(number(leader), 1);
        leaving.join().unwrap();
    });
}

#[test]
fn everybody_leaves_while_the_flight_lands() {
    check_with(3, |world| {
        let leader = world.run(1);
        let follower = world.run(2);
        let leaving = thread::spawn(move || drop(follower));
        drop(poll_once(leader));
        leaving.join().unwrap();
    });
}

#[test]
fn everybody_leaves_work_that_never_wakes() {
    check_with(3, |world| {
        let never = Signal::new();
        let (leader, follower) = (world.run_on(1, &never), world.run_on(2, &never));
        let leaving = thread::spawn(move || drop(follower));
        drop(poll_once(leader));
        leaving.join().unwrap();
    });
}

#[test]
fn a_newcomer_comes_while_the_sole_caller_leaves() {
    check_with(3, |world| {
        let old = world.run(1);
        let leaving = thread::spawn(move || drop(old));
        let mine = outcome(world.run(2));
        leaving.join().unwrap();
        assert!(mine == (1, true, Role::Follower) || mine == (2, false, Role::Leader), "{mine:?}");
    });
}

#[test]
fn a_newcomer_comes_while_the_last_two_leave() {
    check(|world| {
        let (leader, follower) = (world.run(1), world.run(2));
        let first = thread::spawn(move || drop(leader));
        let second = thread::spawn(move || drop(follower));
        let mine = outcome(world.run(3));
        first.join().unwrap();
        second.join().unwrap();
        assert!(mine == (1, true, Role::Follower) || mine == (3, false, Role::Leader), "{mine:?}");
    });
}

#[test]
fn two_newcomers_come_while_the_last_leaves() {
    check(|world| {
        let old = world.run(1);
        let leaving = thread::spawn(move || drop(old));
        let other = world.thread(|world| number(world.run(2)));
        let mine = number(world.run(3));
        leaving.join().unwrap();
        let other = other.join().unwrap();
        assert!([1, 2, 3].contains(&mine) && [1, 2, 3].contains(&other));
        assert!(mine != 1 || other != 1 || mine == other);
    });
}

#[test]
fn nobody_joins_a_forgotten_flight() {
    check(|world| {
        let old = world.run(1);
        let forgetful = world.thread(|world| {
            world.group.forget(&KEY);
            number(world.run(2))
        });
        let late = world.thread(|world| number(world.run(3)));
        assert_eq!(number(old), 1);
        assert!(
            [2, 3].contains(&forgetful.join().unwrap()),
            "it forgot the first flight before it called"
        );
        assert!([1, 2, 3].contains(&late.join().unwrap()));
    });
}

#[test]
fn a_forgotten_flight_lands_and_leaves_the_newer_one_listed() {
    check_with(3, |world| {
        let old = world.run(1);
        world.group.forget(&KEY);
        let newer = world.run(2);
        let landing = thread::spawn(move || number(old));
        let late = number(world.run(3));
        assert_eq!(late, 2, "the newer flight has not landed, so it takes the newcomer");
        assert_eq!(number(newer), 2);
        assert_eq!(landing.join().unwrap(), 1);
    });
}

#[test]
fn a_sole_caller_leaves_while_it_is_forgotten_and_another_leads() {
    check_with(3, |world| {
        let old = poll_once(world.run(1)).expect("it yields once");
        let other = world.thread(|world| {
            world.group.forget(&KEY);
            number(world.run(2))
        });
        drop(old);
        assert_eq!(other.join().unwrap(), 2);
    });
}

#[test]
fn a_newcomer_comes_while_work_calls_another_key_and_its_own() {
    check(|world| {
        let (inside, work) = (world.clone(), world.work(1, None));
        let leader = world.group.run(KEY, move || async move {
            let other = inside.group.run(KEY + 1, work);
            assert_eq!(number_of(inside.run(2).await), (2, false), "it would wait for itself");
            other.await.value
        });
        let newcomer = world.thread(|world| number(world.run(3)));
        assert_eq!(number(leader), 1);
        assert!([1, 3].contains(&newcomer.join().unwrap()));
    });
}

#[test]
fn spawned_work_lands_though_its_ticket_is_dropped() {
    check_with(3, |world| {
        let landed = Arc::new(AtomicUsize::new(0));
        drop(world.group.spawn(KEY, world.counted(1, &landed)));
        let newcomer = world.group.run(KEY, world.counted(2, &landed));
        drop(poll_once(newcomer));
        model::join_tasks();
        assert!(landed.load(SeqCst) >= 1);
    });
}

#[test]
fn a_run_that_is_spawned_meanwhile_is_finished() {
    check_with(3, |world| {
        let landed = Arc::new(AtomicUsize::new(0));
        let run = world.group.run(KEY, world.counted(1, &landed));
        let leaving = thread::spawn(move || drop(poll_once(run)));
        drop(world.group.spawn(KEY, world.counted(2, &landed)));
        leaving.join().unwrap();
        model::join_tasks();
        assert!(landed.load(SeqCst) >= 1);
    });
}

#[test]
fn both_waiters_get_the_panic_or_lead_their_own() {
    check(|world| {
        let leader = world.run_and_panic();
        let leader = thread::spawn(move || number_or_panic(leader, "work"));
        let follower = number_or_panic(world.run(2), "work");
        assert_eq!(leader.join().unwrap(), None);
        assert!(follower.is_none_or(|number| number == 2));
    });
}

#[test]
fn a_waiter_leaves_while_the_work_panics() {
    check_with(3, |world| {
        let leader = world.run_and_panic();
        let follower = world.run(2);
        let leaving = thread::spawn(move || drop(follower));
        assert_eq!(number_or_panic(leader, "work"), None);
        leaving.join().unwrap();
    });
}

#[test]
fn a_task_dies_unpolled_and_a_follower_leads_anew() {
    lost(0);
}

#[test]
fn a_task_dies_after_a_poll_and_a_follower_leads_anew() {
    lost(1);
}

fn lost(polls: usize) {
    check(move |world| {
        model::next_task_dies_after(polls);
        let leader = world.run(1);
        let follower = world.run(2);
        let leader = thread::spawn(move || number(leader));
        let follower = number(follower);
        assert_eq!(leader.join().unwrap(), follower);
        assert_eq!(follower, 2, "the first work has gone with its task");
    });
}

#[test]
fn one_of_two_followers_leads_anew_and_both_get_a_value() {
    check(|world| {
        model::next_task_dies_after(1);
        let leader = world.run(1);
        let (two, three) = (world.run(2), world.run(3));
        let two = thread::spawn(move || number(two));
        let three = number(three);
        assert_eq!(two.join().unwrap(), three);
        assert!(three == 2 || three == 3);
        assert_eq!(number(leader), three);
    });
}

#[test]
fn an_heir_leaves_while_its_flight_is_lost() {
    check(|world| {
        model::next_task_dies_after(0);
        let leader = world.run(1);
        let (two, three) = (world.run(2), world.run(3));
        let leaving = thread::spawn(move || drop(poll_once(two)));
        let three = number(three);
        leaving.join().unwrap();
        assert!(three == 2 || three == 3);
        assert_eq!(number(leader), three);
    });
}

#[test]
fn the_last_with_work_leaves_while_its_flight_is_lost() {
    check(|world| {
        model::next_task_dies_after(1);
        let leader = world.run(1);
        let follower = world.run(2);
        let leaving = thread::spawn(move || drop(poll_once(follower)));
        let told = number_or_panic(leader, "tower-singleflight");
        leaving.join().unwrap();
        assert!(told.is_none_or(|number| number == 2));
    });
}

#[test]
fn a_newcomer_comes_while_a_flight_is_lost() {
    check(|world| {
        model::next_task_dies_after(0);
        let leader = world.run(1);
        let follower = world.run(2);
        let newcomer = world.thread(|world| number(world.run(3)));
        let mine = number(follower);
        let theirs = newcomer.join().unwrap();
        assert!([2, 3].contains(&mine) && [2, 3].contains(&theirs));
        assert_eq!(number(leader), mine);
    });
}

#[test]
fn everybody_leaves_while_a_flight_is_lost() {
    check(|world| {
        model::next_task_dies_after(1);
        let leader = world.run(1);
        let follower = world.run(2);
        let leaving = thread::spawn(move || drop(leader));
        drop(poll_once(follower));
        leaving.join().unwrap();
    });
}

#[test]
fn without_a_runtime_an_heir_flies_when_the_leader_leaves() {
    check_with(3, |world| {
        model::without_runtime();
        let leader = world.run(1);
        let follower = world.run(2);
        let leaving = thread::spawn(move || drop(poll_once(leader)));
        assert_eq!(number(follower), 1);
        leaving.join().unwrap();
    });
}

#[test]
fn without_a_runtime_two_heirs_vie_and_one_leaves() {
    check(|world| {
        model::without_runtime();
        let signal = Signal::new();
        let leader = world.run_on(1, &signal);
        let (two, three) = (world.run(2), world.run(3));
        let leader = thread::spawn(move || drop(poll_once(leader)));
        let two = thread::spawn(move || drop(poll_once(two)));
        signal.give();
        assert_eq!(number(three), 1);
        leader.join().unwrap();
        two.join().unwrap();
    });
}

#[test]
fn without_a_runtime_a_follower_waits_for_its_leader() {
    check_with(3, |world| {
        model::without_runtime();
        let leader = world.run(1);
        let leader = thread::spawn(move || number(leader));
        let mine = number(world.run(2));
        assert_eq!(leader.join().unwrap(), 1);
        assert!(mine == 1 || mine == 2);
    });
}

#[test]
fn a_leader_leaves_while_its_failure_lands() {
    check_with(3, |world| {
        let (leader, follower) = (world.retry(101), world.run(2));
        let leaving = thread::spawn(move || drop(poll_once(leader)));
        assert_eq!(outcome(follower), (2, false, Role::Leader));
        leaving.join().unwrap();
        assert_eq!(world.begun(), 2);
    });
}

#[test]
fn a_leader_that_was_never_polled_leaves_while_its_failure_lands() {
    check_with(3, |world| {
        let (leader, follower) = (world.retry(101), world.run(2));
        let leaving = thread::spawn(move || drop(leader));
        assert_eq!(number(follower), 2);
        leaving.join().unwrap();
        assert_eq!(world.begun(), 2);
    });
}

#[test]
fn a_follower_leaves_while_a_failure_lands() {
    check(|world| {
        let (leader, two, three) = (world.retry(101), world.run(2), world.run(3));
        let leaving = thread::spawn(move || drop(poll_once(two)));
        let three = number(three);
        assert!(three == 2 || three == 3);
        leaving.join().unwrap();
        assert_eq!((number(leader), world.begun()), (101, 2));
    });
}

#[test]
fn a_newcomer_comes_while_a_failure_lands() {
    check(|world| {
        let (leader, follower) = (world.retry(101), world.run(2));
        let newcomer = world.thread(|world| number(world.run(3)));
        let mine = number(follower);
        let theirs = newcomer.join().unwrap();
        assert!([2, 3].contains(&mine) && [2, 3].contains(&theirs), "{mine} {theirs}");
        assert!(world.begun() == 2 || (mine, theirs, world.begun()) == (2, 3, 3));
        assert_eq!(number(leader), 101);
    });
}

#[test]
fn a_failure_comes_while_its_follower_is_polled() {
    check(|world| {
        let signal = Signal::new();
        let leader = world.group.run_and_retry(1, KEY, world.work(101, Some(signal.clone())));
        let follower = world.run(2);
        let follower = thread::spawn(move || outcome(follower));
        signal.give();
        assert_eq!(outcome(leader), (101, true, Role::Leader));
        assert_eq!(follower.join().unwrap(), (2, false, Role::Leader));
    });
}

#[test]
fn two_followers_are_polled_at_once_after_a_failure() {
    check(|world| {
        let (leader, two, three) = (world.retry(101), world.run(2), world.run(3));
        let two = thread::spawn(move || outcome(two));
        let (three, two) = (outcome(three), two.join().unwrap());
        assert_eq!(three.0, two.0, "they are in one flight");
        assert_ne!(three.2, two.2, "one of them leads it");
        assert!(three.1 && two.1);
        assert_eq!((number(leader), world.begun()), (101, 2));
    });
}

#[test]
fn a_leader_takes_its_failure_while_the_next_flight_lands() {
    check_with(3, |world| {
        let (leader, follower) = (world.retry(101), world.run(2));
        let follower = thread::spawn(move || number(follower));
        assert_eq!(outcome(leader), (101, true, Role::Leader));
        assert_eq!(follower.join().unwrap(), 2);
    });
}

#[test]
fn a_leader_that_comes_late_finds_its_failure_beside_that_of_the_next_flight() {
    check(|world| {
        let (leader, two, three) = (world.retry(101), world.run(102), world.run(103));
        let two = thread::spawn(move || number(two));
        let three = number(three);
        assert_eq!(two.join().unwrap(), three, "there is no third flight");
        assert!(three == 102 || three == 103);
        assert_eq!((number(leader), world.begun()), (101, 2));
    });
}

#[test]
fn each_of_three_fails_in_turn() {
    // There may be six threads.
    check_with(1, |world| {
        let (leader, two, three) = (world.retry_times(2, 101), world.run(102), world.run(103));
        let two = thread::spawn(move || number(two));
        assert_eq!(number(three), 103);
        assert_eq!((number(leader), two.join().unwrap(), world.begun()), (101, 102, 3));
    });
}

#[test]
fn everybody_leaves_while_a_failure_lands() {
    check_with(3, |world| {
        let (leader, follower) = (world.retry(101), world.run(2));
        let leaving = thread::spawn(move || drop(poll_once(follower)));
        drop(leader);
        leaving.join().unwrap();
    });
}

#[test]
fn a_newcomer_comes_while_everybody_leaves_a_failure() {
    check(|world| {
        let (leader, follower) = (world.retry(101), world.run(2));
        let leaving = thread::spawn(move || drop((follower, leader)));
        let mine = number(world.run(3));
        leaving.join().unwrap();
        assert_eq!(mine, 3, "the failure is not for it, also if it comes as that lands");
    });
}

#[test]
fn the_next_flight_panics_and_the_leader_has_its_failure() {
    check(|world| {
        let (leader, two, three) = (world.retry(101), world.run_and_panic(), world.run_and_panic());
        let two = thread::spawn(move || number_or_panic(two, "work"));
        assert_eq!(number_or_panic(three, "work"), None);
        assert_eq!(two.join().unwrap(), None);
        assert_eq!(number(leader), 101);
    });
}

#[test]
fn the_next_flight_is_lost_and_the_last_follower_leads() {
    // There may be six threads.
    check_with(1, |world| {
        let (leader, two, three) = (world.retry(101), world.run(2), world.run(3));
        model::next_task_dies_after(1);
        let two = thread::spawn(move || number(two));
        let three = number(three);
        assert_eq!(two.join().unwrap(), three);
        assert!(three == 2 || three == 3);
        assert_eq!(number(leader), 101);
    });
}

#[test]
fn a_patience_ends_while_the_flight_lands() {
    check_with(3, |world| {
        let (leader, follower) = (world.run(1), world.run(2));
        let other = world.clone();
        let follower = thread::spawn(move || impatient(&other, follower, 3));
        assert_eq!(number(leader), 1);
        assert!([1, 3].contains(&follower.join().unwrap()));
    });
}

#[test]
fn two_lose_their_patience_and_call_together() {
    check(|world| {
        let never = Signal::new();
        let (leader, two, three) = (world.run_on(1, &never), world.run(2), world.run(3));
        let leader = poll_once(leader).expect("it waits");
        let other = world.clone();
        let two = thread::spawn(move || impatient(&other, two, 4));
        let three = impatient(world, three, 5);
        let two = two.join().unwrap();
        // The second may come when the flight of the first has landed.
        assert!([4, 5].contains(&two) && [4, 5].contains(&three), "{two} {three}");
        assert!(world.begun() <= 3);
        drop(leader);
    });
}

#[test]
fn a_patience_ends_while_a_failure_lands() {
    check_with(3, |world| {
        let (leader, follower) = (world.retry(101), world.run(2));
        let other = world.clone();
        let follower = thread::spawn(move || impatient(&other, follower, 3));
        assert_eq!(number(leader), 101);
        assert!([2, 3].contains(&follower.join().unwrap()));
        assert_eq!(world.begun(), 2);
    });
}

#[test]
fn a_newcomer_comes_while_a_patience_ends() {
    check(|world| {
        let never = Signal::new();
        let (leader, follower) = (world.run_on(1, &never), world.run(2));
        let newcomer = world
            .thread(|world| poll_once(world.run(4)).map(|run| number(world.run_newer(run, 5))));
        let mine = impatient(world, follower, 3);
        assert!([3, 4, 5].contains(&mine), "{mine}");
        assert!(newcomer.join().unwrap().is_none_or(|theirs| [3, 4, 5].contains(&theirs)));
        drop(leader);
    });
}

#[test]
fn all_are_forgotten_while_one_lands_and_another_is_led() {
    check(|world| {
        let old = world.run(1);
        let landing = thread::spawn(move || number(old));
        let other = world.thread(|world| number(world.run(2)));
        world.group.forget_if(|key| *key == KEY);
        let mine = number(world.run(3));
        assert!(mine == 2 || mine == 3, "the first was forgotten: {mine}");
        assert!([1, 2, 3].contains(&other.join().unwrap()));
        assert_eq!(landing.join().unwrap(), 1);
    });
}

#[test]
fn a_newcomer_comes_while_keys_are_asked_about() {
    check_with(3, |world| {
        let leader = world.run(1);
        let newcomer = world.thread(|world| number(world.run(2)));
        world.group.forget_if(|_| false);
        assert_eq!(newcomer.join().unwrap(), 1, "the flight had not landed, and was not forgotten");
        assert_eq!(number(leader), 1);
    });
}

#[test]
fn a_flight_that_goes_on_is_forgotten() {
    check(|world| {
        let (leader, follower) = (world.retry(101), world.run(2));
        let follower = thread::spawn(move || number(follower));
        world.group.forget_if(|_| true);
        assert_eq!(number(world.run(3)), 3);
        assert_eq!((follower.join().unwrap(), number(leader)), (2, 101));
    });
}

#[test]
fn without_a_runtime_a_follower_flies_its_gone_leaders_work_into_a_failure() {
    check(|world| {
        model::without_runtime();
        let (leader, two, three) = (world.retry(101), world.run(2), world.run(3));
        let leader = poll_once(leader).expect("it yields once");
        let leaving = thread::spawn(move || drop(leader));
        let two = thread::spawn(move || number(two));
        let three = number(three);
        assert_eq!(two.join().unwrap(), three);
        assert!(three == 2 || three == 3);
        leaving.join().unwrap();
        assert_eq!(world.begun(), 2);
    });
}

#[test]
fn without_a_runtime_a_leader_fails_while_a_follower_leaves() {
    check(|world| {
        model::without_runtime();
        let (leader, two, three) = (world.retry(101), world.run(2), world.run(3));
        let leader = thread::spawn(move || number(leader));
        let leaving = thread::spawn(move || drop(two));
        assert_eq!(number(three), 3);
        assert_eq!(leader.join().unwrap(), 101);
        leaving.join().unwrap();
    });
}
