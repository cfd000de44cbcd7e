//! What the proxy did, for when it stops.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};
use tower_singleflight::Stats;

#[derive(Debug, Default)]
pub(super) struct Counters {
    requests: AtomicU64,
    upstream_calls: AtomicU64,
}

impl Counters {
    pub(super) fn count_request(&self) {
        self.requests.fetch_add(1, Relaxed);
    }

    pub(super) fn count_upstream_call(&self) {
        self.upstream_calls.fetch_add(1, Relaxed);
    }

    pub(super) fn summary(&self, flights: Option<Stats>) -> Summary {
        let (requests, upstream_calls) =
            (self.requests.load(Relaxed), self.upstream_calls.load(Relaxed));
        Summary { requests, upstream_calls, flights }
    }
}

/// What the proxy did.
#[derive(Debug)]
pub(crate) struct Summary {
    pub(crate) requests: u64,
    pub(crate) upstream_calls: u64,
    /// `None` without the layer.
    pub(crate) flights: Option<Stats>,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "requests {}, upstream calls {}", self.requests, self.upstream_calls)?;
        match &self.flights {
            Some(flights) => write!(f, "\nlayer: {flights}"),
            None => f.write_str("\nlayer: left out"),
        }
    }
}
