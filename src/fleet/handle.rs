//! The fleet as users see it.

use crate::fleet::{
    engine::Engine,
    name::Secret,
    node::{EnterTimes, Node},
    stats::FleetStats,
};
use std::{fmt, sync::Arc, time::Duration};

/// Several replicas of a program, which make one upstream call together.
///
/// Give it to a layer with [`SingleflightLayer::fleet`](crate::SingleflightLayer::fleet). A process
/// has one fleet, for all of its layers. A clone is the same fleet; the settings of a clone hold
/// for the layers that are given this clone.
///
/// ```
/// # #[cfg(feature = "fleet-testing")] {
/// # use tower_singleflight::fleet::testing::MemoryEngine;
/// use tower_singleflight::{Fleet, SingleflightLayer};
///
/// # let engine = MemoryEngine::new();
/// let fleet = Fleet::new(engine, "a secret that all replicas have");
/// let layer = SingleflightLayer::new(|req| req.uri().path().to_owned()).fleet(&fleet, "reports");
/// # let _ = layer.handle();
/// # }
/// ```
///
/// Replicas meet if they have the same engine, secret and version, and if their layers have the
/// same name and the same policy. All else stays in its process. Whatever goes wrong with the
/// engine, each replica goes on alone, as without a fleet.
///
/// A fleet needs a tokio runtime with a timer. Outside a runtime, every flight goes alone.
#[derive(Clone)]
pub struct Fleet {
    pub(crate) node: Arc<Node>,
    pub(crate) config: Config,
}

#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) lease: Duration,
    pub(crate) enter_within: Duration,
    pub(crate) body_limit: u64,
    pub(crate) body_within: Duration,
    pub(crate) version: Arc<str>,
    /// The name of the layer, once it is a layer's.
    pub(crate) layer: Arc<str>,
}

/// The shortest secret.
const SECRET: usize = 16;

/// The shortest lease: the network takes its part of each.
const SHORTEST_LEASE: Duration = Duration::from_millis(500);

impl Fleet {
    /// Makes a fleet of the replicas that have this engine's store and this secret.
    ///
    /// The secret names the flights and seals the responses, so that the engine learns neither, and
    /// cannot change any. Use at least 16 random bytes.
    ///
    /// # Panics
    ///
    /// Panics if the secret is shorter than 16 bytes.
    #[must_use]
    #[track_caller]
    pub fn new(engine: impl Engine, secret: impl AsRef<[u8]>) -> Self {
        let secret = secret.as_ref();
        assert!(
            secret.len() >= SECRET,
            "tower-singleflight: the secret of a fleet has at least 16 bytes"
        );
        let config = Config {
            lease: Duration::from_secs(3),
            enter_within: Duration::from_millis(50),
            body_limit: 1 << 20,
            body_within: Duration::from_secs(1),
            version: "".into(),
            layer: "".into(),
        };
        Self { node: Node::new(Box::new(engine), Secret::new(secret)), config }
    }

    /// Sets how long the other replicas wait for a replica that is gone, before one of them makes
    /// the call. Default: 3 s.
    ///
    /// A replica renews its lease while its call goes on, so this is no limit for the call.
    ///
    /// # Panics
    ///
    /// Panics if the lease is shorter than 500 ms.
    #[must_use]
    #[track_caller]
    pub fn lease(mut self, lease: Duration) -> Self {
        assert!(
            lease >= SHORTEST_LEASE,
            "tower-singleflight: the lease of a fleet is at least 500 ms"
        );
        self.config.lease = lease;
        self
    }

    /// Sets how long a request waits for the engine before it goes alone. Default: 50 ms.
    #[must_use]
    pub fn enter_within(mut self, time: Duration) -> Self {
        self.config.enter_within = time;
        self
    }

    /// Sets how large a body may be that other replicas get. Default: 1 MiB.
    ///
    /// A replica holds such a body in memory, and so does the engine. For a larger one, each
    /// replica makes its own call.
    #[must_use]
    pub fn body_limit(mut self, bytes: u64) -> Self {
        self.config.body_limit = bytes;
        self
    }

    /// Sets how long other replicas wait for a body after its head. Default: 1 s.
    ///
    /// They get the whole body or nothing. If it takes longer, each replica makes its own call.
    #[must_use]
    pub fn body_within(mut self, time: Duration) -> Self {
        self.config.body_within = time;
        self
    }

    /// Sets the version of the program. Replicas with different versions do not meet. Default: an
    /// empty text.
    ///
    /// While a new build replaces an old one, their handlers may differ, and closures of the policy
    /// may. With `.version(env!("CARGO_PKG_VERSION"))`, neither answers for the other.
    #[must_use]
    pub fn version(mut self, version: &str) -> Self {
        self.config.version = version.into();
        self
    }

    /// Returns the counters of this replica.
    #[must_use]
    pub fn stats(&self) -> FleetStats {
        self.node.counters.stats(self.is_up())
    }

    /// Returns whether the engine can be reached, as far as is known. While it cannot, every
    /// request goes alone.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.node.is_up()
    }

    pub(crate) fn times(&self) -> EnterTimes {
        EnterTimes { lease: self.config.lease, enter_within: self.config.enter_within }
    }
}

/// Whether the replica of a response made the upstream call. It is among the extensions of a
/// response, beside its [`Role`](crate::Role).
///
/// All waiters of the replica that led have `Leader`, and those of the other replicas have
/// `Follower`. A response has none if its replica went alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FleetRole {
    /// This replica made the call.
    Leader,
    /// Another replica made the call.
    Follower,
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet")
            .field("node", &self.node)
            .field("lease", &self.config.lease)
            .field("enter_within", &self.config.enter_within)
            .field("body_limit", &self.config.body_limit)
            .field("body_within", &self.config.body_within)
            .field("version", &self.config.version)
            .finish()
    }
}
