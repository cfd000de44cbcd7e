//! The services under test: one inner service, in layers that differ in what they were told.

use super::ask::{Ask, Inner, Rough};
use crate::{
    answer::{Answer, Failure},
    facts::Limits,
    key::Key,
    part::Forgotten,
    sabotage::Sabotage,
    world::World,
};
use std::{sync::Arc, time::Duration};
use tower::{Layer, ServiceExt, limit::ConcurrencyLimit, util::BoxCloneSyncService};
use tower_singleflight::{Handle, SharedError, SingleflightLayer, mode::ByKey};

/// How many calls the inner service takes at once. A permit that a follower held, or a lost flight
/// kept, would soon be missed.
const PERMITS: usize = 6;
const YOUNG: Duration = Duration::from_millis(3);
const HOLD: Duration = Duration::from_millis(3);
const FEW: usize = 3;

pub(crate) struct Shop {
    pub(crate) name: &'static str,
    pub(crate) limits: Limits,
    pub(crate) handle: Handle<Key>,
    pub(crate) forgotten: Forgotten,
    /// Its flights end whoever leaves.
    pub(crate) finishes: bool,
    /// Those who want to be alone pass.
    pub(crate) filters: bool,
    /// It is turned off at times.
    pub(crate) switches: bool,
    door: Box<dyn Fn() -> Door + Send + Sync>,
}

/// A service made by the shop's layer.
pub(crate) type Door = BoxCloneSyncService<Ask, Answer, Failure>;

type ByKeyLayer = SingleflightLayer<ByKey<Ask, Key>>;

impl Shop {
    pub(crate) fn all(world: &Arc<World>) -> Vec<Self> {
        let hold = HOLD * if world.sabotages(Sabotage::HoldTooLong) { 20 } else { 1 };
        let few = Limits { max_waiters: Some(FEW), ..Limits::default() };
        let young = Limits { join_within: Some(YOUNG), ..Limits::default() };
        let holds = Limits { hold_for: Some(HOLD), ..Limits::default() };
        let re_elects = Limits { re_elects: true, ..Limits::default() };
        let few_re_elect = Limits { re_elects: true, ..few };
        let millis = Duration::from_millis;
        vec![
            Self::plain("plain", layer(world)),
            Self { switches: true, ..Self::plain("retrying", layer(world).followers_retry(2)) },
            Self {
                limits: few_re_elect,
                switches: true,
                ..Self::plain(
                    "everything",
                    layer(world)
                        .followers_retry(1)
                        .max_waiters(FEW)
                        .wait_at_most(millis(5))
                        .run_to_completion(true),
                )
            },
            Self { limits: few, ..Self::plain("few waiters", layer(world).max_waiters(FEW)) },
            Self { limits: young, ..Self::plain("young flights", layer(world).join_within(YOUNG)) },
            Self {
                limits: holds,
                switches: true,
                ..Self::plain("holding", layer(world).hold_for(hold))
            },
            Self {
                finishes: true,
                ..Self::plain("finishing", layer(world).run_to_completion(true))
            },
            Self {
                limits: re_elects,
                ..Self::plain("impatient", layer(world).wait_at_most(millis(4)))
            },
            Self {
                filters: true,
                ..Self::made_for_each_call(
                    "one group",
                    layer(world).shared_group().filter(Ask::may_share),
                )
            },
            Self {
                limits: re_elects,
                ..Self::with_rough_errors(
                    "shared errors",
                    layer(world).wait_at_most(millis(8)).followers_retry(1),
                )
            },
        ]
    }

    pub(crate) fn door(&self) -> Door {
        (self.door)()
    }

    fn plain(name: &'static str, layer: ByKeyLayer) -> Self {
        let door = Door::new(layer.layer(ConcurrencyLimit::new(Inner, PERMITS)));
        Self::new(name, &layer, move || door.clone())
    }

    /// As axum does it for each connection.
    fn made_for_each_call(name: &'static str, layer: ByKeyLayer) -> Self {
        let (inner, factory) = (ConcurrencyLimit::new(Inner, PERMITS), layer.clone());
        Self::new(name, &layer, move || Door::new(factory.layer(inner.clone())))
    }

    fn with_rough_errors(name: &'static str, layer: ByKeyLayer) -> Self {
        let inner = ConcurrencyLimit::new(Inner, PERMITS).map_err(Rough);
        let service = layer.clone().shared_errors().layer(inner);
        let door = Door::new(service.map_err(|error: SharedError| {
            let Rough(failure) = error.downcast_ref().expect("the inner service's own error");
            failure.clone()
        }));
        Self::new(name, &layer, move || door.clone())
    }

    fn new(
        name: &'static str,
        layer: &ByKeyLayer,
        door: impl Fn() -> Door + Send + Sync + 'static,
    ) -> Self {
        let (limits, handle, forgotten) = (Limits::default(), layer.handle(), Forgotten::new());
        let door = Box::new(door);
        Self {
            name,
            limits,
            handle,
            forgotten,
            finishes: false,
            filters: false,
            switches: false,
            door,
        }
    }
}

fn layer(world: &Arc<World>) -> ByKeyLayer {
    let world = world.clone();
    SingleflightLayer::by_key(move |ask: &Ask| ask.key(&world))
}
