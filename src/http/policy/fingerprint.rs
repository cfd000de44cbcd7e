//! The fingerprint of a policy: replicas of a fleet with different rules do not share.
//!
//! Every struct is taken apart field by field, so that a new rule does not compile until it is
//! written here.

use super::{
    FlightRules, HttpPolicy, LateJoin, RequestRules, ResponseRules,
    cookies::Cookies,
    headers::{HeaderRules, Meaning},
    status::{StatusRange, StatusRule},
};
use crate::{
    fleet::key::{FleetKey, KeyWriter},
    http::body::SlowReader,
};
use sha2::{Digest, Sha256};
use std::time::Duration;

impl HttpPolicy {
    /// Returns a hash of all rules, equal in all processes. Of a `share_if` closure it has only
    /// that there is one.
    ///
    /// Policies with equal rules can have different fingerprints, if their switches were set in
    /// another order.
    pub(in crate::http) fn fingerprint(&self) -> [u8; 32] {
        let Self { request, response, flight } = self;
        let mut rules = KeyWriter::new();
        (request, response, flight).write(&mut rules);
        Sha256::digest(rules.into_bytes()).into()
    }
}

impl FleetKey for RequestRules {
    fn write(&self, to: &mut KeyWriter) {
        let Self {
            methods,
            has_default_methods,
            body_headers,
            ignore_body,
            headers,
            ignore_authority,
            ignore_path,
            ignore_query,
            ignore_no_store,
            ignore_no_cache,
        } = self;
        sorted(methods).write(to);
        has_default_methods.write(to);
        sorted(body_headers).write(to);
        ignore_body.write(to);
        headers.write(to);
        ignore_authority.write(to);
        ignore_path.write(to);
        ignore_query.write(to);
        ignore_no_store.write(to);
        ignore_no_cache.write(to);
    }
}

impl FleetKey for HeaderRules {
    fn write(&self, to: &mut KeyWriter) {
        // `places` is for headers that are still to come.
        let Self { meanings, places: _, cookies } = self;
        let mut meanings: Vec<_> =
            meanings.iter().flatten().map(|(name, meaning)| (name.as_str(), *meaning)).collect();
        meanings.sort_by_key(|(name, _)| *name);
        meanings.write(to);
        cookies.write(to);
    }
}

/// The places count: in the bytes of a partition, the place of a header stands for its name.
impl FleetKey for Meaning {
    fn write(&self, to: &mut KeyWriter) {
        match self {
            Self::Passes => None,
            Self::Parts(place) => Some(*place),
        }
        .write(to);
    }
}

impl FleetKey for Cookies {
    fn write(&self, to: &mut KeyWriter) {
        let Self { header, listed } = self;
        header.write(to);
        listed.write(to);
    }
}

impl FleetKey for ResponseRules {
    fn write(&self, to: &mut KeyWriter) {
        let Self {
            statuses,
            share_if,
            refusals,
            share_set_cookie,
            share_private,
            share_no_store,
            share_no_cache,
            ignore_vary,
            veto_content_types,
            share_large_bodies,
            own_headers,
        } = self;
        statuses.write(to);
        share_if.len().write(to);
        refusals.write(to);
        share_set_cookie.write(to);
        share_private.write(to);
        share_no_store.write(to);
        share_no_cache.write(to);
        ignore_vary.write(to);
        sorted(veto_content_types).write(to);
        share_large_bodies.write(to);
        sorted(own_headers).write(to);
    }
}

impl FleetKey for StatusRange {
    fn write(&self, to: &mut KeyWriter) {
        let Self { first, end } = self;
        (first, end).write(to);
    }
}

impl FleetKey for StatusRule {
    fn write(&self, to: &mut KeyWriter) {
        match self {
            Self::Share => 0_u8,
            Self::ShareIfStorable => 1,
            Self::Veto => 2,
            Self::Refuse => 3,
        }
        .write(to);
    }
}

impl FleetKey for FlightRules {
    fn write(&self, to: &mut KeyWriter) {
        let Self {
            late_joins,
            seal_on_write,
            unshareable_keys,
            unshareable_time,
            body_limit,
            body_budget,
            keep_start,
            slow_reader,
            hold_back_at_most,
            #[cfg(feature = "spill")]
            spill,
            // Where a replica has its disk changes no response.
            #[cfg(feature = "spill")]
                spill_to: _,
            cache_status,
        } = self;
        #[cfg(not(feature = "spill"))]
        let spill = None::<u64>;
        late_joins.write(to);
        seal_on_write.write(to);
        unshareable_keys.write(to);
        parts(unshareable_time).write(to);
        body_limit.write(to);
        body_budget.write(to);
        keep_start.write(to);
        slow_reader.write(to);
        parts(hold_back_at_most).write(to);
        spill.write(to);
        cache_status.write(to);
    }
}

impl FleetKey for LateJoin {
    fn write(&self, to: &mut KeyWriter) {
        match self {
            Self::WhenFresh => 0_u8,
            Self::Always => 1,
            Self::Never => 2,
        }
        .write(to);
    }
}

