//! Decides who may join late, and until when.

use crate::http::{
    body::SharedBody,
    key::HashedKey,
    late::LateTable,
    policy::{HttpPolicy, LateJoin},
    response::{cache_status::Forwarded, facts::ResponseFacts, mark::mark_response},
    settings::HttpMode,
};
use crate::{core::group::Role, layer::settings::Settings, sync::now};
use http::{Request, Response};
use std::time::Duration;
use tokio::time::Instant;

impl<M: HttpMode> Settings<M> {
    /// Returns the response of a flight whose body still streams, if this request may have it.
    pub(in crate::http) fn join_late(
        &self,
        late: &LateTable<M::Key>,
        key: &HashedKey<M::Key>,
        head: &Request<()>,
    ) -> Option<Response<SharedBody>> {
        let policy = &self.http().policy;
        if late.is_empty() || !self.allows_late_joins() || policy.wants_fresh(head) {
            return None;
        }
        let mut response = late.join(key, head.headers())?;
        mark_response(
            Some(policy),
            Role::Follower,
            Forwarded::Collapsed,
            Some(head.headers()),
            &mut response,
        );
        Some(response)
    }

    /// True if newcomers may join a flight after its head. They are not counted as waiters, so
    /// `max_waiters` rules them out.
    pub(in crate::http) fn allows_late_joins(&self) -> bool {
        self.http().policy.flight.late_joins != LateJoin::Never
            && self.rules.max_waiters == usize::MAX
    }

    /// Returns until when newcomers may join the flight of this response. `Some(None)`: for as long
    /// as its body streams. `None`: not at all.
    pub(in crate::http) fn late_join_until(
        &self,
        facts: &ResponseFacts,
        opened: Instant,
    ) -> Option<Option<Instant>> {
        let fresh = self.http().policy.fresh_until(facts)?;
        let young = self.rules.join_within.and_then(|age| opened.checked_add(age));
        Some(fresh.into_iter().chain(young).min())
    }
}

/// Thirty years. Replaces an end beyond the clock's range.
const FOR_EVER: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

impl<M: HttpMode> Settings<M> {
    /// Returns for how long a response with this head may be joined after it landed. The answer of
    /// an upstream that fails is not held.
    pub(in crate::http) fn holds_for(&self, head: &Response<()>) -> Option<Duration> {
        self.hold_for.filter(|_| !head.status().is_server_error())
    }

    /// Returns until when a response that lands now may be joined after the end of its body.
    /// `until`: when the late joins end.
    pub(in crate::http) fn hold_until(
        &self,
        head: &Response<()>,
        until: Option<Instant>,
    ) -> Option<Instant> {
        let (time, now) = (self.holds_for(head)?, now());
        let end = now.checked_add(time).unwrap_or_else(|| now + FOR_EVER);
        until.into_iter().chain([end]).min()
    }
}

impl HttpPolicy {
    /// Returns until when the response counts as fresh. `Some(None)`: for ever. `None`: it does
    /// not.
    fn fresh_until(&self, facts: &ResponseFacts) -> Option<Option<Instant>> {
        match self.flight.late_joins {
            LateJoin::Never => None,
            LateJoin::Always => Some(None),
            // A time beyond the clock's range never comes.
            LateJoin::WhenFresh => Some(now().checked_add(facts.fresh_for()?)),
        }
    }
}
