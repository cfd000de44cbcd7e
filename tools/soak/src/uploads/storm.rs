//! A layer whose policy is drawn, and its clients.

use super::{
    PART, SHARED, STORM,
    body::{PANICS, UploadBody, WRITES},
    origin::{Body, Failure, Origin, PROBE},
    policy::Told,
    visit::Visit,
};
use crate::{alive::Alive, injected::inject, sabotage::Sabotage, world::World};
use bytes::Bytes;
use fastrand::Rng;
use http::{HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use std::{
    hash::{Hash, Hasher},
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, Instant},
};
use tokio::{task::JoinSet, time::sleep};
use tower::{Layer, ServiceExt, service_fn, util::BoxCloneSyncService};
use tower_singleflight::{Handle, SharedBody, Singleflight, SingleflightLayer, mode::HttpBody};

const CLIENTS: usize = 40;

type Inner = BoxCloneSyncService<Request<UploadBody>, Response<Body>, Failure>;
pub(super) type Service = Singleflight<Inner, HttpBody<Query>>;

/// What the clients of one storm have in common.
pub(super) struct Shared {
    pub(super) world: Arc<World>,
    pub(super) origin: Arc<Origin>,
    pub(super) told: Told,
    /// No client reads a body to its end.
    pub(super) all_leave: bool,
    /// The latest write that was answered.
    pub(super) known: AtomicU64,
    seed: u64,
}

impl Shared {
    pub(super) fn fail(&self, what: &str) {
        self.world.report.fail(PART, &format!("storm {} with {:?}: {what}", self.seed, self.told));
    }
}

/// The key: the body.
pub(super) struct Query {
    data: Bytes,
    _alive: Alive,
}

impl PartialEq for Query {
    fn eq(&self, other: &Self) -> bool {
        self.data == other.data
    }
}

impl Eq for Query {}

impl Hash for Query {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.data.hash(state);
    }
}

pub(super) async fn storm(world: &Arc<World>, mut rng: Rng) {
    let (seed, told) = (rng.u64(..), Told::any(&mut rng));
    let (origin, all_leave) = (Origin::new(world, seed), rng.u8(..4) == 0);
    let world = world.clone();
    let shared =
        Arc::new(Shared { world, origin, told, all_leave, known: AtomicU64::new(0), seed });
    let (service, handle) = service(&shared);
    let mut clients = JoinSet::new();
    for _ in 0..rng.usize(1..=CLIENTS) {
        clients.spawn(Visit::any(&shared, rng.fork()).go(service.clone()));
    }
    if rng.u8(..6) == 0 {
        sleep(Duration::from_micros(rng.u64(..4_000))).await;
        // All are dropped where they are.
        clients.abort_all();
    }
    while let Some(ended) = clients.join_next().await {
        match ended {
            Err(error) if error.is_panic() => shared.fail(&format!("a client ended with {error}")),
            _ => {}
        }
    }
    calm_down(&shared, &handle).await;
    if handle.stats().joined > 0 {
        shared.world.report.count(SHARED);
    }
    if let Some(length) = shared.told.probe() {
        let _call =
            shared.world.open(format!("{PART}: a probe of {length} bytes, with {:?}", shared.told));
        // A body that is being written to a file, or read to its end, holds some of the budget until
        // that is done. It has to be let: a task that asks again at once would keep the others of
        // its thread from their turn.
        let deadline = Instant::now() + shared.world.calls.deadline() / 2;
        while let Err(wrong) = probe(&shared, &service, length).await {
            if Instant::now() > deadline {
                shared.fail(&wrong);
                break;
            }
            shared.origin.end_probe();
            sleep(Duration::from_millis(1)).await;
            calm_down(&shared, &handle).await;
        }
        shared.origin.end_probe();
        calm_down(&shared, &handle).await;
    }
    shared.world.report.count(STORM);
}

fn service(shared: &Arc<Shared>) -> (Service, Handle<Query>) {
    let (told, keys) = (&shared.told, shared.world.keys.clone());
    let ignores_body = shared.world.sabotages(Sabotage::WrongAnswer);
    let layer =
        SingleflightLayer::with_body(super::policy::LIMIT, move |request: &Request<Bytes>| {
            let data = request.body();
            match data.first() {
                Some(&PANICS) => inject(data.len() % 2 == 0, "by the key of a body"),
                Some(&WRITES) => None,
                _ if ignores_body => Some(Query { data: Bytes::new(), _alive: keys.one() }),
                _ => Some(Query { data: data.clone(), _alive: keys.one() }),
            }
        });
    let policy = told.policy().seal_on_write(!shared.world.sabotages(Sabotage::StalePage));
    let layer = layer
        .policy(policy)
        .run_to_completion(told.runs_to_completion)
        .followers_retry(told.retries);
    let layer = if told.hold_for.is_zero() { layer } else { layer.hold_for(told.hold_for) };
    let (handle, origin) = (layer.handle(), shared.origin.clone());
    (layer.layer(Inner::new(service_fn(move |request| origin.clone().answer(request)))), handle)
}

/// Nothing is in flight soon after the last client is gone.
async fn calm_down(shared: &Shared, handle: &Handle<Query>) {
    let deadline = Instant::now() + shared.world.calls.deadline();
    loop {
        let left = (handle.in_flight(), handle.waiting());
        if left == (0, 0) {
            return;
        }
        if Instant::now() > deadline {
            return shared.fail(&format!("{left:?} flights and waiters are left"));
        }
        sleep(Duration::from_millis(1)).await;
    }
}

/// Two requests share a body as large as the start of one may be. They could not if bodies that are
/// gone held the budget.
async fn probe(shared: &Shared, service: &Service, length: usize) -> Result<(), String> {
    let calls = shared.origin.calls();
    let Some(mut first) = ask(service, length).await else {
        return Err("the probe got no answer".into());
    };
    if first.frame().await.is_none_or(|frame| frame.is_err()) {
        return Err("the probe got no bytes".into());
    }
    let second = ask(service, length).await;
    if second.is_none() || shared.origin.calls() != calls + 1 {
        let calls = shared.origin.calls() - calls;
        return Err(format!("the budget is not free: {calls} calls for a body"));
    }
    Ok(())
}

async fn ask(service: &Service, length: usize) -> Option<SharedBody> {
    // No client sends this body, so nothing is held for it.
    let mut request =
        Request::new(Full::from("probe").map_err(|never| match never {}).boxed_unsync());
    *request.method_mut() = Method::POST;
    request.headers_mut().insert(PROBE, HeaderValue::from(length));
    service.clone().oneshot(request).await.ok().map(Response::into_body)
}
