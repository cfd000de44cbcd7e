//! A storm of random calls, polls, drops, panics and forgets over few keys, checked against what
//! each caller may see.
//!
//! `STORM_SEED` repeats a storm (with many threads, its calls but not their order), `STORM_ROUNDS`
//! makes it longer.
#![allow(missing_docs, reason = "a test says what it tests in its name")]

use fastrand::Rng;
use futures_util::{StreamExt, stream::FuturesUnordered};
use std::{
    env,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc,
    },
    task::{Context, Poll},
    thread,
    time::{Duration, Instant},
};
use tokio::{
    runtime::{Builder, Runtime},
    sync::oneshot,
    task::yield_now,
};
use tower_singleflight::{Group, Outcome, Role, Run, Ticket};

const ACTORS: usize = 4;
const STEPS: usize = 80;
const KEYS: u32 = 3;

#[test]
fn on_a_current_thread() {
    storm(300, false, || Builder::new_current_thread().build().unwrap());
}

#[test]
fn on_many_threads() {
    storm(300, false, || Builder::new_multi_thread().worker_threads(3).build().unwrap());
}

#[test]
fn on_a_current_thread_while_another_runtime_goes_down() {
    storm(200, true, || Builder::new_current_thread().build().unwrap());
}

#[test]
fn on_many_threads_while_another_runtime_goes_down() {
    storm(200, true, || Builder::new_multi_thread().worker_threads(2).build().unwrap());
}

fn storm(rounds: u64, with_loss: bool, runtime: impl Fn() -> Runtime + Send + 'static) {
    let from_env = |name: &str| env::var(name).ok().map(|value| value.parse().expect("a number"));
    let rounds = from_env("STORM_ROUNDS").unwrap_or(rounds);
    let first = from_env("STORM_SEED").unwrap_or_else(|| fastrand::u64(..));
    for seed in (0..rounds).map(|round| first.wrapping_add(round)) {
        println!("STORM_SEED={seed} STORM_ROUNDS=1");
        let runtime = runtime();
        let (done, watchdog) = mpsc::channel();
        let round = thread::spawn(move || {
            let result = catch_unwind(AssertUnwindSafe(|| one_round(&runtime, seed, with_loss)));
            done.send(()).unwrap();
            result.unwrap_or_else(|panic| resume_unwind(panic));
        });
        assert!(watchdog.recv_timeout(Duration::from_secs(60)).is_ok(), "somebody hangs");
        round.join().unwrap_or_else(|panic| resume_unwind(panic));
    }
}

fn one_round(runtime: &Runtime, seed: u64, with_loss: bool) {
    let world = Arc::new(World::default());
    let doomed = with_loss.then(|| Builder::new_multi_thread().worker_threads(1).build().unwrap());
    *world.doomed.lock().unwrap() = doomed;
    runtime.block_on(async {
        let actors = (0..ACTORS as u64).map(|n| {
            let actor = Actor {
                world: world.clone(),
                rng: Rng::with_seed(seed ^ (n << 32)),
                held: Vec::new(),
            };
            tokio::spawn(actor.act(with_loss))
        });
        let actors: Vec<_> = actors.collect();
        let lander = tokio::spawn(land(world.clone(), Rng::with_seed(seed)));
        for actor in actors {
            actor.await.unwrap_or_else(|error| resume_unwind(error.into_panic()));
        }
        // Spawned flights finish though nobody waits for them any more, and tasks drop what is
        // left.
        let deadline = Instant::now() + Duration::from_secs(20);
        while world.in_progress() && Instant::now() < deadline {
            yield_now().await;
        }
        lander.abort();
    });
    if let Some(doomed) = world.doomed.lock().unwrap().take() {
        doomed.shutdown_timeout(Duration::from_secs(10));
    }
    world.check(with_loss);
}

/// Lands the works that wait for it, in any order, for as long as the storm lasts.
async fn land(world: Arc<World>, mut rng: Rng) {
    loop {
        yield_now().await;
        let mut gates = world.gates.lock().unwrap();
        if !gates.is_empty() {
            let gate = rng.usize(..gates.len());
            let _ = gates.swap_remove(gate).send(());
        }
    }
}

