//! One response that newcomers may join late.

use crate::http::{
    body::{HeldBody, Newcomers, SharedBody},
    response::{field::LargestNumber, vary_headers::VaryHeaders},
};
use crate::{
    core::reentry::{self, Ancestors, FlightNumber},
    sync::now,
};
use http::{HeaderMap, Response, header::AGE};
use std::{
    any::Any,
    sync::{Arc, OnceLock},
};
use tokio::time::Instant;

/// The head of a response, and the access to its body for newcomers.
pub(in crate::http) struct LateStream {
    head: Response<()>,
    body: LateBody,
    vary: Option<Arc<VaryHeaders>>,
    /// When the response stops being fresh, or its flight is too old.
    until: Option<Instant>,
    /// Until when it may be joined after the end of its body.
    hold_until: Option<Instant>,
    /// Set when the body has ended, if it may be joined after that.
    held: OnceLock<Option<HeldBody>>,
    arrived: Instant,
    /// Lets the reentry check see a call for the body inside the body itself: it would wait for
    /// itself.
    pub(super) number: FlightNumber,
    /// The flights inside which the body is polled. They must not wait for it.
    pub(super) ancestors: Ancestors,
    /// Lets writes on other replicas find the response, also while it is held.
    _listing: Option<FleetListing>,
}

/// What keeps a flight listed for the writes on other replicas.
pub(in crate::http) type FleetListing = Arc<dyn Any + Send + Sync>;

/// The access to a body for newcomers.
pub(in crate::http) enum LateBody {
    Empty,
    Streams(Newcomers),
}

/// A larger number need not be understood (RFC 9111 §1.2.2).
const LONGEST_AGE: u64 = 1 << 31;

impl LateStream {
    /// Call it inside the flight that brought `head`.
    pub(in crate::http) fn new(
        head: Response<()>,
        body: LateBody,
        vary: Option<Arc<VaryHeaders>>,
        until: Option<Instant>,
        hold_until: Option<Instant>,
        listing: Option<FleetListing>,
    ) -> Self {
        let (number, ancestors) = (FlightNumber::new(), Ancestors::around());
        Self {
            head,
            body,
            vary,
            until,
            hold_until,
            held: OnceLock::new(),
            arrived: now(),
            number,
            ancestors,
            _listing: listing,
        }
    }

    /// True if a request with these headers may have the response.
    pub(super) fn accepts(&self, headers: &HeaderMap) -> bool {
        let until = if self.is_held() { self.hold_until } else { self.until };
        until.is_none_or(|end| now() < end)
            && self.vary.as_ref().is_none_or(|vary| vary.matches(headers))
    }

    /// Returns the response from its first byte, or `None` if that is no longer held.
    pub(super) fn join(&self) -> Option<Response<SharedBody>> {
        let body = match &self.body {
            LateBody::Empty => SharedBody::default(),
            LateBody::Streams(newcomers) => newcomers.join()?,
        };
        let mut response = self.head.clone().map(|()| body);
        response.headers_mut().insert(AGE, self.age().into());
        Some(response)
    }

    /// Lets no more newcomers in, and frees the start of the body.
    pub(super) fn close(&self) {
        if let LateBody::Streams(newcomers) = &self.body {
            newcomers.close();
        }
    }

    pub(super) fn may_be_held(&self) -> bool {
        self.hold_until.is_some()
    }

    /// True if its body has ended, and newcomers may join it all the same.
    pub(super) fn is_held(&self) -> bool {
        self.held.get().is_some()
    }

    /// Keeps the response although its body ends now. Returns when that is over, or `None` if it is
    /// not kept.
    pub(super) fn hold(&self) -> Option<Instant> {
        let until = self.hold_until.filter(|until| now() < *until)?;
        let body = match &self.body {
            LateBody::Empty => None,
            LateBody::Streams(newcomers) => Some(newcomers.hold()?),
        };
        self.held.set(body).ok()?;
        Some(until)
    }

    /// The age in seconds: the upstream's `Age`, and the time since the head arrived (RFC 9111
    /// §4.2.3). An unreadable `Age` is ignored (§5.1).
    fn age(&self) -> u64 {
        let mut age = LargestNumber::default();
        let is_read =
            self.head.headers().get_all(AGE).iter().try_for_each(|line| age.read(line)).is_ok();
        let age = age.largest().filter(|_| is_read).unwrap_or(0);
        age.saturating_add(now().duration_since(self.arrived).as_secs()).min(LONGEST_AGE)
    }
}

impl Drop for LateStream {
    fn drop(&mut self) {
        reentry::ended(self.number);
    }
}
