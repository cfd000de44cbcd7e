//! Random requests, writes and faults. Each request has its own answer, in time, and nothing is
//! left behind.

use super::{
    ALONE, ANSWERED, CUT_SHORT, FAILED, LEASE_LOST, LEFT, PART, STORM, TAKEN, TAKEN_OVER, WROTE,
    client::{End, read, request},
    event::{self, Event, PATHS, REPLICAS},
    replica::{Inner, ReplicaLayer, layer},
    upstream::{Upstream, Written},
};
use crate::world::World;
use fastrand::Rng;
use futures_util::future::join_all;
use http::{HeaderValue, Method};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::{
    task::{JoinHandle, yield_now},
    time::{sleep, timeout},
};
use tower::{Layer, ServiceExt, service_fn};
use tower_singleflight::{
    Fleet, Handle, HttpPolicy, Singleflight, fleet::testing::MemoryEngine, mode::Http,
};

/// Longer than any request may take: it waits for one leader after another, and makes its own call.
const LONGEST: Duration = Duration::from_secs(75);
/// Longer than the store keeps anything.
const CALM: Duration = Duration::from_secs(200);

struct Replica {
    engine: MemoryEngine,
    fleet: Fleet,
    handle: Handle<String>,
    service: Singleflight<Inner, Http<String>>,
}

pub(super) struct Storm {
    world: Arc<World>,
    seed: u64,
    rng: Rng,
    /// Only faults that lose no write, so no answer may be older than one.
    is_mild: bool,
    upstream: Arc<Upstream>,
    engine: MemoryEngine,
    replicas: Vec<Replica>,
    /// The latest write of each path that was answered.
    written: Arc<[AtomicU64; PATHS]>,
}

/// A request in progress, and the replica that it is sent to.
type Asked = (usize, JoinHandle<()>);

impl Storm {
    pub(super) fn new(world: &Arc<World>, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let (upstream, engine) = (Upstream::new(seed), MemoryEngine::new());
        let replicas = (0..REPLICAS)
            .map(|_| Replica::new(world, &upstream, engine.another(), &mut rng))
            .collect();
        let (world, is_mild) = (world.clone(), rng.bool());
        Self { world, seed, rng, is_mild, upstream, engine, replicas, written: Arc::default() }
    }

    pub(super) async fn go(mut self) {
        let (mut asked, mut asks, mut writes) = (Vec::new(), 0, Vec::new());
        for _ in 0..self.rng.usize(1..80) {
            sleep(Event::after(&mut self.rng)).await;
            match Event::any(&mut self.rng) {
                Event::Ask { replica, path, user } => {
                    asked.push((replica, self.ask(replica, path, user)));
                    asks += 1;
                }
                Event::Write { replica, path } => writes.push(self.write(replica, path)),
                Event::Forget { replica, path } => {
                    self.replicas[replica].handle.forget(&format!("/{path}"))
                }
                Event::Leave { replica } => self.leave(replica, &mut asked),
                Event::Fault { replica } => {
                    let hits = if self.is_mild { event::mild_fault } else { event::fault };
                    hits(&self.replicas[replica].engine, &self.engine, &mut self.rng);
                }
            }
            for _ in 0..self.rng.u8(..64) {
                yield_now().await;
            }
        }
        let ended = asked.into_iter().map(|(_, task)| task).chain(writes);
        for ended in join_all(ended).await {
            if let Err(error) = ended {
                self.fail(format!("a caller ended with {error}"));
            }
        }
        let most = 2 * asks + 80;
        if self.upstream.calls() > most {
            self.fail(format!(
                "{} calls of the upstream for {asks} requests",
                self.upstream.calls()
            ));
        }
        self.calm_down().await;
        self.count();
    }

    fn leave(&mut self, replica: usize, asked: &mut Vec<Asked>) {
        let rng = &mut self.rng;
        asked.retain(|(of, task)| {
            let leaves = *of == replica && !task.is_finished() && rng.u8(..4) > 0;
            if leaves {
                task.abort();
                self.world.report.count(LEFT);
            }
            !leaves
        });
    }

