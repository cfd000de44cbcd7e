//! Random requests, writes and faults. Each request has its own answer, in time, and nothing is
//! left behind.

use super::{
    ALONE, ANSWERED, CUT_SHORT, FAILED, LEASE_LOST, LEFT, PART, STORM, TAKEN, TAKEN_OVER, WROTE,
    event::{self, Event, PATHS, REPLICAS},
    upstream::{Body, Failure, Upstream},
};
use crate::world::World;
use bytes::Bytes;
use fastrand::Rng;
use futures_util::future::join_all;
use http::{HeaderValue, Method, Request, Response, Uri};
use http_body_util::{BodyExt, Empty};
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
use tower::{Layer, ServiceExt, service_fn, util::BoxCloneSyncService};
use tower_singleflight::{
    BoxError, Fleet, Handle, SharedBody, Singleflight, SingleflightLayer,
    fleet::testing::MemoryEngine, mode::Http,
};

const SECRET: &str = "0123456789abcdef";
/// Longer than any request may take: it waits for one leader after another, and makes its own call.
const LONGEST: Duration = Duration::from_secs(75);
/// Longer than the store keeps anything.
const CALM: Duration = Duration::from_secs(200);

type Inner = BoxCloneSyncService<Request<Empty<Bytes>>, Response<Body>, Failure>;

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
        let replicas =
            (0..REPLICAS).map(|_| Replica::new(&upstream, engine.another(), &mut rng)).collect();
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
                Ok(event) => world.report.count(event),
                Err(wrong) => world.report.fail(PART, &format!("storm {seed}: {name} got {wrong}")),
            }
        })
    }

    fn write(&self, replica: usize, path: usize) -> JoinHandle<()> {
        let answer = self.replicas[replica].service.clone().oneshot(request(Method::PUT, path));
        let (world, written, upstream, seed) =
            (self.world.clone(), self.written.clone(), self.upstream.clone(), self.seed);
        tokio::spawn(async move {
            match timeout(LONGEST, answer).await {
                Ok(Ok(_)) => {
                    world.report.count(WROTE);
                    written[path].fetch_max(upstream.version(path), SeqCst);
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
    fn new(upstream: &Arc<Upstream>, engine: MemoryEngine, rng: &mut Rng) -> Self {
        let fleet = Fleet::new(engine.clone(), SECRET).body_limit(15_000);
        let key = |request: &Request<()>| request.uri().path().to_owned();
        let mut layer: SingleflightLayer<Http<String>> =
            SingleflightLayer::new(key).fleet(&fleet, "soak");
        if rng.bool() {
            layer = layer.run_to_completion(true);
        }
        if rng.bool() {
            layer = layer.hold_for(Duration::from_millis(20));
        }
        let upstream = upstream.clone();
        let inner = Inner::new(service_fn(move |request| upstream.clone().answer(request)));
        Self { engine, fleet, handle: layer.handle(), service: layer.layer(inner) }
    }
}

fn request(method: Method, path: usize) -> Request<Empty<Bytes>> {
    let mut request = Request::new(Empty::new());
    *request.method_mut() = method;
    *request.uri_mut() = Uri::try_from(format!("/{path}")).expect("a path is a URI");
    request
}

/// What a client got.
struct Read {
    text: String,
    error: Option<BoxError>,
    has_head: bool,
}

async fn read(answer: impl Future<Output = Result<Response<SharedBody>, Failure>>) -> Read {
    let mut body = match answer.await {
        Ok(response) => response.into_body(),
        Err(error) => {
            return Read { text: String::new(), error: Some(error.into()), has_head: false };
        }
    };
    let mut text = String::new();
    loop {
        match body.frame().await {
            None => return Read { text, error: None, has_head: true },
            Some(Ok(frame)) => {
                text += &String::from_utf8_lossy(&frame.into_data().unwrap_or_default())
            }
            Some(Err(error)) => return Read { text, error: Some(error.into()), has_head: true },
        }
    }
}

impl Read {
    /// Tells which event it is.
    fn judge(self, name: &str, least: u64, upstream: &Upstream) -> Result<&'static str, String> {
        let Self { text, error, has_head } = self;
        if !has_head {
            let error = error.map(|error| error.to_string()).unwrap_or_default();
            let is_mine = error == Failure(name.to_owned()).to_string();
            return if is_mine { Ok(FAILED) } else { Err(format!("the error {error}")) };
        }
        let words: Vec<_> = text.splitn(6, ' ').collect();
        let [path, user, version, call, length, rest] = words[..] else {
            return Err(format!("the body {text:?} and the error {error:?}"));
        };
        let number = |word: &str| {
            word.parse::<u64>().map_err(|_| format!("{word:?} where a number should be"))
        };
        let (version, call, length) =
            (number(version)?, number(call)? as usize, number(length)? as usize);
        if format!("{path} {user}") != name {
            Err(format!("the answer of another: {path} {user}"))
        } else if version < least {
            Err(format!("version {version}, after a write of {least}"))
        } else if let Some(error) = error {
            if upstream.cut_short(call) {
                Ok(CUT_SHORT)
            } else {
                Err(format!("a body that broke off: {error}"))
            }
        } else if rest.len() != length || rest.bytes().any(|byte| byte != b'x') {
            Err(format!("{} bytes of {length}, and a clean end", rest.len()))
        } else {
            Ok(ANSWERED)
        }
    }
}