#[derive(Default)]
struct World {
    group: Group<u32, Value>,
    clock: AtomicUsize,
    calls: Mutex<Vec<Call>>,
    works: Mutex<Vec<Work>>,
    forgets: Mutex<Vec<Forget>>,
    gates: Mutex<Vec<oneshot::Sender<()>>>,
    doomed: Mutex<Option<Runtime>>,
    works_alive: Arc<AtomicUsize>,
    values_alive: Arc<AtomicUsize>,
}

/// One call to `run` or `spawn`. Its index names the work that came with it, too.
struct Call {
    key: u32,
    began: usize,
    returned: usize,
    /// And when. `None`: it was dropped.
    saw: Option<(Saw, usize)>,
    spawned: bool,
}

#[derive(Clone, Copy, Debug)]
enum Saw {
    Value { from: usize, shared: bool, role: Role },
    Panic { from: usize },
    Stranded,
}

/// What the work of one call went through.
#[derive(Clone, Default)]
struct Work {
    first_poll: Option<usize>,
    /// When its last two polls ended.
    polls: [usize; 2],
    ended: Option<usize>,
    /// It was called inside another work with the same key.
    nested: bool,
}

struct Forget {
    key: u32,
    began: usize,
    returned: usize,
}

#[derive(Debug)]
struct Value {
    from: usize,
    key: u32,
    alive: Alive,
}

impl Clone for Value {
    fn clone(&self) -> Self {
        Self { from: self.from, key: self.key, alive: Alive::new(&self.alive.0) }
    }
}

#[derive(Debug)]
struct Alive(Arc<AtomicUsize>);

impl Alive {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, SeqCst);
        Self(count.clone())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl World {
    fn in_progress(&self) -> bool {
        let alive = self.works_alive.load(SeqCst) + self.values_alive.load(SeqCst);
        self.group.in_flight() + alive > 0
    }

    fn now(&self) -> usize {
        self.clock.fetch_add(1, SeqCst)
    }

    fn call(self: &Arc<Self>, rng: &mut Rng, key: u32, how: How) -> Held {
        let id = {
            let mut calls = self.calls.lock().unwrap();
            calls.push(Call {
                key,
                began: self.now(),
                returned: 0,
                saw: None,
                spawned: matches!(how, How::Spawn),
            });
            self.works
                .lock()
                .unwrap()
                .push(Work { nested: matches!(how, How::Nested), ..Work::default() });
            calls.len() - 1
        };
        let work = self.work(rng, id, key);
        let waits = match how {
            How::Run | How::Nested => Waits::Run(self.group.run(key, work)),
            How::Spawn => Waits::Ticket(self.group.spawn(key, work)),
            How::Doomed => {
                let handle =
                    self.doomed.lock().unwrap().as_ref().map(|doomed| doomed.handle().clone());
                let _inside = handle.as_ref().map(|handle| handle.enter());
                Waits::Run(self.group.run(key, work))
            }
        };
        self.calls.lock().unwrap()[id].returned = self.now();
        Held { id, waits, world: self.clone() }
    }

    fn work(
        self: &Arc<Self>,
        rng: &mut Rng,
        id: usize,
        key: u32,
    ) -> impl FnOnce() -> Chore + Send + 'static {
        let (world, alive, mut rng) = (self.clone(), Alive::new(&self.works_alive), rng.fork());
        move || {
            world.works.lock().unwrap()[id].first_poll = Some(world.now());
            let (inside, plan) = (world.clone(), rng.u8(..10));
            let steps = async move {
                let _alive = alive;
                for _ in 0..rng.u8(..4) {
                    yield_now().await;
                }
                match plan {
                    0..4 => {}
                    4..7 => {
                        let (gate, opened) = oneshot::channel();
                        inside.gates.lock().unwrap().push(gate);
                        let _ = opened.await;
                    }
                    7 => {
                        let value = tokio::spawn(async move { yield_now().await }).await;
                        drop(value);
                    }
                    8 if !inside.works.lock().unwrap()[id].nested => {
                        let nested = inside.call(&mut rng, key, How::Nested);
                        nested.await;
                    }
                    _ => {
                        inside.works.lock().unwrap()[id].ended = Some(inside.now());
                        resume_unwind(Box::new(format!("work {id}")));
                    }
                }
                inside.works.lock().unwrap()[id].ended = Some(inside.now());
                Value { from: id, key, alive: Alive::new(&inside.values_alive) }
            };
            Chore { id, world, steps: Box::pin(steps) }
        }
    }

    fn forget(&self, key: u32, how: u8) {
        let began = self.now();
        let forgotten = match how {
            0 => {
                self.group.forget_all();
                0..KEYS
            }
            1 => {
                self.group.forget_if(|known| *known == key);
                key..key + 1
            }
            _ => {
                self.group.forget(&key);
                key..key + 1
            }
        };
        let returned = self.now();
        self.forgets.lock().unwrap().extend(forgotten.map(|key| Forget { key, began, returned }));
    }
}

