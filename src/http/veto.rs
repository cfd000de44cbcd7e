//! Which responses followers get, judged by the head alone.

use super::{
    cache_control::CacheControl,
    field::{Malformed, Number, members_of},
    policy::HttpPolicy,
    vary::Vary,
};
use crate::stats::VetoReason;
use http::{
    HeaderName, HeaderValue, StatusCode,
    header::{AGE, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HOST, SET_COOKIE, VARY},
    response::Parts,
};
use http_body::SizeHint;
use std::time::Duration;

/// What a response says about who may have it, and for how long: what one walk over its headers found.
pub(super) struct Said {
    cache_control: Result<CacheControl, Malformed>,
    vary: Result<Vary, Malformed>,
    age: Result<Number, Malformed>,
    length: Result<Number, Malformed>,
    sets_cookie: bool,
    has_vetoed_type: bool,
}

impl Said {
    pub(super) fn in_head(policy: &HttpPolicy, response: &Parts) -> Self {
        let mut said = Self {
            cache_control: Ok(CacheControl::default()),
            vary: Ok(Vary::default()),
            age: Ok(Number::default()),
            length: Ok(Number::default()),
            sets_cookie: false,
            has_vetoed_type: false,
        };
        for (name, line) in &response.headers {
            said.read(policy, name, line);
        }
        said
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

    /// For how long the response says that it is fresh: longer than no time, or `None`.
    pub(super) fn fresh_for(&self) -> Option<Duration> {
        let (cache_control, age) = (self.cache_control.as_ref().ok()?, self.age.as_ref().ok()?);
        cache_control.fresh_for(age.largest().unwrap_or(0))
    }
}

/// One more line of a field. One that cannot be read spoils all.
fn read<T>(field: &mut Result<T, Malformed>, line: impl FnOnce(&mut T) -> Result<(), Malformed>) {
    if let Err(malformed) = field.as_mut().map_err(|malformed| *malformed).and_then(line) {
        *field = Err(malformed);
    }
}

impl HttpPolicy {
    /// Why followers must not get this response; `None` if they may. `is_head`: the request was a `HEAD`.
    pub(super) fn veto(&self, said: &Said, status: StatusCode, body: &SizeHint, is_head: bool) -> Option<VetoReason> {
        if self.status_vetoes(status) {
            Some(VetoReason::Status)
        } else if said.sets_cookie && !self.response.share_set_cookie {
            Some(VetoReason::SetCookie)
        } else if self.cache_control_vetoes(said) {
            Some(VetoReason::CacheControl)
        } else if self.vary_vetoes(said) {
            Some(VetoReason::Vary)
        } else if said.has_vetoed_type {
            Some(VetoReason::ContentType)
        } else if self.size_vetoes(said, status, body, is_head) {
            Some(VetoReason::BodyTooLarge)
        } else {
            None
        }
    }

    fn status_vetoes(&self, status: StatusCode) -> bool {
        // An interim response is never the answer; 101 is a connection.
        status.is_informational() || self.response.veto_statuses.contains(&status)
    }

    fn cache_control_vetoes(&self, said: &Said) -> bool {
        let rules = &self.response;
        if rules.share_private && rules.share_no_store && rules.share_no_cache {
            return false;
        }
        said.cache_control.as_ref().map_or(true, |said| {
            (said.private && !rules.share_private)
                || (said.no_store && !rules.share_no_store)
                || (said.no_cache && !rules.share_no_cache)
        })
    }

    fn vary_vetoes(&self, said: &Said) -> bool {
        if self.response.ignore_vary {
            return false;
        }
        match &said.vary {
            // Over HTTP/2 the host is no header, so that it cannot be compared as one.
            Ok(Vary::Headers(names)) => self.request.ignore_authority && names.contains(&HOST),
            Ok(Vary::Anything) | Err(Malformed) => true,
        }
    }

    fn vetoes_content_type(&self, line: &HeaderValue) -> bool {
        let vetoed = &self.response.veto_content_types;
        members_of(line).any(|member| vetoed.iter().any(|essence| has_essence(member, essence.as_bytes())))
    }

    fn size_vetoes(&self, said: &Said, status: StatusCode, body: &SizeHint, is_head: bool) -> bool {
        if self.response.share_large_bodies {
            return false;
        }
        // `Content-Length` in these tells of the body of another response (RFC 9110 §8.6).
        let announced = if is_head || status == StatusCode::NOT_MODIFIED {
            0
        } else {
            said.length.as_ref().map_or(u64::MAX, |length| length.largest().unwrap_or(0))
        };
        body.lower().max(announced) > self.flight.body_limit
    }

    /// Whether followers may have to agree in this header, because a response varies by it.
    pub(super) fn may_vary_by(&self, name: &HeaderName) -> bool {
        !self.response.ignore_vary && !self.request.partitions_by(name)
    }

    /// The headers that the response's `Vary` names and the partition lacks:
    /// only requests that agree in them may share it. Sorted, each once.
    ///
    /// A `Vary` that cannot be followed is a [veto](Self::veto), and empty here.
    pub(super) fn foreign_vary(&self, said: &Said) -> Vec<HeaderName> {
        match &said.vary {
            Ok(Vary::Headers(names)) if !names.is_empty() => {
                names.iter().filter(|name| self.may_vary_by(name)).cloned().collect()
            }
            _ => Vec::new(),
        }
    }
}

/// Whether this media type is `essence`, whatever its parameters.
fn has_essence(media_type: &[u8], essence: &[u8]) -> bool {
    media_type.split_at_checked(essence.len()).is_some_and(|(start, rest)| {
        start.eq_ignore_ascii_case(essence) && matches!(rest.trim_ascii_start(), [] | [b';', ..])
    })
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
