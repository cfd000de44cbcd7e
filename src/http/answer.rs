//! What a flight brought, and for whom.

use super::{
    body::SharedBody,
    cache_status::{Forwarded, say},
    partition::Partition,
    policy::HttpPolicy,
};
use crate::{future::Verdict, group::Role, stats::VetoReason, sync::Mutex};
use http::{HeaderMap, HeaderName, Method, Response, response::Parts};
use http_body::SizeHint;
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
    All(Response<SharedBody>),
    /// For those whose request agrees in what the response varies by.
    Agreeing(Arc<Varies>, Response<SharedBody>),
    /// Taken by the leader. No clone of its body is kept for followers, who must not have it.
    Leader(VetoReason, Arc<Mutex<Option<Response<SharedBody>>>>),
}

/// Who may have a response.
pub(super) enum Judgement {
    All,
    Agreeing(Arc<Varies>),
    Leader(VetoReason),
}

impl Judgement {
    /// By the head alone. `asked` is the head of the request, `vary` is what its partition has beyond the policy's.
    pub(super) fn of(
        policy: &HttpPolicy,
        response: &Parts,
        size: &SizeHint,
        (method, asked): (&Method, HeaderMap),
        vary: &[HeaderName],
    ) -> Self {
        if let Some(reason) = policy.veto(response, size, method) {
            return Self::Leader(reason);
        }
        let mut names = policy.foreign_vary(response);
        names.retain(|name| !vary.contains(name));
        if names.is_empty() { Self::All } else { Self::Agreeing(Arc::new(Varies { names, asked })) }
    }
}

impl Judgement {
    pub(super) fn is_for_others(&self) -> bool {
        !matches!(self, Self::Leader(_))
    }

    pub(super) fn varies(&self) -> Option<Arc<Varies>> {
        match self {
            Self::Agreeing(varies) => Some(varies.clone()),
            Self::All | Self::Leader(_) => None,
        }
    }
}

/// What a response varies by, outside the partition.
pub(super) struct Varies {
    names: Vec<HeaderName>,
    /// The headers of the leader's request.
    asked: HeaderMap,
}

impl Answer {
    pub(super) fn new(
        policy: &Arc<HttpPolicy>,
        judgement: Judgement,
        refetched: bool,
        response: Response<SharedBody>,
    ) -> Self {
        let kind = match judgement {
            Judgement::All => Kind::All(response),
            Judgement::Agreeing(varies) => Kind::Agreeing(varies, response),
            Judgement::Leader(reason) => Kind::Leader(reason, Arc::new(Mutex::new(Some(response)))),
        };
        Self { kind, policy: policy.clone(), refetched }
    }

    /// Whether a follower with these headers may have it.
    pub(super) fn judge(&self, headers: Option<&HeaderMap>) -> Verdict {
        match &self.kind {
            Kind::All(_) => Verdict::Take,
            Kind::Agreeing(varies, _) if headers.is_some_and(|headers| varies.agree(headers)) => Verdict::Take,
            Kind::Agreeing(..) => Verdict::Again(VetoReason::Vary),
            Kind::Leader(reason, _) => Verdict::Pass(*reason),
        }
    }

    /// What it varies by, outside the partition.
    pub(super) fn varies_by(&self) -> &[HeaderName] {
        match &self.kind {
            Kind::Agreeing(varies, _) => &varies.names,
            Kind::All(_) | Kind::Leader(..) => &[],
        }
    }

    pub(super) fn into_response(self) -> Response<SharedBody> {
        match self.kind {
            Kind::All(response) | Kind::Agreeing(_, response) => response,
            Kind::Leader(_, response) => response.lock().take().expect("only the leader takes it, once"),
        }
    }

    /// The response for a waiter of its flight.
    pub(super) fn give(self, role: Role) -> Response<SharedBody> {
        let (policy, how) = (self.policy.clone(), self.how(role));
        let mut response = self.into_response();
        give(&policy, role, how, &mut response);
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

/// Marks a response that a flight gave.
pub(super) fn give(policy: &HttpPolicy, role: Role, how: Forwarded, response: &mut Response<SharedBody>) {
    response.extensions_mut().insert(role);
    say(policy, how, response);
}

impl Varies {
    pub(super) fn agree(&self, headers: &HeaderMap) -> bool {
        Partition::same_for(&self.names, &self.asked, headers)
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("refetched", &self.refetched).finish_non_exhaustive()
    }
}
