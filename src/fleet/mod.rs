//! N replicas of a program, one upstream call: the flights of several processes meet in an engine that they share.
//!
//! The engine is a rendezvous, never an authority. It can make the fleet useless. It cannot make a response wrong.

pub mod engine;
#[allow(dead_code)]
pub(crate) mod key;
#[allow(dead_code)]
pub(crate) mod name;
#[allow(dead_code)]
pub(crate) mod random;
#[allow(dead_code)]
pub(crate) mod seal;
#[allow(dead_code)]
pub(crate) mod wire;
#[cfg(feature = "fleet-testing")]
pub mod testing;
