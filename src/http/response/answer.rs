//! What a flight brought, and for whom.

use crate::http::{
    body::SharedBody,
    policy::HttpPolicy,
    request::partition::Others,
    response::cache_status::{Forwarded, say},
    response::veto::{Ruling, Said},
};
use crate::{core::group::Role, layer::future::Verdict, stats::VetoReason, sync::Mutex};
use http::{
    HeaderMap, HeaderName, HeaderValue, Response,
    header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, SET_COOKIE, TRAILER, TRANSFER_ENCODING},
};
use std::{fmt, sync::Arc};

#[derive(Clone)]
pub struct Answer {
    kind: Kind,
    /// It judges the requester, who is its leader. What followers get by [`judge`](Self::judge) is for those who are not
    /// sent on.
    refuses: bool,
    /// If it has something to say.
    policy: Option<Arc<HttpPolicy>>,
    /// Its leader had followed another flight before, which was not for it.
    refetched: bool,
}

/// Boxed, because it goes through many hands.
#[derive(Clone)]
enum Kind {
    All(Box<Response<SharedBody>>),
    /// For those whose request agrees in what the response varies by.
    Agreeing(Arc<Varies>, Box<Response<SharedBody>>),
    /// Taken by the leader. No clone of its body is kept for followers, who must not have it.
    Leader(VetoReason, Leaders),
    /// The same, but followers get this head.
    Head(Box<Response<()>>, Leaders),
}

/// Until the leader has taken it.
type Leaders = Arc<Mutex<Option<Response<SharedBody>>>>;

/// Who may have a response.
pub(in crate::http) enum Judgement {
    All,
    Agreeing(Arc<Varies>),
    Leader(VetoReason),
    /// The head, but the leader all of it.
    Head,
}

impl Judgement {
    /// By the head alone. `vary` is what the request's partition has beyond the policy's, `others` are the headers that
    /// it does not compare.
    pub(in crate::http) fn of(
        policy: &HttpPolicy,
        said: &Said,
        ruling: Ruling,
        vary: &[HeaderName],
        others: impl FnOnce() -> Others,
    ) -> Self {
        match ruling {
            Ruling::Shared => {}
            Ruling::RefusedToAll => return Self::All,
            Ruling::HeadRefusedToAll => return Self::Head,
            Ruling::Refused => return Self::Leader(VetoReason::Status),
            Ruling::Vetoed(reason) => return Self::Leader(reason),
        }
        let mut names = policy.foreign_vary(said);
        names.retain(|name| !vary.contains(name));
        if names.is_empty() { Self::All } else { Self::Agreeing(Arc::new(Varies { names, others: others() })) }
    }

    pub(in crate::http) fn varies(&self) -> Option<Arc<Varies>> {
        match self {
            Self::Agreeing(varies) => Some(varies.clone()),
            Self::All | Self::Leader(_) | Self::Head => None,
        }
    }
}

/// What a response varies by, outside the partition.
pub(in crate::http) struct Varies {
    names: Vec<HeaderName>,
    /// Of the request that it was the response to.
    others: Others,
}

impl Answer {
    pub(in crate::http) fn new(
        policy: &Arc<HttpPolicy>,
        judgement: Judgement,
        refuses: bool,
        refetched: bool,
        response: Response<SharedBody>,
    ) -> Self {
        let kind = match judgement {
            Judgement::All => Kind::All(Box::new(response)),
            Judgement::Agreeing(varies) => Kind::Agreeing(varies, Box::new(response)),
            Judgement::Leader(reason) => Kind::Leader(reason, Arc::new(Mutex::new(Some(response)))),
            Judgement::Head => Kind::Head(Box::new(head_of(&response)), Arc::new(Mutex::new(Some(response)))),
        };
        let policy = (policy.says_status() || policy.has_own_headers()).then(|| policy.clone());
        Self { kind, refuses, policy, refetched }
    }

    /// Whether it is a refusal: followers may go on together before they [`judge`](Self::judge) it.
    pub(in crate::http) fn refuses(&self) -> bool {
        self.refuses
    }

    /// Whether a follower with these headers may have it.
    pub(in crate::http) fn judge(&self, headers: Option<&HeaderMap>) -> Verdict {
        match &self.kind {
            Kind::All(_) | Kind::Head(..) => Verdict::Take,
            Kind::Agreeing(varies, _) if headers.is_some_and(|headers| varies.agree(headers)) => Verdict::Take,
            Kind::Agreeing(..) => Verdict::Again(VetoReason::Vary),
            Kind::Leader(reason, _) => Verdict::Pass(*reason),
        }
    }

    /// Drops what only its leader may have.
    pub(in crate::http) fn leader_is_gone(&self) {
        if let Kind::Leader(_, response) | Kind::Head(_, response) = &self.kind {
            let response = response.lock().take();
            drop(response);
        }
    }

    /// What it varies by, outside the partition.
    pub(in crate::http) fn varies_by(&self) -> &[HeaderName] {
        match &self.kind {
            Kind::Agreeing(varies, _) => &varies.names,
            Kind::All(_) | Kind::Leader(..) | Kind::Head(..) => &[],
        }
    }

    pub(in crate::http) fn into_response(self, role: Role) -> Response<SharedBody> {
        match self.kind {
            Kind::All(response) | Kind::Agreeing(_, response) => *response,
            Kind::Head(head, _) if role == Role::Follower => head.map(|()| SharedBody::default()),
            Kind::Leader(_, response) | Kind::Head(_, response) => {
                response.lock().take().expect("only the leader takes it, once")
            }
        }
    }

    /// The response for a waiter of its flight. `request` are the headers of a follower's own, if it has one left.
    pub(in crate::http) fn give(self, role: Role, request: Option<&HeaderMap>) -> Response<SharedBody> {
        let (policy, how) = (self.policy.clone(), self.how(role));
        let is_anothers_refusal = self.refuses && role == Role::Follower;
        let mut response = self.into_response(role);
        if is_anothers_refusal {
            // It may name the session of the one who was refused.
            response.headers_mut().remove(SET_COOKIE);
        }
        give(policy.as_deref(), role, how, request, &mut response);
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
pub(in crate::http) fn give(
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
    say(policy, how, response);
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

impl Varies {
    pub(in crate::http) fn agree(&self, headers: &HeaderMap) -> bool {
        let lines = |name| headers.get_all(name).into_iter().map(HeaderValue::as_bytes);
        self.names.iter().all(|name| self.others.lines(name).eq(lines(name)))
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("refetched", &self.refetched).finish_non_exhaustive()
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
            Varies { names: vec![X, Y], others }.agree(request(b).headers())
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
