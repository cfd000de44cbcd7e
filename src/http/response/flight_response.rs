//! The response that a flight lands with, and what each waiter gets of it.

use crate::http::{
    body::SharedBody,
    policy::HttpPolicy,
    response::{
        cache_status::Forwarded, mark::mark_response, recipients::Recipients,
        vary_headers::VaryHeaders,
    },
};
use crate::{core::group::Role, layer::job::Verdict, stats::VetoReason, sync::Mutex};
use http::{
    HeaderMap, HeaderName, Response,
    header::{
        CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, SET_COOKIE, TRAILER, TRANSFER_ENCODING,
    },
};
use std::{fmt, sync::Arc};
#[cfg(feature = "fleet")]
use {
    crate::fleet::{
        flight::{FleetOutcome, Shared},
        wire::Go,
    },
    http::HeaderValue,
    http_body::Body,
    std::{any::Any, pin::Pin, time::Duration},
};

/// A response, and who may have it.
#[derive(Clone)]
pub struct FlightResponse {
    delivery: Delivery,
    /// Whether it judges the client that led. Followers may go on together before they
    /// [`judge`](Self::judge) it.
    is_refusal: bool,
    /// `None` if it adds nothing to a response.
    policy: Option<Arc<HttpPolicy>>,
    /// Whether the leader followed another flight before, and could not have the response of that.
    refetched: bool,
}

/// The response, by its recipients. It is boxed, because it is moved often.
#[derive(Clone)]
enum Delivery {
    All(Box<Response<SharedBody>>),
    /// Followers get it if their headers match the leader's.
    Matching(Arc<VaryHeaders>, Box<Response<SharedBody>>),
    /// Followers get nothing.
    Leader(VetoReason, LeaderSlot),
    /// Followers get this head.
    HeadForAll(Box<Response<()>>, LeaderSlot),
    /// Followers get nothing. The leader has yet to make its call.
    #[cfg(feature = "fleet")]
    LeaderCall(VetoReason, CallSlot),
}

/// The call of the leader alone, until the leader takes it.
#[cfg(feature = "fleet")]
type CallSlot = Arc<Mutex<Option<LeaderCall>>>;

/// Gives the response for the leader, or the error of its callers.
#[cfg(feature = "fleet")]
pub(in crate::http) type LeaderCall =
    Pin<Box<dyn Future<Output = Result<FlightResponse, Box<dyn Any + Send>>> + Send>>;

/// A response for the leader alone, until the leader takes it. It is never cloned: its body must
/// have a single reader.
type LeaderSlot = Arc<Mutex<Option<Response<SharedBody>>>>;

impl FlightResponse {
    pub(in crate::http) fn new(
        policy: &Arc<HttpPolicy>,
        recipients: Recipients,
        is_refusal: bool,
        refetched: bool,
        response: Response<SharedBody>,
    ) -> Self {
        let policy = policy.marks_responses().then(|| policy.clone());
        Self { delivery: Delivery::new(recipients, response), is_refusal, policy, refetched }
    }

    pub(in crate::http) fn is_refusal(&self) -> bool {
        self.is_refusal
    }

    /// Decides whether a follower with these headers may have it.
    pub(in crate::http) fn judge(&self, headers: Option<&HeaderMap>) -> Verdict {
        match &self.delivery {
            Delivery::All(_) | Delivery::HeadForAll(..) => Verdict::Take,
            Delivery::Matching(vary, _) if headers.is_some_and(|headers| vary.matches(headers)) => {
                Verdict::Take
            }
            Delivery::Matching(..) => Verdict::Again(VetoReason::Vary),
            Delivery::Leader(reason, _) => Verdict::Pass(*reason),
            #[cfg(feature = "fleet")]
            Delivery::LeaderCall(reason, _) => Verdict::Pass(*reason),
        }
    }

    /// Drops a response that only the leader may have. Called when the leader is gone.
    pub(in crate::http) fn drop_leader_response(&self) {
        if let Delivery::Leader(_, slot) | Delivery::HeadForAll(_, slot) = &self.delivery {
            let response = slot.lock().take();
            drop(response);
        }
        #[cfg(feature = "fleet")]
        drop(self.take_leader_call());
    }

    /// The headers that it varies by and the partition lacks.
    pub(in crate::http) fn vary_names(&self) -> &[HeaderName] {
        match &self.delivery {
            Delivery::Matching(vary, _) => vary.names(),
            Delivery::All(_) | Delivery::Leader(..) | Delivery::HeadForAll(..) => &[],
            #[cfg(feature = "fleet")]
            Delivery::LeaderCall(..) => &[],
        }
    }

    /// Returns the response for a waiter of its flight. `request` are the headers of a follower's
    /// request, if it is left.
    pub(in crate::http) fn for_waiter(
        self,
        role: Role,
        request: Option<&HeaderMap>,
    ) -> Response<SharedBody> {
        let (policy, how) = (self.policy.clone(), self.forwarded(role));
        let is_anothers_refusal = self.is_refusal && role == Role::Follower;
        let mut response = self.into_response(role);
        if is_anothers_refusal {
            // The cookie may name the session of the client that was refused.
            response.headers_mut().remove(SET_COOKIE);
        }
        mark_response(policy.as_deref(), role, how, request, &mut response);
        response
    }

