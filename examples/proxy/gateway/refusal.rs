//! What the proxy answers by itself.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::Full;

#[derive(Clone, Copy, Debug)]
pub(super) struct Refusal(StatusCode, &'static str);

impl Refusal {
    pub(super) const BAD_GATEWAY: Self = Self(StatusCode::BAD_GATEWAY, "no answer from upstream\n");
    pub(super) const METHOD: Self =
        Self(StatusCode::NOT_IMPLEMENTED, "this method is not served here\n");
    pub(super) const HOST: Self =
        Self(StatusCode::BAD_REQUEST, "exactly one valid Host is needed\n");
    pub(super) const TARGET: Self =
        Self(StatusCode::BAD_REQUEST, "not a target that can be served here\n");
    pub(super) const CODING: Self =
        Self(StatusCode::NOT_IMPLEMENTED, "of transfer codings, chunked alone is served\n");
    /// The answer to an `OPTIONS` that was to come so far and no further.
    pub(super) const LAST_HOP: Self = Self(StatusCode::NO_CONTENT, "");

    pub(super) fn into_response(self) -> Response<Full<Bytes>> {
        let Self(status, text) = self;
        let mut response = Response::new(Full::from(text));
        *response.status_mut() = status;
        if !text.is_empty() {
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        }
        response
    }
}
