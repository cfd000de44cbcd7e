//! Which responses followers get, judged by the head alone.

use std::time::Duration;

use http::{
    HeaderName, Method, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, SET_COOKIE},
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

impl HttpPolicy {
    /// Why followers must not get this response; `None` if they may.
    pub(crate) fn veto(&self, response: &Parts, body: &SizeHint, method: &Method) -> Option<VetoReason> {
        if self.status_vetoes(response) {
            Some(VetoReason::Status)
        } else if self.cookie_vetoes(response) {
            Some(VetoReason::SetCookie)
        } else if self.cache_control_vetoes(response) {
            Some(VetoReason::CacheControl)
        } else if self.vary_vetoes(response) {
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

    fn cache_control_vetoes(&self, response: &Parts) -> bool {
        let rules = &self.response;
        if rules.share_private && rules.share_no_store && rules.share_no_cache {
            return false;
        }
        CacheControl::of(&response.headers).map_or(true, |said| {
            (said.private && !rules.share_private)
                || (said.no_store && !rules.share_no_store)
                || (said.no_cache && !rules.share_no_cache)
        })
    }

    fn vary_vetoes(&self, response: &Parts) -> bool {
        if self.response.ignore_vary {
            return false;
        }
        match Vary::of(&response.headers) {
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
    pub(crate) fn foreign_vary(&self, response: &Parts) -> Vec<HeaderName> {
        if self.response.ignore_vary {
            return Vec::new();
        }
        match Vary::of(&response.headers) {
            Ok(Vary::Headers(mut names)) => {
                names.retain(|name| !self.request.partitions_by(name));
                names
            }
            _ => Vec::new(),
        }
    }

    /// For how long the response says that it is fresh: longer than no time, or `None`.
    pub(crate) fn fresh_for(&self, response: &Parts) -> Option<Duration> {
        CacheControl::of(&response.headers).ok()?.fresh_for(&response.headers)
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
