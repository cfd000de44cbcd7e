//! The switches about responses.

use http::{HeaderName, Response, StatusCode};
use std::{fmt, sync::Arc};

use super::{
    HttpPolicy,
    status::{StatusRange, StatusRule},
};

/// The settings about responses.
#[derive(Clone, Debug)]
pub(crate) struct ResponseRules {
    /// The user's rules. The last rule for a status counts.
    pub(super) statuses: Vec<(StatusRange, StatusRule)>,
    pub(super) share_if: Vec<Predicate>,
    pub(crate) refusals: u32,
    pub(crate) share_set_cookie: bool,
    pub(crate) share_private: bool,
    pub(crate) share_no_store: bool,
    pub(crate) share_no_cache: bool,
    pub(crate) ignore_vary: bool,
    pub(crate) veto_content_types: Vec<String>,
    pub(crate) share_large_bodies: bool,
    /// The headers of `own_response_header`.
    pub(crate) own_headers: Vec<HeaderName>,
}

impl Default for ResponseRules {
    fn default() -> Self {
        Self {
            statuses: Vec::new(),
            share_if: Vec::new(),
            refusals: 2,
            share_set_cookie: false,
            share_private: false,
            share_no_store: false,
            share_no_cache: false,
            ignore_vary: false,
            veto_content_types: vec![
                "text/event-stream".to_owned(),
                "multipart/x-mixed-replace".to_owned(),
            ],
            share_large_bodies: false,
            own_headers: Vec::new(),
        }
    }
}

impl ResponseRules {
    pub(super) fn trust_key(&mut self) {
        self.statuses = vec![((0..=u16::MAX).into(), StatusRule::Share)];
        self.share_set_cookie = true;
        self.share_private = true;
        self.share_no_store = true;
        self.share_no_cache = true;
        self.ignore_vary = true;
        self.veto_content_types = Vec::new();
    }

    /// Returns which clients may have a response with this status. A 1xx is a veto: it is no final
    /// answer, and 101 is a connection.
    pub(crate) fn status_rule(&self, status: StatusCode) -> StatusRule {
        if status.is_informational() {
            return StatusRule::Veto;
        }
        let rule = self.statuses.iter().rev().find(|(range, _)| range.contains(status));
        rule.map_or_else(|| StatusRule::of(status), |(_, rule)| *rule)
    }

    /// Whether all `share_if` closures return `true` for this head.
    pub(crate) fn lets_share(&self, head: &Response<()>) -> bool {
        self.share_if.iter().all(|Predicate(may_share)| may_share(head))
    }
}

/// A `share_if` closure.
#[derive(Clone)]
pub(super) struct Predicate(Arc<MayShare>);

type MayShare = dyn Fn(&Response<()>) -> bool + Send + Sync;

impl fmt::Debug for Predicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Predicate")
    }
}

/// Which responses followers get. The leader always gets its response.
///
/// A *veto* is a response that is for its leader only. Each follower sends its own request, and the
/// key is remembered as unshareable. A *refusal* judges the client that asked, not the resource. It
/// is never remembered.
impl HttpPolicy {
    /// Makes responses with this status, or with a status in this range, refusals.
    ///
    /// A refusal stays with the leader, whatever its headers say, and is never
    /// remembered. By default 511 and all 4xx except 404, 410 and 451 are refusals
    /// (RFC 9110 §15.5, RFC 6585). Name another status if your origin's answer
    /// depends on something that the policy does not compare: for example 500, if
    /// followers should try for themselves.
    ///
    /// If several calls name a status, the last one counts. A 1xx is always a veto.
    ///
    /// This never makes sharing less safe. It costs more requests, and followers
    /// wait longer.
    #[must_use]
    pub fn veto_status(mut self, status: impl Into<StatusRange>) -> Self {
        self.response.statuses.push((status.into(), StatusRule::Refuse));
        self
    }

