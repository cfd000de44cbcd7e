//! What a replica of a fleet is told.

use super::{
    faulty::Faulty,
    upstream::{Body, Failure},
};
use crate::{sabotage::Sabotage, world::World};
use bytes::Bytes;
use fastrand::Rng;
use http::{Request, Response};
use http_body_util::Empty;
use std::{sync::Arc, time::Duration};
use tower::util::BoxCloneSyncService;
use tower_singleflight::{Fleet, HttpPolicy, SingleflightLayer, fleet::engine::Engine, mode::Http};

const SECRET: &str = "0123456789abcdef";

pub(super) type Inner = BoxCloneSyncService<Request<Empty<Bytes>>, Response<Body>, Failure>;

pub(super) struct ReplicaLayer {
    pub(super) fleet: Fleet,
    pub(super) layer: SingleflightLayer<Http<String>>,
}

/// The rest is drawn.
pub(super) fn layer(
    world: &Arc<World>,
    engine: impl Engine,
    lease: Duration,
    policy: HttpPolicy,
    rng: &mut Rng,
) -> ReplicaLayer {
    let fleet = Fleet::new(Faulty::new(world, engine), SECRET).body_limit(15_000).lease(lease);
    let key = |request: &Request<()>| request.uri().path().to_owned();
    let policy = if world.sabotages(Sabotage::WrongAnswer) { policy.trust_key() } else { policy };
    let mut layer: SingleflightLayer<Http<String>> =
        SingleflightLayer::new(key).policy(policy).fleet(&fleet, "soak");
    if rng.bool() {
        layer = layer.run_to_completion(true);
    }
    if rng.bool() {
        layer = layer.hold_for(Duration::from_millis(20));
    }
    ReplicaLayer { fleet, layer }
}
