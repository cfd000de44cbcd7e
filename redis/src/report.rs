//! One report when Redis goes away, and one when it is back: never one for each request.

use crate::trouble::{Kind, Trouble};

/// What was reported of the server so far.
pub(crate) struct Report {
    #[cfg_attr(not(feature = "tracing"), allow(dead_code))]
    server: String,
    /// The kinds of trouble since the server was up. Each is reported once.
    told: Vec<Kind>,
}

impl Report {
    pub(crate) fn new(server: String) -> Self {
        Self { server, told: Vec::new() }
    }

    pub(crate) fn up(&mut self) {
        if !self.told.is_empty() {
            self.told.clear();
            #[cfg(feature = "tracing")]
            tracing::warn!(
                server = self.server,
                "Redis at {} is there: the replicas share calls again",
                self.server
            );
        }
    }

    #[cfg_attr(not(feature = "tracing"), allow(unused_variables))]
    pub(crate) fn down(&mut self, trouble: &Trouble) {
        // One cause, seen from two sides.
        let kind = if trouble.kind == Kind::Silent { Kind::Away } else { trouble.kind };
        if !self.told.contains(&kind) {
            self.told.push(kind);
            #[cfg(feature = "tracing")]
            tracing::warn!(
                server = self.server,
                "Redis at {} {trouble}: each replica works alone",
                self.server
            );
        }
    }
}
