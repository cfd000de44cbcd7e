//! `examples/proxy` between real clients and a scripted origin, all on loopback.

#[path = "../../examples/proxy/gateway/mod.rs"]
mod gateway;

#[cfg(unix)]
#[path = "../support/example.rs"]
mod example;

mod binary;
mod coalescing;
mod failures;
mod framing;
mod headers;
mod stalled;
mod support;
