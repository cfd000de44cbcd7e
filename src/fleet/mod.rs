//! N replicas of a program, one upstream call: the flights of several processes meet in an engine
//! that they share.
//!
//! The engine is a rendezvous, never an authority. It can make the fleet useless. It cannot make a
//! response wrong.

pub(crate) mod ask;
pub(crate) mod breaker;
pub mod engine;
pub(crate) mod flight;
pub(crate) mod follow;
mod handle;
mod keeper;
pub(crate) mod key;
pub(crate) mod lead;
pub(crate) mod name;
pub(crate) mod node;
pub(crate) mod random;
pub(crate) mod report;
pub(crate) mod seal;
pub(crate) mod slots;
pub(crate) mod stats;
#[cfg(feature = "fleet-testing")]
pub mod testing;
pub(crate) mod wire;

pub use handle::{Fleet, FleetRole};
pub use stats::{FleetReason, FleetStats};
