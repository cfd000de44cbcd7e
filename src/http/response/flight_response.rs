//! What a flight brought, and for whom.

use crate::http::{
    body::SharedBody,
    policy::HttpPolicy,
    request::partition::UncomparedHeaders,
    response::cache_status::{Forwarded, append_cache_status},
    response::veto::{ResponseClass, ResponseFacts},
};
use crate::{core::group::Role, layer::future::Verdict, stats::VetoReason, sync::Mutex};
use http::{
    HeaderMap, HeaderName, HeaderValue, Response,
    header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, SET_COOKIE, TRAILER, TRANSFER_ENCODING},
};
use std::{fmt, sync::Arc};

#[derive(Clone)]
pub struct FlightResponse {
    kind: Delivery,
    /// It judges the requester, who is its leader. What followers get by [`judge`](Self::judge) is for those who are not
    /// sent on.
    is_refusal: bool,
    /// If it has something to say.
    policy: Option<Arc<HttpPolicy>>,
    /// Its leader had followed another flight before, which was not for it.
    refetched: bool,
}

/// Boxed, because it goes through many hands.
#[derive(Clone)]
enum Delivery {
    All(Box<Response<SharedBody>>),
    /// For those whose request agrees in the headers that the response varies by.
    Matching(Arc<VaryHeaders>, Box<Response<SharedBody>>),
    /// Taken by the leader. No clone of its body is kept for followers, who must not have it.
    Leader(VetoReason, LeaderSlot),
    /// The same, but followers get this head.
    Head(Box<Response<()>>, LeaderSlot),
}

/// Until the leader has taken it.
type LeaderSlot = Arc<Mutex<Option<Response<SharedBody>>>>;

/// Who may have a response.
pub(in crate::http) enum Recipients {
    All,
    Matching(Arc<VaryHeaders>),
    Leader(VetoReason),
    /// The head, but the leader all of it.
    Head,
}

impl Recipients {
    /// By the head alone. `vary` is what the request's partition has beyond the policy's, `others` are the headers that
    /// it does not compare.
    pub(in crate::http) fn of(
        policy: &HttpPolicy,
        facts: &ResponseFacts,
        class: ResponseClass,
        vary: &[HeaderName],
        others: impl FnOnce() -> UncomparedHeaders,
    ) -> Self {
        match class {
            ResponseClass::Shared => {}
            ResponseClass::RefusedToAll => return Self::All,
            ResponseClass::HeadRefusedToAll => return Self::Head,
            ResponseClass::Refused => return Self::Leader(VetoReason::Status),
            ResponseClass::Vetoed(reason) => return Self::Leader(reason),
        }
        let mut names = policy.foreign_vary(facts);
        names.retain(|name| !vary.contains(name));
        if names.is_empty() { Self::All } else { Self::Matching(Arc::new(VaryHeaders { names, others: others() })) }
    }

    pub(in crate::http) fn vary(&self) -> Option<Arc<VaryHeaders>> {
        match self {
            Self::Matching(vary) => Some(vary.clone()),
            Self::All | Self::Leader(_) | Self::Head => None,
        }
    }
}

/// The headers that a response varies by, outside the partition, and the leader's values of them.
pub(in crate::http) struct VaryHeaders {
    names: Vec<HeaderName>,
    /// Of the request that it was the response to.
    others: UncomparedHeaders,
}

impl FlightResponse {
    pub(in crate::http) fn new(
        policy: &Arc<HttpPolicy>,
        recipients: Recipients,
        is_refusal: bool,
        refetched: bool,
        response: Response<SharedBody>,
    ) -> Self {
        let kind = match recipients {
            Recipients::All => Delivery::All(Box::new(response)),
            Recipients::Matching(vary) => Delivery::Matching(vary, Box::new(response)),
            Recipients::Leader(reason) => Delivery::Leader(reason, Arc::new(Mutex::new(Some(response)))),
            Recipients::Head => Delivery::Head(Box::new(head_of(&response)), Arc::new(Mutex::new(Some(response)))),
        };
        let policy = (policy.has_cache_status() || policy.has_own_headers()).then(|| policy.clone());
        Self { kind, is_refusal, policy, refetched }
    }

    /// Whether it is a refusal: followers may go on together before they [`judge`](Self::judge) it.
    pub(in crate::http) fn is_refusal(&self) -> bool {
        self.is_refusal
    }

    /// Whether a follower with these headers may have it.
    pub(in crate::http) fn judge(&self, headers: Option<&HeaderMap>) -> Verdict {
        match &self.kind {
            Delivery::All(_) | Delivery::Head(..) => Verdict::Take,
            Delivery::Matching(vary, _) if headers.is_some_and(|headers| vary.matches(headers)) => Verdict::Take,
            Delivery::Matching(..) => Verdict::Again(VetoReason::Vary),
            Delivery::Leader(reason, _) => Verdict::Pass(*reason),
        }
    }

