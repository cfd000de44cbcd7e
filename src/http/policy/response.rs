//! The switches about responses.

use http::StatusCode;

use super::HttpPolicy;

/// Which responses followers get.
#[derive(Clone, Debug)]
pub(crate) struct ResponseRules {
    pub(crate) veto_statuses: Vec<StatusCode>,
    pub(crate) share_set_cookie: bool,
    pub(crate) share_private: bool,
    pub(crate) share_no_store: bool,
    pub(crate) share_no_cache: bool,
    pub(crate) ignore_vary: bool,
    pub(crate) veto_content_types: Vec<String>,
    pub(crate) share_large_bodies: bool,
}

impl Default for ResponseRules {
    fn default() -> Self {
        Self {
            veto_statuses: vec![
                StatusCode::PARTIAL_CONTENT,
                StatusCode::UNAUTHORIZED,
                StatusCode::FORBIDDEN,
                StatusCode::PROXY_AUTHENTICATION_REQUIRED,
                StatusCode::PRECONDITION_REQUIRED,
                StatusCode::TOO_MANY_REQUESTS,
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                StatusCode::NETWORK_AUTHENTICATION_REQUIRED,
            ],
            share_set_cookie: false,
            share_private: false,
            share_no_store: false,
            share_no_cache: false,
            ignore_vary: false,
            veto_content_types: vec!["text/event-stream".to_owned(), "multipart/x-mixed-replace".to_owned()],
            share_large_bodies: false,
        }
    }
}

impl ResponseRules {
    pub(super) fn trust_key(&mut self) {
        *self = Self {
            veto_statuses: Vec::new(),
            share_set_cookie: true,
            share_private: true,
            share_no_store: true,
            share_no_cache: true,
            ignore_vary: true,
            veto_content_types: Vec::new(),
            share_large_bodies: self.share_large_bodies,
        };
    }
}

/// Which responses followers get. The leader keeps a vetoed one, and each
/// follower's own request goes to the inner service.
impl HttpPolicy {
    /// Keeps responses with this status to the leader.
    ///
    /// Name here a status that your origin gives for what the policy does not
    /// compare: 400, if a header that one client garbled must not fail others;
    /// 500, if followers should try for themselves.
    ///
    /// Never loosens anything; costs a request a follower.
    #[must_use]
    pub fn veto_status(mut self, status: StatusCode) -> Self {
        if !self.response.veto_statuses.contains(&status) {
            self.response.veto_statuses.push(status);
        }
        self
    }

    /// Gives followers responses with this status.
    ///
    /// By default 206 (RFC 9110 §15.3.7) stays with the leader, and what judges
    /// one client: 401, 403, 407 (§15.5.2, §15.5.4, §15.5.8), 428, 429, 431 and
    /// 511 (RFC 6585). Errors, 5xx too, are shared. Any 1xx stays with the
    /// leader whatever is said here: 101 is a connection (RFC 9110 §15.2).
    ///
    /// *Risk:* one client's quota, refusal or login challenge hits all that
    /// asked with it.
    #[must_use]
    pub fn share_status(mut self, status: StatusCode) -> Self {
        self.response.veto_statuses.retain(|known| *known != status);
        self
    }

    /// Whether followers get responses with `Set-Cookie`. Default: no.
    ///
    /// Stricter than RFC 9111 §7.3, which leaves it to the origin's
    /// `Cache-Control`: many origins set a session cookie and forget that.
    ///
    /// *Risk:* several clients end up in one session. Take the header off
    /// below this layer instead, if it can go.
    #[must_use]
    pub fn share_set_cookie(mut self, share: bool) -> Self {
        self.response.share_set_cookie = share;
        self
    }

    /// Whether followers get responses that say `private`. Default: no, not
    /// even with field names in it (RFC 9111 §5.2.2.7).
    ///
    /// A `Cache-Control` that cannot be read vetoes until `private`,
    /// `no-store` and `no-cache` are all shared.
    ///
    /// *Risk:* the origin said the answer is for one user; that user is the
    /// same only if the key and the partition hold all it knows them by.
    #[must_use]
    pub fn share_private(mut self, share: bool) -> Self {
        self.response.share_private = share;
        self
    }

    /// Whether followers get responses that say `no-store`. Default: no
    /// (RFC 9111 §5.2.2.5).
    ///
    /// *Risk:* many origins say `no-store` and mean `private`; also, the
    /// answer is held in memory while it is read.
    #[must_use]
    pub fn share_no_store(mut self, share: bool) -> Self {
        self.response.share_no_store = share;
        self
    }

    /// Whether followers get responses that say `no-cache`. Default: no, not
    /// even with field names in it (RFC 9111 §5.2.2.4).
    ///
    /// *Risk:* the origin wanted to be asked for each use; here it is asked
    /// once for all uses at the same time. It never joins anybody late, except
    /// by [`LateJoin::Always`](super::LateJoin::Always).
    #[must_use]
    pub fn share_no_cache(mut self, share: bool) -> Self {
        self.response.share_no_cache = share;
        self
    }

    /// Whether `Vary` is disregarded. Default: no.
    ///
    /// By default `Vary: *`, or one that cannot be read, keeps the response to
    /// the leader; names outside the partition give it to those that agree in
    /// them (RFC 9110 §12.5.5, RFC 9111 §4.1).
    ///
    /// *Risk:* followers get the variant that the leader asked for.
    #[must_use]
    pub fn ignore_vary(mut self, ignore: bool) -> Self {
        self.response.ignore_vary = ignore;
        self
    }

    /// Keeps responses of this content type to the leader: `type/subtype`,
    /// in any case, without parameters (RFC 9110 §8.3.1).
    ///
    /// Never loosens anything; costs a request a follower.
    #[must_use]
    pub fn veto_content_type(mut self, essence: &str) -> Self {
        self = self.share_content_type(essence);
        self.response.veto_content_types.push(essence.to_owned());
        self
    }

    /// Gives followers responses of this content type.
    ///
    /// By default `text/event-stream` and `multipart/x-mixed-replace` stay
    /// with the leader: they have no end.
    ///
    /// *Risk:* all readers hang on one stream for as long as it lasts, and one
    /// that lags too far is cut off, as [`slow_reader`](Self::slow_reader) says.
    #[must_use]
    pub fn share_content_type(mut self, essence: &str) -> Self {
        self.response.veto_content_types.retain(|known| !known.eq_ignore_ascii_case(essence));
        self
    }

    /// Whether followers get a response whose body is known to be over
    /// [`body_limit`](Self::body_limit). Default: no.
    ///
    /// Known is what the body's size hint or `Content-Length` tells
    /// (RFC 9110 §8.6; not that of a `HEAD` or a 304, which is of another
    /// body). A body of unknown length is always shared.
    ///
    /// *Risk:* a reader that lags by more than the limit is cut off, as
    /// [`slow_reader`](Self::slow_reader) says, where alone it would have got
    /// everything.
    #[must_use]
    pub fn share_large_bodies(mut self, share: bool) -> Self {
        self.response.share_large_bodies = share;
        self
    }
}
