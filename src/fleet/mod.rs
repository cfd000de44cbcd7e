//! N replicas of a program, one upstream call: the flights of several processes meet in an engine that they share.
//!
//! The engine is a rendezvous, never an authority. It can make the fleet useless. It cannot make a response wrong.

pub mod engine;
#[cfg(feature = "fleet-testing")]
pub mod testing;
