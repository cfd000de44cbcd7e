//! Decides whether a request shares a flight or passes.

use crate::http::{
    key::{FlightRef, HashedKey},
    layer::Http,
    settings::HttpSettings,
};
use crate::{layer::settings::Settings, stats::PassReason};
use http::Request;
use std::hash::Hash;

/// How a request is served.
pub(super) enum Route<K> {
    /// It joins or leads the flight of this key.
    Share(HashedKey<K>),
    /// It goes straight to the inner service.
    Pass(PassReason, FlightRef<K>),
}

impl<K: Hash + Eq + Send + Sync + 'static> Settings<Http<K>> {
    /// Calls the user's filter and key closure. Looks at no flight.
    pub(super) fn route(&self, head: &Request<()>, has_body: bool) -> Route<K> {
        let HttpSettings { policy, bodies, unshareable, .. } = self.http();
        if let Some(reason) = self.reason_to_pass(head) {
            return Route::Pass(reason, FlightRef::Untracked);
        }
        let partition = match policy.admit(head, has_body) {
            Ok(partition) => partition,
            Err(reason) => return Route::Pass(reason, FlightRef::Untracked),
        };
        if !bodies.budget.admits() {
            return Route::Pass(PassReason::BodyBudget, FlightRef::Untracked);
        }
        let key = self.hashed_key(self.mode.key(head), head, partition);
        if unshareable.contains(key.address.hash) {
            return Route::Pass(PassReason::Unshareable, FlightRef::Hash(key.address.hash));
        }
        Route::Share(key)
    }

    /// True if this request shares without a body, and passes with one.
    pub(super) fn shares_without_body(&self, head: &Request<()>) -> bool {
        let policy = &self.http().policy;
        self.reason_to_pass(head).is_none()
            && !policy.request.ignore_body
            && policy.admit(head, false).is_ok()
    }
}
