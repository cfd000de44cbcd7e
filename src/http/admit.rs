//! Which requests may share at all, and how fresh an answer they ask for.

use http::{
    HeaderMap, Method, Request,
    header::{CACHE_CONTROL, PRAGMA, UPGRADE},
};

use crate::stats::PassReason;

use super::{
    cache_control::CacheControl,
    field::Malformed,
    partition::Partition,
    policy::{Found, HttpPolicy},
};

impl HttpPolicy {
    /// The partition to share in, or why the request passes.
    pub(crate) fn admit(&self, head: &Request<()>, has_body: bool) -> Result<Partition, PassReason> {
        let found = self.request.headers.find(head.headers());
        match self.pass(head, has_body, &found) {
            Some(reason) => Err(reason),
            None => Ok(Partition::of(&self.request, head, &found)),
        }
    }

    /// The partition of a request that was admitted.
    pub(super) fn partition(&self, head: &Request<()>) -> Partition {
        Partition::of(&self.request, head, &self.request.headers.find(head.headers()))
    }

    fn pass(&self, head: &Request<()>, has_body: bool, found: &Found) -> Option<PassReason> {
        let rules = &self.request;
        if head.method() == Method::CONNECT {
            Some(PassReason::Upgrade)
        } else if !rules.methods.contains(head.method()) {
            Some(PassReason::Method)
        } else if has_body && !rules.ignore_body {
            Some(PassReason::Body)
        } else {
            self.pass_by_header(head.headers(), found)
        }
    }

    fn pass_by_header(&self, headers: &HeaderMap, found: &Found) -> Option<PassReason> {
        if found.upgrade && self.request.headers.passes(&UPGRADE) {
            Some(PassReason::Upgrade)
        } else if found.passing {
            Some(PassReason::Header)
        } else if found.cache_control && !self.request.ignore_no_store {
            pass_by_cache_control(headers)
        } else {
            None
        }
    }

    /// Whether a request with this method seals the flights of its key.
    ///
    /// Not if the user lets the method share: then it reads, whatever its name.
    pub(crate) fn is_write(&self, method: &Method) -> bool {
        self.flight.seal_on_write && !method.is_safe() && !self.request.methods.contains(method)
    }

    /// Whether the request refuses an answer older than itself: it joins only
    /// before the head is known.
    pub(crate) fn wants_fresh(&self, head: &Request<()>) -> bool {
        !self.request.ignore_no_cache && asks_for_fresh(head.headers()).unwrap_or(true)
    }
}

fn pass_by_cache_control(headers: &HeaderMap) -> Option<PassReason> {
    match CacheControl::of(headers) {
        Err(Malformed) => Some(PassReason::Malformed),
        Ok(directives) => directives.no_store.then_some(PassReason::NoStore),
    }
}

fn asks_for_fresh(headers: &HeaderMap) -> Result<bool, Malformed> {
    if headers.contains_key(CACHE_CONTROL) {
        let directives = CacheControl::of(headers)?;
        Ok(directives.no_cache || directives.max_age == Some(0))
    } else if headers.contains_key(PRAGMA) {
        Ok(CacheControl::parse(headers, &PRAGMA)?.no_cache)
    } else {
        Ok(false)
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
