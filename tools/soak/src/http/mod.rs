//! HTTP over real sockets: an origin that misbehaves, three gateways with the layer, and clients
//! that come and go.

mod connection;
mod event;
mod folder;
mod gateway;
mod identity;
mod origin;
mod pattern;
mod plan;
mod told;
mod truth;
mod visit;
mod watched;
mod wish;

use crate::{BoxError, doomed::Doomed, world::World};
use connection::{Connection, Version};
pub(crate) use event::{ALL as EVENTS, CUT_OFF, SPILLED};
use fastrand::Rng;
use futures_util::future::join_all;
use gateway::Gateway;
use identity::GATEWAYS;
use origin::Origin;
pub(crate) use pattern::Pattern;
use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::time::sleep;
use tower_singleflight::Stats;
use truth::Truth;
use visit::{End, Visit};

pub(crate) const PART: &str = "http";

#[derive(Clone)]
pub(crate) struct Web(Arc<Inner>);

struct Inner {
    world: Arc<World>,
    truth: Arc<Truth>,
    gateways: [Gateway; GATEWAYS],
}

/// Where a client goes.
struct Target<'a> {
    nth: usize,
    gateway: &'a Gateway,
    addr: SocketAddr,
    is_doomed: bool,
}

impl Web {
    pub(crate) async fn start(world: &Arc<World>, seed: u64) -> Result<Self, BoxError> {
        let (origin, truth) = Origin::start(world, seed).await?;
        let gateways = [
            Gateway::roomy(world, origin).await?,
            Gateway::tight(world, origin).await?,
            Gateway::spilling(world, origin).await?,
        ];
        let web = Self(Arc::new(Inner { world: world.clone(), truth, gateways }));
        web.settle(&mut Rng::with_seed(seed)).await;
        Ok(web)
    }

    pub(crate) fn stats(&self) -> Vec<(String, Stats)> {
        let gateways = self.0.gateways.iter();
        gateways
            .map(|gateway| (format!("{PART}: {}", gateway.name), gateway.handle.stats()))
            .collect()
    }

    pub(crate) fn begin_round(&self) {
        for gateway in &self.0.gateways {
            gateway.folder.create();
        }
    }

    pub(crate) fn end_round(&self) {
        self.0.truth.end_round();
        for gateway in &self.0.gateways {
            gateway.folder.remove();
        }
    }

    /// Starts what a pool of connections starts once.
    async fn settle(&self, rng: &mut Rng) {
        for nth in 0..GATEWAYS {
            self.client(&self.target(nth), rng, Instant::now()).await;
        }
    }

    pub(crate) async fn act(self, mut rng: Rng, until: Instant) {
        while Instant::now() < until {
            if rng.u16(..30) == 0 {
                self.doom(&mut rng, until).await;
            } else {
                let target = self.target(rng.usize(..GATEWAYS));
                self.steer(target.gateway, &mut rng);
                self.client(&target, &mut rng, until).await;
            }
        }
    }

    /// What its owner may do at any time.
    fn steer(&self, gateway: &Gateway, rng: &mut Rng) {
        if gateway.folder.has_open_file() {
            self.0.world.report.count(event::SPILLED);
        }
        match rng.u8(..64) {
            0 => gateway.handle.set_enabled(false),
            1..16 => gateway.handle.set_enabled(true),
            16 => gateway.handle.forget_all(),
            17 => gateway.handle.forget_if(|_| rng.bool()),
            18 => gateway.folder.remove(),
            19..28 => gateway.folder.create(),
            _ => {}
        }
    }

    fn target(&self, nth: usize) -> Target<'_> {
        let gateway = &self.0.gateways[nth];
        Target { nth, gateway, addr: gateway.addr, is_doomed: false }
    }

    /// One connection, and some requests over it.
    async fn client(&self, target: &Target<'_>, rng: &mut Rng, until: Instant) {
        let version = if rng.bool() { Version::Http1 } else { Version::Http2 };
        let mut connection = match Connection::open(target.addr, version, rng).await {
            Ok(connection) => connection,
            Err(_) if target.is_doomed => return,
            Err(error) => {
                return self.0.world.report.fail(PART, &format!("cannot connect: {error}"));
            }
        };
        for _ in 0..rng.u8(1..8) {
            let end = match version {
                Version::Http1 => self.visit(target, version, rng).go(connection.sender()).await,
                Version::Http2 => self.visit_at_once(target, &connection, rng).await,
            };
            if end == End::Over && version == Version::Http1 || Instant::now() > until {
                break;
            }
        }
    }

    async fn visit_at_once(
        &self,
        target: &Target<'_>,
        connection: &Connection,
        rng: &mut Rng,
    ) -> End {
        let senders = connection.senders(rng.usize(1..6));
        let visits = senders.into_iter().map(|mut sender| {
            let visit = self.visit(target, Version::Http2, rng);
            async move { visit.go(&mut sender).await }
        });
        join_all(visits.collect::<Vec<_>>()).await;
        End::Whole
    }

    fn visit<'a>(&'a self, target: &Target<'a>, version: Version, rng: &mut Rng) -> Visit<'a> {
        let Inner { world, truth, .. } = &*self.0;
        Visit::new(world, truth, (target.nth, target.gateway), target.is_doomed, version, rng)
    }

    /// Some clients go through a door whose runtime goes down, while others wait for the same
    /// answers elsewhere.
    async fn doom(&self, rng: &mut Rng, until: Instant) {
        let (doomed, nth) = (Doomed::new(), rng.usize(..GATEWAYS));
        let gateway = self.0.gateways[nth].clone();
        let opened = doomed.runtime().spawn(async move { gateway.open_doomed().await });
        let addr = match opened.await {
            Ok(Ok(addr)) => addr,
            _ => return self.0.world.report.fail(PART, "cannot open another gateway"),
        };
        let target = Target { addr, is_doomed: true, ..self.target(nth) };
        let mut rngs: Vec<_> = (0..rng.usize(1..6)).map(|_| rng.fork()).collect();
        let clients = join_all(rngs.iter_mut().map(|rng| self.client(&target, rng, until)));
        let time = Duration::from_micros(rng.u64(..40_000));
        let fall = async {
            sleep(time).await;
            self.0.truth.a_gateway_falls();
            drop(doomed);
        };
        tokio::join!(clients, fall);
    }
}
