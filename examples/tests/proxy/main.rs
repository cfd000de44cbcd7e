//! `examples/proxy` between real clients and a scripted origin, all on loopback.

#[path = "../../proxy/gateway/mod.rs"]
mod gateway;

mod binary;
mod bodies;
mod coalescing;
#[cfg(unix)]
mod example;
mod failures;
mod framing;
mod headers;
#[cfg(feature = "spill")]
mod spill;
mod stalled;
mod support;
mod upgrades;
