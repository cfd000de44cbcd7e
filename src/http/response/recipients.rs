//! Decides which waiters get a response, by its class and its `Vary`.

use crate::http::{
    policy::HttpPolicy, request::partition::Partition, response::class::ResponseClass,
    response::facts::ResponseFacts, response::vary_headers::VaryHeaders,
};
use crate::stats::VetoReason;
use http::HeaderName;
use std::sync::Arc;

/// The waiters that may have a response.
pub(in crate::http) enum Recipients {
    All,
    /// The leader, and followers whose headers match the leader's.
    Matching(Arc<VaryHeaders>),
    Leader(VetoReason),
    /// The leader gets all of it, followers get the head.
    HeadForAll,
}

impl Recipients {
    /// `vary` are the headers that the request's `partition` compares beyond the policy's. A
    /// request without a flight has no partition.
    pub(in crate::http) fn of(
        policy: &HttpPolicy,
        facts: &ResponseFacts,
        class: ResponseClass,
        vary: &[HeaderName],
        partition: Option<&Partition>,
    ) -> Self {
        match class {
            ResponseClass::Shared => {}
            ResponseClass::RefusedToAll => return Self::All,
            ResponseClass::HeadRefusedToAll => return Self::HeadForAll,
            ResponseClass::Refused => return Self::Leader(VetoReason::Status),
            ResponseClass::Vetoed(reason) => return Self::Leader(reason),
        }
        let mut names = policy.foreign_vary(facts);
        names.retain(|name| !vary.contains(name));
        if names.is_empty() {
            Self::All
        } else {
            Self::Matching(Arc::new(VaryHeaders::new(names, partition)))
        }
    }

    pub(in crate::http) fn vary(&self) -> Option<Arc<VaryHeaders>> {
        match self {
            Self::Matching(vary) => Some(vary.clone()),
            Self::All | Self::Leader(_) | Self::HeadForAll => None,
        }
    }
}