    /// Returns the response without marks.
    pub(in crate::http) fn into_response(self, role: Role) -> Response<SharedBody> {
        match self.delivery {
            Delivery::All(response) | Delivery::Matching(_, response) => *response,
            Delivery::HeadForAll(head, _) if role == Role::Follower => {
                head.map(|()| SharedBody::default())
            }
            Delivery::Leader(_, slot) | Delivery::HeadForAll(_, slot) => {
                slot.lock().take().expect("only the leader takes it, once")
            }
            #[cfg(feature = "fleet")]
            Delivery::LeaderCall(..) => {
                unreachable!("its leader makes a call, and its followers get nothing")
            }
        }
    }

    /// Releases the followers before the leader makes its call: the response of another replica was
    /// vetoed.
    #[cfg(feature = "fleet")]
    pub(in crate::http) fn leader_calls(reason: VetoReason, call: LeaderCall) -> Self {
        let delivery = Delivery::LeaderCall(reason, Arc::new(Mutex::new(Some(call))));
        Self { delivery, is_refusal: false, policy: None, refetched: false }
    }

    /// Takes the call that the leader has yet to make, if there is one.
    #[cfg(feature = "fleet")]
    pub(in crate::http) fn take_leader_call(&self) -> Option<LeaderCall> {
        match &self.delivery {
            Delivery::LeaderCall(_, slot) => slot.lock().take(),
            _ => None,
        }
    }

    /// What the other replicas of a fleet get of it. `mark`: how long they pass without waiting
    /// after a veto. `has_room`: whether the body may be held for them.
    #[cfg(feature = "fleet")]
    pub(in crate::http) fn outcome(
        &self,
        mark: Duration,
        has_room: bool,
    ) -> FleetOutcome<SharedBody> {
        let (vary, response) = match &self.delivery {
            _ if self.is_refusal => return FleetOutcome::Go(Go::Veto(REFUSED), None),
            Delivery::HeadForAll(..) => return FleetOutcome::Go(Go::Veto(REFUSED), None),
            Delivery::Leader(reason, _) | Delivery::LeaderCall(reason, _) => {
                return FleetOutcome::Go(Go::Veto(*reason as u8), Some(mark));
            }
            Delivery::All(_) | Delivery::Matching(..) if !has_room => {
                return FleetOutcome::Go(Go::TooLarge, None);
            }
            Delivery::All(response) => (Vec::new(), response),
            Delivery::Matching(vary, response) => (lines_of(vary), response),
        };
        FleetOutcome::Share(Shared { vary, response: Response::clone(response), mark })
    }

    /// True if other replicas may have it. `limit`: how large its body may be.
    #[cfg(feature = "fleet")]
    pub(in crate::http) fn is_for_others(&self, limit: u64) -> bool {
        match &self.delivery {
            Delivery::All(response) | Delivery::Matching(_, response) => {
                !self.is_refusal
                    && response.body().size_hint().upper().is_some_and(|length| length <= limit)
            }
            Delivery::Leader(..) | Delivery::HeadForAll(..) | Delivery::LeaderCall(..) => false,
        }
    }

    fn forwarded(&self, role: Role) -> Forwarded {
        match role {
            Role::Follower => Forwarded::Collapsed,
            Role::Leader if self.refetched => Forwarded::Refetched,
            Role::Leader => Forwarded::Led,
        }
    }
}

/// Stands for a refusal, among the numbers of the reasons for a veto.
#[cfg(feature = "fleet")]
const REFUSED: u8 = u8::MAX;

/// The headers that a response varies by, each with the leader's lines.
#[cfg(feature = "fleet")]
fn lines_of(vary: &VaryHeaders) -> Vec<(HeaderName, Vec<HeaderValue>)> {
    let lines =
        |name| vary.lines(name).filter_map(|line| HeaderValue::from_bytes(line).ok()).collect();
    vary.names().iter().map(|name| (name.clone(), lines(name))).collect()
}

impl Delivery {
    fn new(recipients: Recipients, response: Response<SharedBody>) -> Self {
        let slot = |response| Arc::new(Mutex::new(Some(response)));
        match recipients {
            Recipients::All => Self::All(Box::new(response)),
            Recipients::Matching(vary) => Self::Matching(vary, Box::new(response)),
            Recipients::Leader(reason) => Self::Leader(reason, slot(response)),
            Recipients::HeadForAll => {
                Self::HeadForAll(Box::new(bodiless_head(&response)), slot(response))
            }
        }
    }
}

/// Copies the head, without headers that describe the body.
fn bodiless_head<B>(response: &Response<B>) -> Response<()> {
    let mut head = Response::new(());
    *head.status_mut() = response.status();
    *head.headers_mut() = response.headers().clone();
    for name in [CONTENT_TYPE, CONTENT_LENGTH, CONTENT_ENCODING, TRANSFER_ENCODING, TRAILER] {
        head.headers_mut().remove(name);
    }
    head
}

impl fmt::Debug for FlightResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlightResponse").field("refetched", &self.refetched).finish_non_exhaustive()
    }
}
