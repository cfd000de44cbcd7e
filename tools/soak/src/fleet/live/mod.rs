//! Three replicas over a `redis-server` that is killed, stopped, emptied and cut off.
//!
//! All of them live as long as the run, so that what they leave behind adds up.

mod burst;
mod fault;
#[allow(dead_code, unused_imports, unused_macros)]
#[path = "../../../../../redis/tests/it/server.rs"]
mod server;
mod store;
mod traffic;

use super::{
    event::REPLICAS,
    replica::{ReplicaLayer, layer},
};
use crate::{
    BoxError, args::Args, memory::mebibytes, report::grouped, sabotage::Sabotage, world::World,
};
use fastrand::Rng;
use server::Server;
use std::{
    net::TcpListener,
    process::{Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};
use store::LIFE_OF_EPOCHS;
use tokio::{
    runtime::{Builder, Runtime},
    time::sleep,
};
use tower_singleflight::{Fleet, FleetReason, FleetStats, HttpPolicy};
use tower_singleflight_redis::RedisEngine;

const PART: &str = "redis";
const ANSWERED: &str = "redis: got its answer";
const FAILED: &str = "redis: got the failure of the upstream";
const CUT_SHORT: &str = "redis: got a body that the upstream cut short";
const LEFT: &str = "redis: left";
const WROTE: &str = "redis: wrote";
/// Not the end of a call, so they have parts of their own.
const ONE_CALL: &str = "burst: one call for all replicas";
const MORE_CALLS: &str = "burst: a call for some replicas";
const REFUSED: &str = "burst: an answer was for one client";
const STRICT: &str = "write: no later answer may be older";
const KILLED: &str = "server: was killed and restarted";
const STOPPED: &str = "server: was stopped for some time";
const EMPTIED: &str = "server: was emptied";
const FORGOT_SCRIPTS: &str = "server: forgot its scripts";
const CUT_OFF: &str = "server: cut off its clients";

pub(crate) const EVENTS: [&str; 14] = [
    ANSWERED,
    FAILED,
    CUT_SHORT,
    LEFT,
    WROTE,
    ONE_CALL,
    MORE_CALLS,
    REFUSED,
    STRICT,
    KILLED,
    STOPPED,
    EMPTIED,
    FORGOT_SCRIPTS,
    CUT_OFF,
];

const LEASE: Duration = Duration::from_secs(1);
/// Of marks that a response may not be shared.
const MARK: Duration = Duration::from_secs(2);
/// How long after the end of the load no flight may be left in Redis.
const CALM: Duration = Duration::from_secs(60);
/// What Redis may use more of when all is over, in bytes: buffers that it has not given back.
const TOLERANCE: usize = 512 << 10;

pub(crate) struct Live {
    world: Arc<World>,
    /// How long the run is to take.
    time: Duration,
    runtime: Runtime,
    replicas: Vec<ReplicaLayer>,
    server: Arc<Mutex<Server>>,
    /// Those that stay.
    tasks: usize,
    /// In bytes, of a server that has connections and nothing else.
    memory: usize,
}

impl Live {
    pub(crate) fn start(world: &Arc<World>, args: &Args) -> Result<Self, BoxError> {
        let version = Command::new("redis-server").arg("--version").stdout(Stdio::null()).status();
        if let Err(error) = version {
            return Err(format!("--redis needs redis-server on the PATH: {error}").into());
        }
        let mut server = Server::start(&[]).ok_or("there is no redis-server")?;
        server.kill();
        server.start_at(port()?);
        let url = server.url();
        let server = Arc::new(Mutex::new(server));
        let in_the_end = Arc::downgrade(&server);
        // The process ends without dropping anything.
        world.calls.before_exit(move || {
            if let Some(server) = in_the_end.upgrade() {
                lock(&server).kill();
            }
        });
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let (guard, mut rng) = (runtime.enter(), Rng::with_seed(args.seed));
        let replicas = (0..REPLICAS).map(|_| {
            let policy = HttpPolicy::default().unshareable_memory(64, MARK);
            Ok(layer(world, RedisEngine::open(&*url)?, LEASE, policy, &mut rng))
        });
        let replicas = replicas.collect::<Result<_, BoxError>>()?;
        drop(guard);
        let (world, time) = (world.clone(), args.time);
        let mut live = Self { world, time, runtime, replicas, server, tasks: 0, memory: 0 };
        live.runtime.block_on(live.connected())?;
        live.tasks = live.runtime.metrics().num_alive_tasks();
        let memory = store::used_memory(&live.server());
        live.memory = memory;
        Ok(live)
    }

    async fn connected(&self) -> Result<(), BoxError> {
        let began = Instant::now();
        while !self.fleets().all(Fleet::is_up) {
            if began.elapsed() > Duration::from_secs(20) {
                return Err("the replicas do not get a connection to Redis".into());
            }
            sleep(Duration::from_millis(20)).await;
        }
        // What connecting left behind goes.
        sleep(Duration::from_millis(500)).await;
        Ok(())
    }

    /// Until then, and until all is answered.
    pub(crate) fn act(&self, mut rng: Rng, until: Instant) {
        let faults = rng.fork();
        thread::scope(|scope| {
            scope.spawn(|| fault::faults(self, faults, until));
            self.runtime.block_on(traffic::traffic(self, rng, until));
        });
    }

    /// After a round, when nobody asks.
    pub(crate) fn left_behind(&self) -> Vec<String> {
        let mut left = Vec::new();
        for (nth, ReplicaLayer { fleet, layer }) in self.replicas.iter().enumerate() {
            let handle = layer.handle();
            let counts = (handle.in_flight(), handle.waiting());
            if counts != (0, 0) {
                left.push(format!("{counts:?} flights and waiters of replica {nth}"));
            }
            if !fleet.is_up() {
                left.push(format!("replica {nth} without a connection"));
            }
        }
        let tasks = self.runtime.metrics().num_alive_tasks();
        if tasks > self.tasks {
            left.push(format!("{} tasks of the replicas", tasks - self.tasks));
        }
        left
    }

    /// Each key has its end.
    pub(crate) fn end_round(&self) {
        let server = self.server();
        if let Some(wrong) = store::keys_without_end(&server) {
            self.world.report.fail(PART, &wrong);
        }
        if self.world.sabotages(Sabotage::LeakRedis) {
            let script = format!("x={}--{}", self.world.now(), "x".repeat(1 << 20));
            let _: String = server.ask(&format!("SCRIPT LOAD {script}"));
        }
    }

    /// Nothing is left in Redis soon after the last request.
    pub(crate) fn close(&self) {
        let (began, server) = (Instant::now(), self.server());
        let wait_until = |limit, is_over: &dyn Fn() -> bool| {
            while !is_over() && began.elapsed() < limit {
                thread::sleep(Duration::from_millis(100));
            }
        };
        wait_until(CALM, &|| store::flights(&server).is_empty());
        let (flights, after) = (store::flights(&server), began.elapsed());
        if let Some(key) = flights.first() {
            let what = format!("{} keys in Redis, such as {key}", flights.len());
            self.world.report.fail("left behind", &what);
        }
        println!("redis: {} keys of flights {:.1} s after the end", flights.len(), secs(after));
        // A short run does not wait as long again.
        if self.time >= LIFE_OF_EPOCHS {
            wait_until(LIFE_OF_EPOCHS + Duration::from_secs(2), &|| {
                store::keys(&server).is_empty()
            });
            let keys = store::keys(&server);
            if let Some(key) = keys.first() {
                let what = format!("{} keys in Redis, such as {key}", keys.len());
                self.world.report.fail("left behind", &what);
            }
            let after = secs(began.elapsed());
            println!("redis: {} keys of any kind {after:.1} s after the end", keys.len());
        } else {
            println!(
                "NOT CHECKED: that the epochs of writes end, which takes 72 s; each has its end"
            );
        }
        let most = self.memory + TOLERANCE;
        let limit = began.elapsed() + Duration::from_secs(10);
        wait_until(limit, &|| store::used_memory(&server) <= most);
        let used = store::used_memory(&server);
        let change = format!(
            "{} used in the end, {} in the beginning; {} more are allowed",
            mebibytes(used),
            mebibytes(self.memory),
            mebibytes(TOLERANCE)
        );
        if used > most {
            self.world.report.fail("memory of redis", &change);
        } else {
            println!("memory of redis: {change}");
        }
    }

    /// What the replicas counted, in one line.
    pub(crate) fn tell(&self) -> String {
        let stats: Vec<_> = self.fleets().map(Fleet::stats).collect();
        let sum = |of: fn(&FleetStats) -> u64| grouped(stats.iter().map(of).sum());
        let alone = FleetReason::ALL.iter().filter_map(|reason| {
            let count: u64 = stats.iter().map(|stats| stats.alone_by(*reason)).sum();
            (count > 0).then(|| format!("{} {}", reason.as_str(), grouped(count)))
        });
        format!(
            "{} led, {} followed, {} taken, {} taken over, {} leases lost, {} seals, \
             {} seals lost, {} published, {} alone ({})",
            sum(|stats| stats.led),
            sum(|stats| stats.followed),
            sum(|stats| stats.taken),
            sum(|stats| stats.taken_over),
            sum(|stats| stats.leases_lost),
            sum(|stats| stats.seals),
            sum(|stats| stats.seals_lost),
            sum(|stats| stats.published),
            sum(|stats| stats.alone),
            alone.collect::<Vec<_>>().join(", ")
        )
    }

    /// Which share of the run is over.
    fn progress(&self) -> f64 {
        self.world.report.elapsed().as_secs_f64() / self.time.as_secs_f64()
    }

    fn fleets(&self) -> impl Iterator<Item = &Fleet> {
        self.replicas.iter().map(|replica| &replica.fleet)
    }

    fn server(&self) -> MutexGuard<'_, Server> {
        lock(&self.server)
    }
}

/// One that no client gets from the system while the server is down.
fn port() -> Result<u16, BoxError> {
    let mut any = (0..100).map(|_| fastrand::u16(15_000..30_000));
    let free = any.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.ok_or_else(|| "no port is free".into())
}

fn lock(server: &Mutex<Server>) -> MutexGuard<'_, Server> {
    server.lock().unwrap_or_else(PoisonError::into_inner)
}

fn secs(time: Duration) -> f64 {
    time.as_secs_f64()
}