    /// Drops what only its leader may have.
    pub(in crate::http) fn drop_leader_response(&self) {
        if let Delivery::Leader(_, response) | Delivery::Head(_, response) = &self.kind {
            let response = response.lock().take();
            drop(response);
        }
    }

    /// The headers that it varies by, outside the partition.
    pub(in crate::http) fn vary_names(&self) -> &[HeaderName] {
        match &self.kind {
            Delivery::Matching(vary, _) => &vary.names,
            Delivery::All(_) | Delivery::Leader(..) | Delivery::Head(..) => &[],
        }
    }

    pub(in crate::http) fn into_response(self, role: Role) -> Response<SharedBody> {
        match self.kind {
            Delivery::All(response) | Delivery::Matching(_, response) => *response,
            Delivery::Head(head, _) if role == Role::Follower => head.map(|()| SharedBody::default()),
            Delivery::Leader(_, response) | Delivery::Head(_, response) => {
                response.lock().take().expect("only the leader takes it, once")
            }
        }
    }

    /// The response for a waiter of its flight. `request` are the headers of a follower's own, if it has one left.
    pub(in crate::http) fn for_waiter(self, role: Role, request: Option<&HeaderMap>) -> Response<SharedBody> {
        let (policy, how) = (self.policy.clone(), self.how(role));
        let is_anothers_refusal = self.is_refusal && role == Role::Follower;
        let mut response = self.into_response(role);
        if is_anothers_refusal {
            // It may name the session of the one who was refused.
            response.headers_mut().remove(SET_COOKIE);
        }
        mark_response(policy.as_deref(), role, how, request, &mut response);
        response
    }

    fn how(&self, role: Role) -> Forwarded {
        match role {
            Role::Follower => Forwarded::Collapsed,
            Role::Leader if self.refetched => Forwarded::Refetched,
            Role::Leader => Forwarded::Led,
        }
    }
}

/// Without what tells of the body.
fn head_of<B>(response: &Response<B>) -> Response<()> {
    let mut head = Response::new(());
    *head.status_mut() = response.status();
    *head.headers_mut() = response.headers().clone();
    for name in [CONTENT_TYPE, CONTENT_LENGTH, CONTENT_ENCODING, TRANSFER_ENCODING, TRAILER] {
        head.headers_mut().remove(name);
    }
    head
}

/// Marks a response that a flight gave. `request` are the headers of the waiter's own, if it has one left.
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
    append_cache_status(policy, how, response);
}

impl HttpPolicy {
    fn has_own_headers(&self) -> bool {
        !self.response.own_headers.is_empty()
    }

    /// Puts what a follower's own request says in the place of what the leader's said.
    fn put_own_headers(&self, request: Option<&HeaderMap>, response: &mut HeaderMap) {
        for name in &self.response.own_headers {
            response.remove(name);
            for value in request.into_iter().flat_map(|headers| headers.get_all(name)) {
                response.append(name, value.clone());
            }
        }
    }
}

impl VaryHeaders {
    pub(in crate::http) fn matches(&self, headers: &HeaderMap) -> bool {
        let lines = |name| headers.get_all(name).into_iter().map(HeaderValue::as_bytes);
        self.names.iter().all(|name| self.others.lines(name).eq(lines(name)))
    }
}

impl fmt::Debug for FlightResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlightResponse").field("refetched", &self.refetched).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, Request};

    const X: HeaderName = HeaderName::from_static("x");
    const Y: HeaderName = HeaderName::from_static("y");

    fn request(headers: &[(&str, &str)]) -> Request<()> {
        let request = headers.iter().fold(Request::builder(), |request, (name, value)| request.header(*name, *value));
        request.body(()).unwrap()
    }

    #[test]
    fn followers_agree_only_in_all_lines_of_all_names() {
        let agree = |a: &[(&str, &str)], b: &[(&str, &str)]| {
            let others = HttpPolicy::default().admit(&request(a), false).unwrap().others();
            VaryHeaders { names: vec![X, Y], others }.matches(request(b).headers())
        };
        assert!(agree(&[("x", "1"), ("z", "a")], &[("x", "1")]));
        assert!(agree(&[("x", "1"), ("y", "2")], &[("y", "2"), ("x", "1")]));
        assert!(!agree(&[("x", "1"), ("y", "a")], &[("x", "1")]));
        assert!(!agree(&[("x", "1")], &[("x", "1"), ("x", "1")]));
        assert!(!agree(&[("x", "1"), ("x", "2")], &[("x", "2"), ("x", "1")]));
        assert!(!agree(&[("x", "")], &[]));
        assert!(agree(&[], &[]));
    }
}
