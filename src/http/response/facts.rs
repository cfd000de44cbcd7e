//! Collects the headers of a response that decide who may have it.

use crate::http::{
    policy::HttpPolicy,
    response::cache_control::CacheControl,
    response::field::{LargestNumber, Malformed},
    response::vary::Vary,
};
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{AGE, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, SET_COOKIE, VARY},
};
use std::time::Duration;

/// The result of one pass over the headers of a response.
pub(in crate::http) struct ResponseFacts {
    pub(super) cache_control: Result<CacheControl, Malformed>,
    pub(super) vary: Result<Vary, Malformed>,
    age: Result<LargestNumber, Malformed>,
    pub(super) length: Result<LargestNumber, Malformed>,
    pub(super) sets_cookie: bool,
    pub(super) has_vetoed_type: bool,
}

impl ResponseFacts {
    pub(in crate::http) fn in_headers(policy: &HttpPolicy, headers: &HeaderMap) -> Self {
        let mut facts = Self {
            cache_control: Ok(CacheControl::default()),
            vary: Ok(Vary::default()),
            age: Ok(LargestNumber::default()),
            length: Ok(LargestNumber::default()),
            sets_cookie: false,
            has_vetoed_type: false,
        };
        for (name, line) in headers {
            facts.read(policy, name, line);
        }
        facts
    }

    fn read(&mut self, policy: &HttpPolicy, name: &HeaderName, line: &HeaderValue) {
        match *name {
            CACHE_CONTROL => read(&mut self.cache_control, |directives| directives.read(line)),
            VARY => read(&mut self.vary, |vary| vary.read(line)),
            AGE => read(&mut self.age, |age| age.read(line)),
            CONTENT_LENGTH => read(&mut self.length, |length| length.read(line)),
            CONTENT_TYPE => self.has_vetoed_type |= policy.vetoes_content_type(line),
            SET_COOKIE => self.sets_cookie = true,
            _ => {}
        }
    }

    /// True if the response says that a cache may store it, whatever its status.
    pub(super) fn allows_storing(&self) -> bool {
        self.cache_control.as_ref().is_ok_and(CacheControl::allows_storing)
    }

    /// For how long the response says that it is fresh. Never zero.
    pub(in crate::http) fn fresh_for(&self) -> Option<Duration> {
        let (cache_control, age) = (self.cache_control.as_ref().ok()?, self.age.as_ref().ok()?);
        cache_control.fresh_for(age.largest().unwrap_or(0))
    }
}

/// Reads one more line of a field. After a line that cannot be read, the whole field is malformed.
fn read<T>(field: &mut Result<T, Malformed>, line: impl FnOnce(&mut T) -> Result<(), Malformed>) {
    if let Err(malformed) = field.as_mut().map_err(|malformed| *malformed).and_then(line) {
        *field = Err(malformed);
    }
}
