//! What clients are told: RFC 9211.

use crate::http::policy::HttpPolicy;
use http::{HeaderName, HeaderValue, Response};

/// How a response came to its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Forwarded {
    /// It led.
    Led,
    /// It got what another request had led for.
    Collapsed,
    /// It would have shared, but could not.
    Refetched,
    /// It touched no flight.
    Bypassed,
}

impl Forwarded {
    fn parameters(self) -> &'static str {
        match self {
            Self::Led => "fwd=miss",
            Self::Collapsed => "fwd=uri-miss; collapsed",
            Self::Refetched => "fwd=uri-miss; collapsed=?0",
            Self::Bypassed => "fwd=bypass",
        }
    }
}

impl HttpPolicy {
    pub(in crate::http) fn has_cache_status(&self) -> bool {
        self.flight.cache_status.is_some()
    }
}

/// Adds a member after those that came from upstream, if the user wants it (RFC 9211 §2).
pub(in crate::http) fn append_cache_status<B>(policy: &HttpPolicy, how: Forwarded, response: &mut Response<B>) {
    let Some(name) = &policy.flight.cache_status else { return };
    let member = HeaderValue::try_from(format!("{name}; {}", how.parameters()));
    let member = member.expect("the name was checked when it was set");
    response.headers_mut().append(HeaderName::from_static("cache-status"), member);
}
