//! Services in layers made by `by_key`: errors, panics, and everything that such a layer can be
//! told.

mod ask;
mod shop;

use crate::{
    answer::{Answer, Failure},
    facts::Limits,
    part::{Asked, Part, any_name},
    verdict::Events,
    work::Work,
    world::World,
};
use ask::Ask;
use fastrand::Rng;
use futures_util::FutureExt;
use shop::Shop;
use std::sync::Arc;
use tower::{Service, ServiceExt};
use tower_singleflight::Stats;

#[derive(Clone)]
pub(crate) struct Services(Arc<Inner>);

struct Inner {
    world: Arc<World>,
    shops: Vec<Shop>,
}

pub(crate) struct Terms {
    shop: usize,
    /// It must get its own work's answer.
    alone: bool,
}

impl Services {
    pub(crate) fn new(world: &Arc<World>) -> Self {
        Self(Arc::new(Inner { world: world.clone(), shops: Shop::all(world) }))
    }

    pub(crate) fn stats(&self) -> Vec<(String, Stats)> {
        let shops = self.0.shops.iter();
        shops
            .map(|shop| (format!("{}: {}", Self::EVENTS.part, shop.name), shop.handle.stats()))
            .collect()
    }
}

impl Part for Services {
    type Answer = Result<Answer, Failure>;
    type Terms = Terms;
    const EVENTS: Events = Events {
        part: "service",
        led: "service: led or passed",
        followed: "service: followed",
        panicked: "service: got a panic that was ordered",
        lost: "service: lost with their runtime",
        left: "service: dropped or aborted",
        forgot: "service: forgot a key",
    };

    fn world(&self) -> &Arc<World> {
        &self.0.world
    }

    fn ask(&self, rng: &mut Rng, is_doomed: bool) -> Option<Asked<Self>> {
        let Inner { world, shops } = &*self.0;
        let nth = rng.usize(..shops.len());
        let (shop, name, wants_alone) = (&shops[nth], any_name(rng), rng.u8(..10) == 0);
        let call = world.open(format!("service: {}, key {} of user {}", shop.name, name.0, name.1));
        let floor = shop.forgotten.floor(name);
        let terms = Terms { shop: nth, alone: wants_alone && shop.filters };
        Asked::new(self, (call, name, floor), terms, is_doomed, |facts| {
            let work = Work::new(world, Self::EVENTS.part, facts, rng)
                .that_finishes(shop.finishes && !is_doomed);
            let mut door = shop.door();
            assert!(
                door.ready().now_or_never().is_some_and(|ready| ready.is_ok()),
                "it is always ready"
            );
            door.call(Ask::new(facts, work, wants_alone))
        })
    }

    fn judge(&self, asked: &Asked<Self>, answer: &Self::Answer) {
        let (world, facts) = (&self.0.world, &asked.facts);
        let limits = self.0.shops[asked.terms.shop].limits;
        let (from, limits) = match answer {
            Ok(answer) => (&answer.facts, limits),
            // No failure is held.
            Err(failure) => (&failure.facts, Limits { hold_for: None, ..limits }),
        };
        Self::EVENTS.received(world, facts, from, limits);
        if asked.terms.alone && facts.id != from.id {
            let (this, other) = (facts.tell(), from.tell());
            world.report.fail(
                Self::EVENTS.part,
                &format!("{this} wanted to be alone, and got that of {other}"),
            );
        }
    }

    fn forget(&self, rng: &mut Rng) {
        let shop = &self.0.shops[rng.usize(..self.0.shops.len())];
        match rng.u8(..8) {
            0 => shop.forgotten.note_all(self, || shop.handle.forget_all()),
            // Off and on again, so that nobody joins across the change.
            1 if shop.switches => {
                shop.forgotten.note_all(self, || shop.handle.set_enabled(rng.u8(..3) > 0))
            }
            1..4 => shop
                .forgotten
                .note(self, any_name(rng), |key| shop.handle.forget_if(|known| known == key)),
            _ => shop.forgotten.note(self, any_name(rng), |key| shop.handle.forget(key)),
        }
    }
}
