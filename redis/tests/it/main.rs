//! The engine against real servers. Each test starts its own.

mod acl;
mod conformance;
mod faults;
mod fleets;
mod keys;
mod operations;
mod relay;
mod replica;
#[cfg(feature = "tracing")]
mod reports;
mod server;
