//! What a flight brought, and for whom.

use super::{
    body::SharedBody,
    cache_status::{Forwarded, say},
    partition::Partition,
    policy::HttpPolicy,
};
use crate::{future::Verdict, group::Role, stats::VetoReason, sync::Mutex};
use http::{HeaderMap, HeaderName, Method, Response};
use http_body::Body;
use std::{fmt, sync::Arc};

#[derive(Clone)]
pub struct Answer {
    kind: Kind,
    policy: Arc<HttpPolicy>,
    /// Its leader had followed another flight before, which was not for it.
    refetched: bool,
}

#[derive(Clone)]
enum Kind {
    ForAll(Response<SharedBody>),
    /// For those whose request agrees in what the response varies by.
    ForSome(Arc<Varies>, Response<SharedBody>),
    /// Taken by the leader. No clone of its body is kept for followers, who must not have it.
    ForLeader(VetoReason, Arc<Mutex<Option<Response<SharedBody>>>>),
}

/// What a response varies by, outside the partition.
struct Varies {
    names: Vec<HeaderName>,
    /// The headers of the leader's request.
    asked: HeaderMap,
}

impl Answer {
    /// Judges by the head alone. `asked` are the headers of the request, `vary` is what its partition has beyond the
    /// policy's.
    pub(super) fn new(
        policy: &Arc<HttpPolicy>,
        method: &Method,
        asked: HeaderMap,
        vary: Vec<HeaderName>,
        response: Response<SharedBody>,
    ) -> Self {
        let (head, body) = response.into_parts();
        let veto = policy.veto(&head, &body.size_hint(), method);
        let mut names = policy.foreign_vary(&head);
        names.retain(|name| !vary.contains(name));
        let response = Response::from_parts(head, body);
        let kind = match veto {
            Some(reason) => Kind::ForLeader(reason, Arc::new(Mutex::new(Some(response)))),
            None if names.is_empty() => Kind::ForAll(response),
            None => Kind::ForSome(Arc::new(Varies { names, asked }), response),
        };
        Self { kind, policy: policy.clone(), refetched: !vary.is_empty() }
    }

    /// Whether others than the leader may have it.
    pub(super) fn is_shareable(&self) -> bool {
        !matches!(self.kind, Kind::ForLeader(..))
    }

    /// Whether a follower with these headers may have it.
    pub(super) fn judge(&self, headers: Option<&HeaderMap>) -> Verdict {
        match &self.kind {
            Kind::ForAll(_) => Verdict::Take,
            Kind::ForSome(varies, _) if headers.is_some_and(|headers| varies.agree(headers)) => Verdict::Take,
            Kind::ForSome(..) => Verdict::Again(VetoReason::Vary),
            Kind::ForLeader(reason, _) => Verdict::Pass(*reason),
        }
    }

    /// What it varies by, outside the partition.
    pub(super) fn varies_by(&self) -> &[HeaderName] {
        match &self.kind {
            Kind::ForSome(varies, _) => &varies.names,
            Kind::ForAll(_) | Kind::ForLeader(..) => &[],
        }
    }

    pub(super) fn into_response(self) -> Response<SharedBody> {
        match self.kind {
            Kind::ForAll(response) | Kind::ForSome(_, response) => response,
            Kind::ForLeader(_, response) => response.lock().take().expect("only the leader takes it, once"),
        }
    }

    /// The response for a waiter of its flight.
    pub(super) fn give(self, role: Role) -> Response<SharedBody> {
        let (policy, how) = (self.policy.clone(), self.how(role));
        let mut response = self.into_response();
        response.extensions_mut().insert(role);
        say(&policy, how, &mut response);
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

impl Varies {
    fn agree(&self, headers: &HeaderMap) -> bool {
        Partition::same_for(&self.names, &self.asked, headers)
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("for_others", &self.is_shareable()).finish_non_exhaustive()
    }
}