/// The work of a call, with its polls on record.
struct Chore {
    id: usize,
    world: Arc<World>,
    steps: Pin<Box<dyn Future<Output = Value> + Send>>,
}

impl Future for Chore {
    type Output = Value;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Value> {
        let value = self.steps.as_mut().poll(cx);
        let now = self.world.now();
        let polls = &mut self.world.works.lock().unwrap()[self.id].polls;
        *polls = [polls[1], now];
        value
    }
}

enum How {
    Run,
    Spawn,
    Nested,
    /// In the runtime that goes down.
    Doomed,
}

/// A waiter in an actor's hands. Its output is on record.
struct Held {
    id: usize,
    waits: Waits,
    world: Arc<World>,
}

enum Waits {
    Run(Run<Value>),
    Ticket(Ticket<Value>),
}

impl Future for Held {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let polled = catch_unwind(AssertUnwindSafe(|| match &mut self.waits {
            Waits::Run(run) => Pin::new(run).poll(cx),
            Waits::Ticket(ticket) => Pin::new(ticket).poll(cx),
        }));
        let saw = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(Outcome { value, shared, role, .. })) => {
                assert_eq!(value.key, self.world.calls.lock().unwrap()[self.id].key);
                Saw::Value { from: value.from, shared, role }
            }
            Err(payload) => {
                match payload.downcast_ref::<String>().and_then(|text| text.strip_prefix("work ")) {
                    Some(id) => Saw::Panic { from: id.parse().unwrap() },
                    None => Saw::stranded(payload),
                }
            }
        };
        let now = self.world.now();
        self.world.calls.lock().unwrap()[self.id].saw = Some((saw, now));
        Poll::Ready(())
    }
}

impl Saw {
    fn stranded(payload: Box<dyn std::any::Any + Send>) -> Self {
        match payload.downcast_ref::<String>() {
            Some(text) if text.starts_with("tower-singleflight: the flight was lost") => {
                Saw::Stranded
            }
            _ => resume_unwind(payload),
        }
    }
}

struct Actor {
    world: Arc<World>,
    rng: Rng,
    held: Vec<Held>,
}

impl Actor {
    async fn act(mut self, with_loss: bool) {
        for _ in 0..STEPS {
            self.step(with_loss).await;
        }
        while self.rng.u8(..4) == 0 && !self.held.is_empty() {
            drop(self.pick());
        }
        self.held.drain(..).collect::<FuturesUnordered<_>>().collect::<()>().await;
    }

    async fn step(&mut self, with_loss: bool) {
        let key = self.rng.u32(..KEYS);
        match self.rng.u8(..100) {
            0..30 => self.call(key, How::Run),
            30..40 => self.call(key, if with_loss { How::Doomed } else { How::Run }),
            40..46 => self.call(key, How::Spawn),
            46..51 => {
                let how = self.rng.u8(..4);
                self.world.forget(key, how);
            }
            51..70 => self.poll().await,
            70..85 if !self.held.is_empty() => drop(self.pick()),
            // With a flight lost, this would wait for a follower that the same actor holds and does
            // not poll.
            85..88 if !self.held.is_empty() && !with_loss => self.pick().await,
            88..90 => self.held.clear(),
            90 if with_loss => {
                let doomed = self.world.doomed.lock().unwrap().take();
                if let Some(doomed) = doomed {
                    doomed.shutdown_background();
                }
            }
            _ => yield_now().await,
        }
    }

    fn call(&mut self, key: u32, how: How) {
        let held = self.world.call(&mut self.rng, key, how);
        self.held.push(held);
    }

    async fn poll(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let n = self.rng.usize(..self.held.len());
        let ready =
            poll_fn(|cx| Poll::Ready(Pin::new(&mut self.held[n]).poll(cx).is_ready())).await;
        if ready {
            self.held.swap_remove(n);
        }
    }