    /// Gives followers responses with this status, or with a status in this range.
    ///
    /// The other rules still apply: for example, a response with `Set-Cookie` stays
    /// with the leader. By default these statuses are not shared:
    ///
    /// - all 4xx except 404, 410 and 451, and 511. These are *refusals*, which judge
    ///   the client that asked (RFC 9110 §15.5, RFC 6585);
    /// - 206 (RFC 9110 §15.3.7);
    /// - any other 2xx or 3xx that no cache may store by default (RFC 9110 §15.1:
    ///   201, 202, 205, 302, 303, 307, …), unless it says `public`, or `max-age` or
    ///   `s-maxage` above 0. `Expires` is not read. Its `Location` may be for one
    ///   client. 304 is shared, because it answers requests with equal conditions.
    ///
    /// If several calls name a status, the last one counts. A 1xx always stays with
    /// the leader, because 101 is a connection (RFC 9110 §15.2).
    ///
    /// *Risk:* one client's malformed header, exhausted quota or login challenge
    /// is the answer for all clients of the flight. With 302, they get one client's
    /// redirect.
    #[must_use]
    pub fn share_status(mut self, status: impl Into<StatusRange>) -> Self {
        self.response.statuses.push((status.into(), StatusRule::Share));
        self
    }

    /// Makes a response a refusal if this closure returns `false` for its head.
    ///
    /// With several closures, all must return `true`. `true` does not share a
    /// response that another rule keeps with the leader. A closure is called at
    /// most once for a response, as part of the inner call. It is not called for a
    /// 1xx, or for a status that is a refusal already.
    ///
    /// ```
    /// use tower_singleflight::HttpPolicy;
    ///
    /// let policy = HttpPolicy::new().share_if(|head| !head.headers().contains_key("x-user"));
    /// # let _ = policy;
    /// ```
    ///
    /// This never makes sharing less safe. It costs more requests, and followers
    /// wait longer.
    ///
    /// # Panics
    ///
    /// A panic in the closure counts as a panic of the inner call: every waiter of
    /// the flight panics with its message.
    #[must_use]
    pub fn share_if(
        mut self,
        may_share: impl Fn(&Response<()>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.response.share_if.push(Predicate(Arc::new(may_share)));
        self
    }

    /// Sets after how many refusals in a row followers stop making calls together.
    /// Default: 2, including the first leader's refusal.
    ///
    /// The leader keeps its refusal, and its followers make one next call together.
    /// If this number of refusals in a row is reached by a 429, all remaining
    /// followers get the 429, because the upstream asked for fewer requests. They
    /// get it without its `Set-Cookie`, and without its body if the body must not
    /// be shared. After any other refusal, each follower sends its own request, in
    /// parallel. 0 counts as 1.
    ///
    /// *Risk of more:* if every client is refused, for example because a login
    /// expired, followers wait for one more answer each time.
    #[must_use]
    pub fn refusals(mut self, in_a_row: u32) -> Self {
        self.response.refusals = in_a_row;
        self
    }

    /// How often followers may go on together. They do not after the last refusal in a row.
    pub(crate) fn rounds(&self) -> u16 {
        self.response.refusals.saturating_sub(1).try_into().unwrap_or(u16::MAX)
    }

    /// Whether followers get responses with `Set-Cookie`. Default: no.
    ///
    /// This is stricter than RFC 9111 §7.3, which leaves the decision to the
    /// origin's `Cache-Control`. Many origins set a session cookie and forget to
    /// say `private`.
    ///
    /// *Risk:* several clients share one session. If the header is not needed,
    /// remove it below this layer instead.
    #[must_use]
    pub fn share_set_cookie(mut self, share: bool) -> Self {
        self.response.share_set_cookie = share;
        self
    }

    /// Whether followers get responses that say `private`. Default: no, also if
    /// `private` lists field names (RFC 9111 §5.2.2.7).
    ///
    /// A malformed `Cache-Control` is a veto, unless `private`, `no-store` and
    /// `no-cache` are all shared.
    ///
    /// *Risk:* the origin said that the answer is for one user. The key and the
    /// partition must have everything by which the origin identifies the user.
    #[must_use]
    pub fn share_private(mut self, share: bool) -> Self {
        self.response.share_private = share;
        self
    }

    /// Whether followers get responses that say `no-store`. Default: no
    /// (RFC 9111 §5.2.2.5).
    ///
    /// *Risk:* many origins say `no-store` and mean `private`. The layer holds the
    /// answer in memory while it is read.
    #[must_use]
    pub fn share_no_store(mut self, share: bool) -> Self {
        self.response.share_no_store = share;
        self
    }

    /// Whether followers get responses that say `no-cache`. Default: no, also if
    /// `no-cache` lists field names (RFC 9111 §5.2.2.4).
    ///
    /// Such a response is never joined after its head is known, except with
    /// [`LateJoin::Always`](super::LateJoin::Always).
    ///
    /// *Risk:* the origin wants to be asked for each use. The layer asks once for
    /// all uses at the same time.
    #[must_use]
    pub fn share_no_cache(mut self, share: bool) -> Self {
        self.response.share_no_cache = share;
        self
    }

    /// Whether `Vary` is ignored. Default: no.
    ///
    /// By default a response with `Vary: *`, or with a malformed `Vary`, stays with
    /// the leader. If `Vary` names headers outside the partition, the response goes
    /// to followers that have the leader's values in these headers
    /// (RFC 9110 §12.5.5, RFC 9111 §4.1).
    ///
    /// *Risk:* followers get the variant that the leader asked for.
    #[must_use]
    pub fn ignore_vary(mut self, ignore: bool) -> Self {
        self.response.ignore_vary = ignore;
        self
    }

    /// Keeps responses with this content type with the leader. The type is
    /// `type/subtype`, in upper or lower case, without parameters
    /// (RFC 9110 §8.3.1).
    ///
    /// This never makes sharing less safe. It costs one request for each follower.
    #[must_use]
    pub fn veto_content_type(mut self, essence: &str) -> Self {
        self = self.share_content_type(essence);
        self.response.veto_content_types.push(essence.to_owned());
        self
    }

    /// Gives followers responses with this content type.
    ///
    /// By default `text/event-stream` and `multipart/x-mixed-replace` stay with the
    /// leader, because their bodies never end.
    ///
    /// *Risk:* all readers depend on one stream for as long as it lasts. A reader
    /// that is too far behind is cut off, as [`slow_reader`](Self::slow_reader)
    /// says.
    #[must_use]
    pub fn share_content_type(mut self, essence: &str) -> Self {
        self.response.veto_content_types.retain(|known| !known.eq_ignore_ascii_case(essence));
        self
    }

    /// Whether followers get a response whose body is known to be larger than
    /// [`body_limit`](Self::body_limit). Default: no.
    ///
    /// The size is known from the body's size hint or from `Content-Length`
    /// (RFC 9110 §8.6). The `Content-Length` of a `HEAD` or a 304 does not count,
    /// because it describes another body. A body of unknown length is always
    /// shared.
    ///
    /// With the feature `spill`, bodies up to the size of
    /// [`spill`](Self::spill) are shared in any case.
    ///
    /// *Risk:* a reader that is further behind than the limit is cut off, as
    /// [`slow_reader`](Self::slow_reader) says. Alone, it would have got the whole
    /// body.
    #[must_use]
    pub fn share_large_bodies(mut self, share: bool) -> Self {
        self.response.share_large_bodies = share;
        self
    }

    /// Gives each follower its own request's values of this header, instead of the
    /// leader's.
    ///
    /// Use this if the inner service copies a header of the request into the
    /// response, such as `x-request-id`. A follower gets all values that its own
    /// request has, or none if the request has none. This also applies to requests
    /// that join after the head. Leaders and requests that pass keep the header of
    /// the inner service. If a flight is lost with its runtime and a follower leads
    /// it again, the first leader gets no such header, because its request is gone.
    ///
    /// ```
    /// use http::HeaderName;
    /// use tower_singleflight::HttpPolicy;
    ///
    /// let policy = HttpPolicy::new().own_response_header(HeaderName::from_static("x-request-id"));
    /// # let _ = policy;
    /// ```
    ///
    /// *Risk:* if the inner service does not copy the header unchanged, followers
    /// get another value than they would get alone. Never name a header that
    /// describes the body, such as `content-length`.
    #[must_use]
    pub fn own_response_header(mut self, name: HeaderName) -> Self {
        self.response.own_headers.push(name);
        self
    }
}
