//! Appends `Cache-Status` to a response (RFC 9211).

use crate::http::policy::HttpPolicy;
use http::{HeaderName, HeaderValue, Response};

/// How a response came to its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Forwarded {
    /// The client's request led a flight.
    Led,
    /// The client got the response to another request.
    Collapsed,
    /// The request followed a flight, and was sent after all.
    Refetched,
    /// The client got the response of another replica of the fleet.
    #[cfg(feature = "fleet")]
    Fleet,
    /// The request passed.
    Bypassed,
}

impl Forwarded {
    fn parameters(self) -> &'static str {
        match self {
            Self::Led => "fwd=miss",
            Self::Collapsed => "fwd=uri-miss; collapsed",
            Self::Refetched => "fwd=uri-miss; collapsed=?0",
            #[cfg(feature = "fleet")]
            Self::Fleet => "fwd=uri-miss; collapsed; detail=fleet",
            Self::Bypassed => "fwd=bypass",
        }
    }
}

/// Adds a member after the upstream's members, if the policy has a name for this cache (RFC 9211
/// §2).
pub(in crate::http) fn append_cache_status<B>(
    policy: &HttpPolicy,
    how: Forwarded,
    response: &mut Response<B>,
) {
    let Some(name) = &policy.flight.cache_status else { return };
    let member = HeaderValue::try_from(format!("{name}; {}", how.parameters()));
    let member = member.expect("the name was checked when it was set");
    response.headers_mut().append(HeaderName::from_static("cache-status"), member);
}
