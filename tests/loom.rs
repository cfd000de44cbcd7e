//! A model check of the core: every order, within a bound on preemptions, in which threads can join, land, drop, forget,
//! move to a task, lose their task and lead anew. What HTTP adds has models of its own, in `src/http/models`.
//!
//! ```text
//! RUSTFLAGS="--cfg tower_singleflight_loom" cargo test --release --no-default-features --test loom
//! ```
//!
//! Covered: the locks of the table and of the flights, the landing that is read without one, every waker, and the tasks
//! that carry flights. Not covered: the counters and the flag that a flight is closed, which are
//! `std`'s and so single steps; time; more than three threads besides the tasks; more than three preemptions.
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

/// Says whose work it is from.
struct Value(u32, One);

impl Clone for Value {
    fn clone(&self) -> Self {
        Self(self.0, self.1.0.one())
    }
}

impl World {
    fn new() -> Self {
        Self { group: Group::with_hasher(BuildHasherDefault::new()), works: Alive::default(), values: Alive::default() }
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
        let (work, values) = (self.works.one(), self.values.clone());
        move || {
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
    fn counted(&self, number: u32, landed: &Arc<AtomicUsize>) -> impl FnOnce() -> Work + Send + 'static {
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

/// Who gave the value, whether it was shared, and this caller's role.
fn outcome(run: Run<Value>) -> (u32, bool, Role) {
    let Outcome { value, shared, role } = block_on(run);
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
            assert_eq!((led.0, led.2), (value, Role::Leader), "each value is from its leader's flight");
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
        assert!([2, 3].contains(&forgetful.join().unwrap()), "it forgot the first flight before it called");
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
