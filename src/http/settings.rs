//! The settings that all HTTP modes have: the policy, and what follows from it.

#[cfg(feature = "spill")]
use crate::http::body::Spill;
#[cfg(feature = "fleet")]
use crate::http::fleet::LayerFleet;
use crate::http::{
    body::{BodyConfig, Budget},
    policy::HttpPolicy,
    unshareable::UnshareableKeys,
};
use crate::layer::{keys::Keys, mode::Mode, settings::Settings};
use http::Request;
#[cfg(feature = "fleet")]
use std::hash::Hash;
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// A mode for HTTP requests.
pub trait HttpMode: Mode<Head = Request<()>> + Send + Sync {
    fn http(&self) -> &HttpSettings<Self::Key>;
}

/// The filter, the groups and the policy of a mode.
pub struct HttpSettings<K> {
    pub(super) keys: Keys<Request<()>, K>,
    pub(super) id: PolicyId,
    pub(super) policy: Arc<HttpPolicy>,
    pub(super) bodies: Arc<BodyConfig>,
    pub(super) unshareable: UnshareableKeys,
    #[cfg(feature = "fleet")]
    pub(super) fleet: Option<Arc<LayerFleet<K>>>,
}

/// Identifies a policy value. Two policies with the same rules have different numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PolicyId(u64);

impl PolicyId {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl<K: 'static> HttpSettings<K> {
    pub(super) fn new(keys: Keys<Request<()>, K>, policy: HttpPolicy) -> Self {
        let (bodies, unshareable) =
            (Arc::new(BodyConfig::of(&policy)), UnshareableKeys::new(&policy));
        Self {
            keys,
            id: PolicyId::new(),
            policy: Arc::new(policy),
            bodies,
            unshareable,
            #[cfg(feature = "fleet")]
            fleet: None,
        }
    }

    /// Gives each separate group its own body budget and its own unshareable keys. The policy and
    /// its number stay.
    pub(super) fn in_separate_group(&self) -> Self {
        let (bodies, unshareable) =
            (Arc::new(BodyConfig::of(&self.policy)), UnshareableKeys::new(&self.policy));
        let keys = self.keys.in_separate_group();
        Self {
            keys,
            id: self.id,
            policy: self.policy.clone(),
            bodies,
            unshareable,
            // The replicas cannot know which of their groups belong together.
            #[cfg(feature = "fleet")]
            fleet: None,
        }
    }
}

#[cfg(feature = "fleet")]
impl<K: Hash + Eq + Send + Sync + 'static> HttpSettings<K> {
    pub(super) fn set_fleet(&mut self, fleet: Option<Arc<LayerFleet<K>>>) {
        if let Some(fleet) = &fleet {
            self.keys.layer.add_fleet(fleet.clone());
        }
        self.fleet = fleet;
    }
}

impl BodyConfig {
    pub(super) fn of(policy: &HttpPolicy) -> Self {
        Self {
            limit: usize::try_from(policy.flight.body_limit).unwrap_or(usize::MAX),
            slow: policy.flight.slow_reader,
            keep_start: policy.flight.keep_start,
            hold_back: policy.flight.hold_back_at_most,
            budget: Budget::new(policy.flight.body_budget),
            #[cfg(feature = "spill")]
            spill: policy
                .flight
                .spill
                .map(|bytes| Spill::new(bytes, policy.flight.spill_to.clone())),
        }
    }
}

impl<M: HttpMode> Settings<M> {
    #[inline]
    pub(super) fn http(&self) -> &HttpSettings<M::Key> {
        self.mode.http()
    }
}

impl<K> Clone for HttpSettings<K> {
    fn clone(&self) -> Self {
        Self {
            keys: self.keys.clone(),
            id: self.id,
            policy: self.policy.clone(),
            bodies: self.bodies.clone(),
            unshareable: self.unshareable.clone(),
            #[cfg(feature = "fleet")]
            fleet: self.fleet.clone(),
        }
    }
}

impl<K> fmt::Debug for HttpSettings<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpSettings").field("policy", &self.policy).finish_non_exhaustive()
    }
}
