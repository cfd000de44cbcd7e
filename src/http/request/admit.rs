//! Decides which requests may share, which are writes, and which want a fresh answer.

use crate::http::{
    policy::{HttpPolicy, Sorted},
    request::partition::Partition,
    response::cache_control::CacheControl,
    response::field::Malformed,
};
use crate::stats::PassReason;
use http::{
    HeaderMap, Method, Request,
    header::{CACHE_CONTROL, PRAGMA, UPGRADE},
};

impl HttpPolicy {
    /// Returns the partition in which the request shares, or why it passes.
    pub(crate) fn admit(
        &self,
        head: &Request<()>,
        has_body: bool,
    ) -> Result<Partition, PassReason> {
        if let Some(reason) = self.pass_by_method(head.method(), has_body) {
            return Err(reason);
        }
        let mut sorted = Sorted::default();
        self.sort(head, &mut sorted);
        match self.pass_by_header(head.headers(), &sorted) {
            Some(reason) => Err(reason),
            None => Ok(Partition::of(self, head, &sorted)),
        }
    }

    /// Returns the partition of a request that was admitted before.
    pub(in crate::http) fn partition(&self, head: &Request<()>) -> Partition {
        let mut sorted = Sorted::default();
        self.sort(head, &mut sorted);
        Partition::of(self, head, &sorted)
    }

    fn sort<'a>(&self, head: &'a Request<()>, sorted: &mut Sorted<'a>) {
        let wants_others = !self.response.ignore_vary;
        self.request.headers.sort(head.headers(), wants_others, sorted);
    }

    fn pass_by_method(&self, method: &Method, has_body: bool) -> Option<PassReason> {
        let rules = &self.request;
        if *method == Method::CONNECT {
            Some(PassReason::Upgrade)
        } else if !rules.methods.contains(method) {
            Some(PassReason::Method)
        } else if has_body && !rules.ignore_body {
            Some(PassReason::Body)
        } else {
            None
        }
    }

    fn pass_by_header(&self, headers: &HeaderMap, sorted: &Sorted<'_>) -> Option<PassReason> {
        if sorted.upgrade && self.request.headers.passes(&UPGRADE) {
            Some(PassReason::Upgrade)
        } else if sorted.passing {
            Some(PassReason::Header)
        } else if sorted.cache_control && !self.request.ignore_no_store {
            pass_by_cache_control(headers)
        } else {
            None
        }
    }

    /// True if a request with this method seals the flights of its key.
    ///
    /// A method that the user lets share is a read, whatever its name.
    pub(crate) fn is_write(&self, method: &Method) -> bool {
        self.is_write_without_key(method) && !self.request.methods.contains(method)
    }

    /// The same for a request that has no key. So the user did not say that it is a read.
    pub(crate) fn is_write_without_key(&self, method: &Method) -> bool {
        self.flight.seal_on_write && !is_safe(method)
    }

    /// True if the request refuses an answer that is older than itself. It joins a flight only
    /// before the head is known.
    pub(crate) fn wants_fresh(&self, head: &Request<()>) -> bool {
        !self.request.ignore_no_cache && asks_for_fresh(head.headers()).unwrap_or(true)
    }
}

/// True if IANA registers this method as safe (RFC 9110 §16.1.1).
fn is_safe(method: &Method) -> bool {
    method.is_safe()
        || matches!(method.as_str(), "PROPFIND" | "REPORT" | "SEARCH" | "QUERY" | "PRI")
}

fn pass_by_cache_control(headers: &HeaderMap) -> Option<PassReason> {
    match CacheControl::of(headers, &CACHE_CONTROL) {
        Err(Malformed) => Some(PassReason::Malformed),
        Ok(directives) => directives.no_store.then_some(PassReason::NoStore),
    }
}

fn asks_for_fresh(headers: &HeaderMap) -> Result<bool, Malformed> {
    if headers.contains_key(CACHE_CONTROL) {
        let directives = CacheControl::of(headers, &CACHE_CONTROL)?;
        Ok(directives.no_cache || directives.max_age == Some(0))
    } else if headers.contains_key(PRAGMA) {
        Ok(CacheControl::of(headers, &PRAGMA)?.no_cache)
    } else {
        Ok(false)
    }
}

#[cfg(test)]
mod cookies;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
