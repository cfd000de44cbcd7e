//! The replicas of a fleet, over one engine in the process that fails at random.
//!
//! Each storm has a runtime of its own, whose clock moves on when all tasks wait. So leases of
//! seconds end at once, and its seed alone tells what happens.

mod client;
mod event;
mod faulty;
pub(crate) mod live;
mod replica;
mod storm;
mod upstream;

use crate::world::World;
use fastrand::Rng;
use std::{sync::Arc, thread, time::Instant};
use tokio::runtime::Builder;

const PART: &str = "fleet";
const ANSWERED: &str = "fleet: got its answer";
const FAILED: &str = "fleet: got the failure of the upstream";
const CUT_SHORT: &str = "fleet: got a body that the upstream cut short";
const LEFT: &str = "fleet: left";
const WROTE: &str = "fleet: wrote";
/// Not the end of a call, so they have a part of their own.
const TAKEN: &str = "replica: took the response of another";
const TAKEN_OVER: &str = "replica: took over the flight of another";
const ALONE: &str = "replica: made its own call";
const LEASE_LOST: &str = "replica: lost a lease";
const STORM: &str = "replica: storms that ended";

pub(crate) const EVENTS: [&str; 10] =
    [ANSWERED, FAILED, CUT_SHORT, LEFT, WROTE, TAKEN, TAKEN_OVER, ALONE, LEASE_LOST, STORM];

/// One storm after the other. It rests twice as long as a storm takes, because a storm never waits
/// for anything.
pub(crate) fn act(world: &Arc<World>, mut rng: Rng, until: Instant) {
    while Instant::now() < until {
        let began = Instant::now();
        let seed = rng.u64(..);
        let call = world.open(format!("fleet: the storm with seed {seed}"));
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        match runtime {
            Ok(runtime) => runtime.block_on(storm::Storm::new(world, seed).go()),
            Err(error) => world.report.fail(PART, &format!("no runtime: {error}")),
        }
        drop(call);
        let left = until.saturating_duration_since(Instant::now());
        thread::sleep(left.min(2 * began.elapsed()));
    }
}
