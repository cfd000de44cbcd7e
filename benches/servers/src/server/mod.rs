//! The servers, each started by hand on loopback.

mod ats;
mod nginx;
mod process;
mod proxy;
mod squid;
mod varnish;

pub(crate) use process::Server;

use crate::{error::BoxError, scenario::Scenario};
use process::Found;
use std::net::SocketAddr;

type Start = fn(SocketAddr) -> Result<Found, BoxError>;

/// Between the clients and the origin.
const SERVERS: [(&str, Start); 6] = [
    ("proxy", proxy::start),
    (SPILL, proxy::start_spilling),
    ("nginx", nginx::start),
    ("varnish", varnish::start),
    ("squid", squid::start),
    ("ats", ats::start),
];
/// The proxy with a file for what slow readers have not read yet.
const SPILL: &str = "proxy --spill";

/// All that are there. `wanted` tells by name.
pub(crate) fn start_all(
    origin: SocketAddr,
    wanted: impl Fn(&str) -> bool,
) -> Result<Vec<Found>, BoxError> {
    let mut all = Vec::new();
    if wanted("none") {
        all.push(Ok(Server {
            name: "none",
            version: "the origin alone".into(),
            addr: origin,
            process: None,
        }));
    }
    for (name, start) in SERVERS {
        if wanted(name) {
            all.push(start(origin)?);
        }
    }
    Ok(all)
}

/// The proxy, with and without the layer.
pub(crate) fn start_proxies(origin: SocketAddr) -> Result<[Server; 2], BoxError> {
    let start = |start: Start| start(origin)?.map_err(|missing| BoxError::from(missing.why));
    Ok([start(proxy::start)?, start(proxy::start_bare)?])
}

impl Server {
    /// Its answers have to be right, or nothing is worth measuring.
    pub(crate) fn is_ours(&self) -> bool {
        self.name.starts_with("proxy")
    }

    pub(crate) fn takes_part(&self, scenario: Scenario) -> bool {
        match self.name {
            // The origin does not end a connection.
            "none" => !matches!(scenario, Scenario::Slow(_)),
            SPILL => matches!(scenario, Scenario::Slow(_)),
            _ => true,
        }
    }

    /// The name, as a part of a path.
    pub(crate) fn path(&self) -> String {
        self.name.replace(' ', "")
    }
}