    fn pick(&mut self) -> Held {
        let n = self.rng.usize(..self.held.len());
        self.held.swap_remove(n)
    }
}

// ---- what each caller may have seen

impl World {
    fn check(&self, with_loss: bool) {
        assert_eq!(self.group.in_flight(), 0, "a flight is left");
        assert_eq!(self.works_alive.load(SeqCst), 0, "a work is left");
        assert_eq!(self.values_alive.load(SeqCst), 0, "a value is left");
        let (calls, works) = (self.calls.lock().unwrap(), self.works.lock().unwrap());
        let first_seen = first_seen(&calls);
        for (id, call) in calls.iter().enumerate() {
            let from = match call.saw {
                None => continue,
                Some((Saw::Stranded, _)) => {
                    assert!(with_loss, "call {id} was stranded, and no runtime went down");
                    continue;
                }
                Some((Saw::Panic { from }, _)) => from,
                Some((Saw::Value { from, shared, role }, _)) => {
                    assert_eq!(
                        role == Role::Leader,
                        from == id,
                        "call {id} got {from}, {shared}, {role:?}"
                    );
                    assert!(
                        shared || role == Role::Leader,
                        "call {id} got {from}, {shared}, {role:?}"
                    );
                    from
                }
            };
            assert_eq!(call.key, calls[from].key);
            assert!(
                call.began < first_seen[from].unwrap(),
                "call {id} joined the flight of {from}, which had ended"
            );
            // A follower of a lost flight gets the value of a call that came later.
            if id != from && !with_loss {
                self.was_open(id, call, from, &calls[from]);
            }
        }
        if !with_loss {
            self.no_overlap(&calls, &works, &first_seen);
            let led_by_spawn = |id: &usize| calls[*id].spawned && works[*id].first_poll.is_some();
            for id in (0..calls.len()).filter(led_by_spawn) {
                assert!(
                    works[id].ended.is_some(),
                    "the spawned work of call {id} was not finished"
                );
            }
        }
    }

    /// Whether the flight of call `from` was opened, and not forgotten, before call `id` returned.
    fn was_open(&self, id: usize, call: &Call, from: usize, leader: &Call) {
        assert!(
            leader.began < call.returned,
            "call {id} joined the flight of {from}, which had not begun"
        );
        let forgot = |forget: &Forget| {
            forget.key == call.key && forget.began > leader.returned && forget.returned < call.began
        };
        let forgotten = self.forgets.lock().unwrap().iter().any(forgot);
        assert!(!forgotten, "call {id} joined the flight of {from}, which was forgotten");
    }

    /// No two flights of one key were in progress at once, unless one was forgotten before the
    /// other was opened.
    fn no_overlap(&self, calls: &[Call], works: &[Work], first_seen: &[Option<usize>]) {
        let open_until = |id: usize| match (first_seen[id], works[id].ended) {
            (Some(_), Some(ended)) => ended,
            // Everybody may have left during its last poll, but not before the end of the one
            // before.
            _ => works[id].polls[0],
        };
        let led = |id: &usize| works[*id].first_poll.is_some() && !works[*id].nested;
        let led: Vec<_> = (0..calls.len()).filter(led).collect();
        for (n, &one) in led.iter().enumerate() {
            for &two in led[..n].iter().filter(|two| calls[**two].key == calls[one].key) {
                let both_since = calls[one].returned.max(calls[two].returned);
                if both_since < open_until(one).min(open_until(two)) {
                    let first_since = calls[one].began.min(calls[two].began);
                    assert!(
                        self.forgot_between(calls[one].key, first_since, both_since),
                        "{one} and {two} overlap"
                    );
                }
            }
        }
    }

    fn forgot_between(&self, key: u32, since: usize, until: usize) -> bool {
        let forgets = self.forgets.lock().unwrap();
        forgets
            .iter()
            .any(|forget| forget.key == key && forget.returned > since && forget.began < until)
    }
}

/// When somebody first had the result of each call's work. The flight was closed by then.
fn first_seen(calls: &[Call]) -> Vec<Option<usize>> {
    let mut first = vec![None; calls.len()];
    for call in calls {
        if let Some((Saw::Value { from, .. } | Saw::Panic { from }, when)) = call.saw {
            first[from] = Some(first[from].map_or(when, |other: usize| other.min(when)));
        }
    }
    first
}
