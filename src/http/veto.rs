//! Which responses followers get, judged by the head alone.

use std::time::Duration;

use http::{
    HeaderName, Method, StatusCode,
    header::{AGE, CONTENT_LENGTH, CONTENT_TYPE, HOST, SET_COOKIE},
    response::Parts,
};
use http_body::SizeHint;

use crate::stats::VetoReason;

use super::{
    cache_control::CacheControl,
    field::{Malformed, largest_number, members},
    policy::HttpPolicy,
    vary::Vary,
};

/// What a response says about who may have it, and for how long.
pub(super) struct Said {
    cache_control: Result<CacheControl, Malformed>,
    vary: Result<Vary, Malformed>,
    age: Result<Option<u64>, Malformed>,
}

impl Said {
    pub(super) fn in_head(response: &Parts) -> Self {
        let cache_control = CacheControl::of(&response.headers);
        let has_lifetime = cache_control.as_ref().is_ok_and(CacheControl::has_lifetime);
        let age = if has_lifetime { largest_number(&response.headers, &AGE) } else { Ok(None) };
        Self { cache_control, vary: Vary::of(&response.headers), age }
    }

    /// For how long the response says that it is fresh: longer than no time, or `None`.
    pub(super) fn fresh_for(&self) -> Option<Duration> {
        let (cache_control, age) = (self.cache_control.as_ref().ok()?, self.age.ok()?);
        cache_control.fresh_for(age.unwrap_or(0))
    }
}

impl HttpPolicy {
    /// Why followers must not get this response; `None` if they may.
    pub(super) fn veto(&self, said: &Said, response: &Parts, body: &SizeHint, method: &Method) -> Option<VetoReason> {
        if self.status_vetoes(response) {
            Some(VetoReason::Status)
        } else if self.cookie_vetoes(response) {
            Some(VetoReason::SetCookie)
        } else if self.cache_control_vetoes(said) {
            Some(VetoReason::CacheControl)
        } else if self.vary_vetoes(said) {
            Some(VetoReason::Vary)
        } else if self.content_type_vetoes(response) {
            Some(VetoReason::ContentType)
        } else if self.size_vetoes(response, body, method) {
            Some(VetoReason::BodyTooLarge)
        } else {
            None
        }
    }

    fn status_vetoes(&self, response: &Parts) -> bool {
        // An interim response is never the answer; 101 is a connection.
        response.status.is_informational() || self.response.veto_statuses.contains(&response.status)
    }

    fn cookie_vetoes(&self, response: &Parts) -> bool {
        !self.response.share_set_cookie && response.headers.contains_key(SET_COOKIE)
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

    fn content_type_vetoes(&self, response: &Parts) -> bool {
        let vetoed = &self.response.veto_content_types;
        members(&response.headers, &CONTENT_TYPE).filter_map(|member| member.split(|&b| b == b';').next()).any(
            |essence| {
                let essence = essence.trim_ascii();
                vetoed.iter().any(|t| essence.eq_ignore_ascii_case(t.as_bytes()))
            },
        )
    }

    fn size_vetoes(&self, response: &Parts, body: &SizeHint, method: &Method) -> bool {
        if self.response.share_large_bodies {
            return false;
        }
        let announced = if announces_no_body(response, method) {
            0
        } else {
            let length = largest_number(&response.headers, &CONTENT_LENGTH);
            length.map_or(u64::MAX, |length| length.unwrap_or(0))
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
            Ok(Vary::Headers(names)) => names.iter().filter(|name| self.may_vary_by(name)).cloned().collect(),
            _ => Vec::new(),
        }
    }
}

/// `Content-Length` in these tells of the body of another response
/// (RFC 9110 §8.6).
fn announces_no_body(response: &Parts, method: &Method) -> bool {
    *method == Method::HEAD || response.status == StatusCode::NOT_MODIFIED
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