    fn ask(&self, replica: usize, path: usize, user: usize) -> JoinHandle<()> {
        let mut request = request(Method::GET, path);
        request.headers_mut().insert("authorization", HeaderValue::from(user));
        let answer = self.replicas[replica].service.clone().oneshot(request);
        let least = if self.is_mild { self.written[path].load(SeqCst) } else { 0 };
        let (world, upstream, seed) = (self.world.clone(), self.upstream.clone(), self.seed);
        tokio::spawn(async move {
            let name = format!("/{path} {user}");
            let judged = match timeout(LONGEST, read(answer)).await {
                Ok(read) => read.judge(&name, least, &upstream),
                Err(_) => Err(format!("no answer within {LONGEST:?}")),
            };
            match judged {
                Ok(End::Answered) => world.report.count(ANSWERED),
                Ok(End::Failed) => world.report.count(FAILED),
                Ok(End::CutShort) => world.report.count(CUT_SHORT),
                Err(wrong) => world.report.fail(PART, &format!("storm {seed}: {name} got {wrong}")),
            }
        })
    }

    fn write(&self, replica: usize, path: usize) -> JoinHandle<()> {
        let answer = self.replicas[replica].service.clone().oneshot(request(Method::PUT, path));
        let (world, written, seed) = (self.world.clone(), self.written.clone(), self.seed);
        tokio::spawn(async move {
            match timeout(LONGEST, answer).await {
                Ok(Ok(response)) => {
                    world.report.count(WROTE);
                    if let Some(Written { version, .. }) = response.extensions().get() {
                        written[path].fetch_max(*version, SeqCst);
                    }
                }
                Ok(Err(error)) => {
                    world.report.fail(PART, &format!("storm {seed}: a write got {error}"))
                }
                Err(_) => world.report.fail(PART, &format!("storm {seed}: a write got no answer")),
            }
        })
    }

    /// The engine is well again, and what it keeps ends.
    async fn calm_down(&self) {
        self.engine.stop(false);
        for replica in &self.replicas {
            replica.engine.partition(false);
        }
        sleep(CALM).await;
        for replica in &self.replicas {
            let left = (replica.handle.in_flight(), replica.handle.waiting());
            if left != (0, 0) {
                self.fail(format!("{left:?} flights and waiters are left"));
            }
            let before = replica.engine.operations().len();
            sleep(CALM / 10).await;
            if replica.engine.operations().len() > before {
                self.fail("a replica goes on asking the engine while nothing happens".into());
            }
        }
        if self.engine.stored() > 0 {
            self.fail(format!("{} entries are left in the store", self.engine.stored()));
        }
    }

    fn count(&self) {
        let report = &self.world.report;
        report.count(STORM);
        for stats in self.replicas.iter().map(|replica| replica.fleet.stats()) {
            let counts = [
                (TAKEN, stats.taken),
                (TAKEN_OVER, stats.taken_over),
                (ALONE, stats.alone),
                (LEASE_LOST, stats.leases_lost),
            ];
            for (event, count) in counts {
                (0..count).for_each(|_| report.count(event));
            }
        }
    }

    fn fail(&self, what: String) {
        self.world.report.fail(PART, &format!("storm {}: {what}", self.seed));
    }
}

impl Replica {
    fn new(
        world: &Arc<World>,
        upstream: &Arc<Upstream>,
        engine: MemoryEngine,
        rng: &mut Rng,
    ) -> Self {
        let (lease, policy) = (Duration::from_secs(3), HttpPolicy::default());
        let ReplicaLayer { fleet, layer } = layer(world, engine.clone(), lease, policy, rng);
        let upstream = upstream.clone();
        let inner = Inner::new(service_fn(move |request| upstream.clone().answer(request)));
        Self { engine, fleet, handle: layer.handle(), service: layer.layer(inner) }
    }
}
