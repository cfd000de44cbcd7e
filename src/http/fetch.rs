//! Decides who may have the response to a request.

use crate::http::{
    body::SharedBody,
    flights::Flights,
    guarded_body::GuardedBody,
    key::{FlightRef, HashedKey},
    late::{FleetListing, LateBody, LateStream, ListedBody, UnlistOnDrop},
    response::{
        class::ResponseClass, facts::ResponseFacts, flight_response::FlightResponse,
        recipients::Recipients, vary_headers::VaryHeaders,
    },
    settings::HttpMode,
};
use crate::{error::BoxError, layer::settings::Settings, observe::near_miss::Streams};
use http::{HeaderName, Response};
use http_body::Body;
use std::sync::Arc;
use tokio::time::Instant;

/// The facts about a request that are needed when its response arrives.
pub(super) struct FetchContext<M: HttpMode> {
    pub(super) settings: Arc<Settings<M>>,
    pub(super) flight: FlightRef<M::Key>,
    /// When the flight opened, if newcomers may join after its head.
    pub(super) opened: Option<Instant>,
    /// The headers that the partition compares beyond the policy's.
    pub(super) vary: Vec<HeaderName>,
    pub(super) has_followed: bool,
    pub(super) is_head: bool,
    /// The request passes: its response is for one caller.
    pub(super) passes: bool,
    /// What keeps the flight listed for the writes on other replicas, if there is a fleet.
    pub(super) listing: Option<FleetListing>,
}

impl<M: HttpMode> FetchContext<M> {
    /// `X` is the error that callers get.
    pub(super) fn judge<X, B>(&self, response: Response<B>) -> FlightResponse
    where
        X: Send + Sync + 'static,
        B: Body + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let policy = &self.settings.http().policy;
        let (parts, body) = response.into_parts();
        let head = Response::from_parts(parts, ());
        let facts = ResponseFacts::in_headers(policy, head.headers());
        let class = policy.classify(&facts, &head, &body.size_hint(), self.is_head);
        self.record(class);
        let key = self.flight.key();
        let recipients =
            Recipients::of(policy, &facts, class, &self.vary, key.map(|key| key.key.partition()));
        let body = self.share_body::<X, _>(&head, body, &facts, class, &recipients);
        FlightResponse::new(
            policy,
            recipients,
            class.is_refusal(),
            self.has_followed,
            head.map(|()| body),
        )
    }

    /// Records whether later calls for this key should wait for a leader.
    fn record(&self, class: ResponseClass) {
        // A refusal of one client says nothing about later clients.
        if let Some(hash) = self.flight.hash().filter(|_| !class.is_refusal()) {
            self.settings.http().unshareable.record(hash, class == ResponseClass::Shared);
        }
    }

    /// Makes the body shareable. Newcomers may join it, if the response allows that.
    fn share_body<X, B>(
        &self,
        head: &Response<()>,
        body: B,
        facts: &ResponseFacts,
        class: ResponseClass,
        recipients: &Recipients,
    ) -> SharedBody
    where
        X: Send + Sync + 'static,
        B: Body + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let hash = self.flight.key().map(|key| self.settings.observer().own_hash(key.address.hash));
        // A call that leads meanwhile can tell why it did not join.
        let note = hash.filter(|_| !body.is_end_stream()).map(Streams::note);
        let body = GuardedBody::new(body, (note, self.listing.clone()));
        let finishes =
            class == ResponseClass::Shared && self.settings.rules.run_to_completion && !self.passes;
        let may_be_joined = !body.is_end_stream() || self.settings.holds_for(head).is_some();
        let is_joinable = class == ResponseClass::Shared && may_be_joined;
        match self.late_join(facts, is_joinable) {
            Some((key, until)) => self.list_body::<X, _>(key, head, body, recipients.vary(), until),
            None => self.new_body(body, finishes),
        }
    }

    fn new_body<B>(&self, body: B, finishes: bool) -> SharedBody
    where
        B: Body + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let body = SharedBody::new(body, self.settings.http().bodies.clone());
        if finishes { body.run_to_completion() } else { body }
    }

    /// Returns the flight that newcomers may join, and until when. `None`: they may not.
    ///
    /// A flight whose partition has the headers of a `Vary` takes no newcomer after its head: a
    /// newcomer looks for the partition of the policy alone.
    fn late_join(
        &self,
        facts: &ResponseFacts,
        is_joinable: bool,
    ) -> Option<(&HashedKey<M::Key>, Option<Instant>)> {
        let key = self.flight.key()?;
        let opened = self
            .opened
            .filter(|_| is_joinable && self.vary.is_empty() && self.settings.allows_late_joins())?;
        Some((key, self.settings.late_join_until(facts, opened)?))
    }

    /// Makes the body shareable, and lists it for newcomers while it streams, or is held after
    /// that.
    fn list_body<X, B>(
        &self,
        key: &HashedKey<M::Key>,
        head: &Response<()>,
        body: B,
        vary: Option<Arc<VaryHeaders>>,
        until: Option<Instant>,
    ) -> SharedBody
    where
        X: Send + Sync + 'static,
        B: Body + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let hold_until = self.settings.hold_until(head, until);
        let list = |late_body, unlist: &UnlistOnDrop<M::Key>| {
            let flights = self.settings.table(Flights::<M::Key, X>::new);
            let listing = self.listing.clone();
            let stream = LateStream::new(head.clone(), late_body, vary, until, hold_until, listing);
            flights.late.list(key, stream, unlist, || flights.table.lists_this_flight(key.address));
        };
        if body.is_end_stream() {
            list(LateBody::Empty, &UnlistOnDrop::new());
            return SharedBody::default();
        }
        let (body, unlist) = ListedBody::new(body);
        let body = self.new_body(body, self.settings.rules.run_to_completion);
        if let Some(newcomers) = body.newcomers(until) {
            if hold_until.is_some() {
                newcomers.outlive_readers();
            }
            list(LateBody::Streams(newcomers), &unlist);
        }
        body
    }
}
