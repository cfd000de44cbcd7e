//! Marks a response for its client: with its role, `Cache-Status` and its own headers.

use crate::core::group::Role;
use crate::http::{
    body::SharedBody,
    policy::HttpPolicy,
    response::cache_status::{Forwarded, append_cache_status},
};
use http::{HeaderMap, Response};

/// Marks the response of a flight for one waiter. `request` are the headers of a follower's
/// request, if it is left. Without a policy, the response gets its role alone.
pub(in crate::http) fn mark_response(
    policy: Option<&HttpPolicy>,
    role: Role,
    how: Forwarded,
    request: Option<&HeaderMap>,
    response: &mut Response<SharedBody>,
) {
    response.extensions_mut().insert(role);
    let Some(policy) = policy else { return };
    if role == Role::Follower {
        policy.put_own_headers(request, response.headers_mut());
    }
    #[cfg(feature = "fleet")]
    let how = match response.extensions().get() {
        Some(crate::FleetRole::Follower) => Forwarded::Fleet,
        Some(crate::FleetRole::Leader) | None => how,
    };
    append_cache_status(policy, how, response);
}

impl HttpPolicy {
    /// True if it marks a response with more than its role.
    pub(super) fn marks_responses(&self) -> bool {
        self.flight.cache_status.is_some() || !self.response.own_headers.is_empty()
    }

    /// Replaces the leader's values of `own_response_header`s by the values in a follower's
    /// request.
    fn put_own_headers(&self, request: Option<&HeaderMap>, response: &mut HeaderMap) {
        for name in &self.response.own_headers {
            response.remove(name);
            for value in request.into_iter().flat_map(|headers| headers.get_all(name)) {
                response.append(name, value.clone());
            }
        }
    }
}
