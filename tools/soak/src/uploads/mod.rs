//! Requests with bodies in the process, to layers whose policies are drawn.
//!
//! Each storm has a layer, an upstream and some clients of its own. At its end nothing is in
//! flight, and the budget of the bodies is free.

mod body;
mod origin;
mod policy;
mod storm;
mod visit;

use crate::world::World;
use fastrand::Rng;
use std::{sync::Arc, time::Instant};

const PART: &str = "upload";
const WHOLE: &str = "upload: read to the end";
const LEFT: &str = "upload: left";
const FAILED: &str = "upload: got the failure of the upstream";
const CUT_SHORT: &str = "upload: got a body that the upstream cut short";
/// Rare, and nothing that has to be met.
const CUT_OFF: &str = "upload: was cut off, for it lagged behind";
const BROKE_OFF: &str = "upload: broke off its own body";
const PANICKED: &str = "upload: its key panicked";
/// Not the end of a call, so they have a part of their own.
const SHARED: &str = "layer: several requests shared one call";
const WROTE: &str = "layer: wrote between the reads";
const STORM: &str = "layer: storms that ended";

pub(crate) const EVENTS: [&str; 9] =
    [WHOLE, LEFT, FAILED, CUT_SHORT, BROKE_OFF, PANICKED, SHARED, WROTE, STORM];

/// One storm after the other.
pub(crate) async fn act(world: Arc<World>, mut rng: Rng, until: Instant) {
    while Instant::now() < until {
        storm::storm(&world, rng.fork()).await;
    }
}