impl FleetKey for SlowReader {
    fn write(&self, to: &mut KeyWriter) {
        match self {
            Self::PauseThenEvict(pause) => (0_u8, Some(parts(pause))),
            Self::Evict => (1, None),
            Self::BackPressure => (2, None),
            Self::Unbounded => (3, None),
        }
        .write(to);
    }
}

fn parts(time: &Duration) -> (u64, u32) {
    (time.as_secs(), time.subsec_nanos())
}

/// Sorts the texts of a set, and leaves out repetitions.
fn sorted<T: AsRef<str>>(set: &[T]) -> Vec<&str> {
    let mut set: Vec<_> = set.iter().map(AsRef::as_ref).collect();
    set.sort_unstable();
    set.dedup();
    set
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{
        HeaderName, Method, StatusCode,
        header::{ACCEPT, CONTENT_TYPE, COOKIE, RANGE, VIA},
    };
    use std::collections::HashSet;

    fn base() -> HttpPolicy {
        HttpPolicy::new()
    }

    /// The default, and the default with one switch each.
    fn policies() -> Vec<HttpPolicy> {
        let second = Duration::from_secs(1);
        let switches = [
            base(),
            base().trust_key(),
            base().for_bodies(),
            base().methods([Method::GET, Method::HEAD]),
            base().methods([Method::GET]),
            base().ignore_request_body(true),
            base().partition_header(VIA),
            base().partition_header(HeaderName::from_static("x-api-key")),
            base().without_partition_header(ACCEPT),
            base().without_partition_header(COOKIE),
            base().without_partition_header(CONTENT_TYPE),
            base().partition_cookies([""; 0]),
            base().partition_cookies(["a"]),
            base().partition_cookies(["b"]),
            base().partition_cookies(["a", "b"]),
            base().ignore_authority(true),
            base().ignore_path(true),
            base().ignore_query(true),
            base().pass_request_header(VIA),
            base().pass_request_header(ACCEPT),
            base().allow_request_header(RANGE),
            base().ignore_request_no_store(true),
            base().ignore_request_no_cache(true),
            base().veto_status(StatusCode::OK),
            base().veto_status(200..202),
            base().share_status(StatusCode::OK),
            base().share_status(StatusCode::OK).veto_status(StatusCode::OK),
            base().veto_status(StatusCode::OK).share_status(StatusCode::OK),
            base().share_if(|_| true),
            base().share_if(|_| true).share_if(|_| true),
            base().refusals(3),
            base().share_set_cookie(true),
            base().share_private(true),
            base().share_no_store(true),
            base().share_no_cache(true),
            base().ignore_vary(true),
            base().veto_content_type("text/html"),
            base().share_content_type("text/event-stream"),
            base().share_large_bodies(true),
            base().own_response_header(VIA),
            base().late_joins(LateJoin::Always),
            base().late_joins(LateJoin::Never),
            base().seal_on_write(false),
            base().unshareable_memory(1, Duration::from_secs(30)),
            base().unshareable_memory(4096, Duration::from_millis(30)),
            base().body_limit(1),
            base().body_budget(1),
            base().keep_start(1),
            base().slow_reader(SlowReader::PauseThenEvict(2 * second)),
            base().slow_reader(SlowReader::Evict),
            base().slow_reader(SlowReader::BackPressure),
            base().slow_reader(SlowReader::Unbounded),
            base().hold_back_at_most(second),
            base().cache_status("a"),
            base().cache_status("b"),
        ];
        let more = [
            #[cfg(feature = "spill")]
            base().spill(1),
        ];
        switches.into_iter().chain(more).collect()
    }

    #[test]
    fn every_single_switch_changes_the_fingerprint() {
        let mut seen = HashSet::new();
        for policy in policies() {
            assert!(seen.insert(policy.fingerprint()), "two have the rules of {policy:?}");
        }
    }

    #[test]
    fn the_fingerprint_of_the_same_rules_is_the_same() {
        let prints = || policies().iter().map(HttpPolicy::fingerprint).collect::<Vec<_>>();
        assert_eq!(prints(), prints());
    }

    #[test]
    fn the_order_of_a_set_does_not_change_the_fingerprint() {
        let methods = |methods: [Method; 3]| base().methods(methods).fingerprint();
        assert_eq!(
            methods([Method::GET, Method::PUT, Method::GET]),
            methods([Method::PUT, Method::GET, Method::PUT])
        );
        let names = |names: [HeaderName; 2]| {
            names
                .into_iter()
                .fold(base(), |policy, name| policy.pass_request_header(name))
                .fingerprint()
        };
        assert_eq!(names([VIA, ACCEPT]), names([ACCEPT, VIA]));
        // Both have the same length.
        let (one, two) = (HeaderName::from_static("x-1"), HeaderName::from_static("x-2"));
        assert_eq!(names([one.clone(), two.clone()]), names([two, one]));
    }
}
