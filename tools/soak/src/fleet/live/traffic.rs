//! The clients of the replicas.

use super::{ANSWERED, CUT_SHORT, FAILED, LEFT, Live, PART, STRICT, WROTE, burst::burst};
use crate::{
    fleet::{
        client::{End, Read, read, request},
        event::{PATHS, REPLICAS, USERS},
        replica::{Inner, ReplicaLayer},
        upstream::{Upstream, Written},
    },
    world::World,
};
use fastrand::Rng;
use http::{HeaderValue, Method};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use tower::{Layer, ServiceExt, service_fn};
use tower_singleflight::{Fleet, Handle, Singleflight, mode::Http};

const CALLERS: usize = 12;
const BURSTS: usize = 3;
/// How long the answer to a write waits for its seal.
const SEALED_WITHIN: Duration = Duration::from_millis(50);

pub(super) type Service = Singleflight<Inner, Http<String>>;

/// The replicas as the callers of a round see them.
struct Round {
    world: Arc<World>,
    upstream: Arc<Upstream>,
    replicas: Vec<Replica>,
    requests: AtomicUsize,
}

struct Replica {
    fleet: Fleet,
    handle: Handle<String>,
    service: Service,
    /// The latest write of each path that was answered here, after the engine was told of it.
    written: [AtomicU64; PATHS],
}

pub(super) async fn traffic(live: &Live, mut rng: Rng, until: Instant) {
    let (world, upstream) = (live.world.clone(), Upstream::new(rng.u64(..)));
    let inner = upstream.clone();
    let inner = Inner::new(service_fn(move |request| inner.clone().answer(request)));
    let replicas = live.replicas.iter().map(|ReplicaLayer { fleet, layer }| Replica {
        fleet: fleet.clone(),
        handle: layer.handle(),
        service: layer.layer(inner.clone()),
        written: Default::default(),
    });
    let (replicas, requests) = (replicas.collect(), AtomicUsize::new(0));
    let round = Arc::new(Round { world, upstream, replicas, requests });
    let mut actors = JoinSet::new();
    for _ in 0..rng.usize(1..=CALLERS) {
        actors.spawn(round.clone().call(rng.fork(), until));
    }
    let layers: Vec<_> = live.replicas.iter().map(|replica| replica.layer.clone()).collect();
    for _ in 0..rng.usize(1..=BURSTS) {
        let (world, layers, mut rng) = (live.world.clone(), layers.clone(), rng.fork());
        actors.spawn(async move {
            while Instant::now() < until {
                burst(&world, &layers, &mut rng).await;
                sleep(Duration::from_millis(rng.u64(..100))).await;
            }
        });
    }
    while let Some(ended) = actors.join_next().await {
        if let Err(error) = ended {
            live.world.report.fail(PART, &format!("a caller ended with {error}"));
        }
    }
    let (calls, requests) = (round.upstream.calls(), round.requests.load(SeqCst));
    // One leads, and makes its own call where the answer was for another.
    if calls > 2 * requests {
        live.world
            .report
            .fail(PART, &format!("{calls} calls of the upstream for {requests} requests"));
    }
}

impl Round {
    async fn call(self: Arc<Self>, mut rng: Rng, until: Instant) {
        while Instant::now() < until {
            let (replica, path) = (rng.usize(..REPLICAS), rng.usize(..PATHS));
            match rng.u8(..40) {
                0..3 => self.write(replica, path).await,
                3 => self.replicas[replica].handle.forget(&format!("/{path}")),
                _ => self.ask(replica, path, &mut rng).await,
            }
            sleep(Duration::from_millis([0, 0, 1, 5, 30, 150][rng.usize(..6)])).await;
        }
    }

    async fn ask(&self, replica: usize, path: usize, rng: &mut Rng) {
        let user = rng.usize(..USERS);
        let _call = self.world.open(format!("redis: /{path} of {user} at replica {replica}"));
        self.requests.fetch_add(1, SeqCst);
        let mut request = request(Method::GET, path);
        request.headers_mut().insert("authorization", HeaderValue::from(user));
        let Replica { service, written, .. } = &self.replicas[replica];
        let least = written[path].load(SeqCst);
        let answer = read(service.clone().oneshot(request));
        let got = if rng.u8(..10) == 0 {
            timeout(Duration::from_millis(rng.u64(..200)), answer).await.ok()
        } else {
            Some(answer.await)
        };
        judge(&self.world, got, (&format!("/{path} {user}"), least), &self.upstream);
    }

    async fn write(&self, replica: usize, path: usize) {
        let _call = self.world.open(format!("redis: a write of /{path} at replica {replica}"));
        self.requests.fetch_add(1, SeqCst);
        let Replica { fleet, service, written, .. } = &self.replicas[replica];
        let lost = fleet.stats().seals_lost;
        match service.clone().oneshot(request(Method::PUT, path)).await {
            Ok(response) => {
                self.world.report.count(WROTE);
                let Some(Written { version, at }) = response.extensions().get().copied() else {
                    return self.world.report.fail(PART, "a write got the answer of another");
                };
                // Redis knows of it, so no flight from before it can be joined through Redis. What
                // can be joined on this replica is known here; other replicas learn it by a push.
                if at.elapsed() < SEALED_WITHIN && fleet.stats().seals_lost == lost {
                    written[path].fetch_max(version, SeqCst);
                    self.world.report.count(STRICT);
                }
            }
            Err(error) => self.world.report.fail(PART, &format!("a write got {error}")),
        }
    }
}

/// `None`: it left.
pub(super) fn judge(
    world: &World,
    got: Option<Read>,
    (name, least): (&str, u64),
    upstream: &Upstream,
) {
    match got.map(|got| got.judge(name, least, upstream)) {
        None => world.report.count(LEFT),
        Some(Ok(End::Answered)) => world.report.count(ANSWERED),
        Some(Ok(End::Failed)) => world.report.count(FAILED),
        Some(Ok(End::CutShort)) => world.report.count(CUT_SHORT),
        Some(Err(wrong)) => world.report.fail(PART, &format!("{name} got {wrong}")),
    }
}
