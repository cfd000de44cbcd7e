//! The servers, each started by hand on loopback.

mod nginx;
mod process;
mod proxy;
mod varnish;

pub(crate) use process::Server;

use crate::error::BoxError;
use process::Found;
use std::net::SocketAddr;

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
    for (name, start) in
        [("proxy", proxy::start as Start), ("nginx", nginx::start), ("varnish", varnish::start)]
    {
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

type Start = fn(SocketAddr) -> Result<Found, BoxError>;
