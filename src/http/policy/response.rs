//! The switches about responses.

use http::{HeaderName, Response, StatusCode};
use std::{fmt, sync::Arc};

use super::{
    HttpPolicy,
    status::{StatusRange, StatusRule},
};

/// Which responses followers get.
#[derive(Clone, Debug)]
pub(crate) struct ResponseRules {
    /// What the user said. The last that names a status counts.
    statuses: Vec<(StatusRange, StatusRule)>,
    share_if: Vec<Predicate>,
    pub(crate) refusals: u32,
    pub(crate) share_set_cookie: bool,
    pub(crate) share_private: bool,
    pub(crate) share_no_store: bool,
    pub(crate) share_no_cache: bool,
    pub(crate) ignore_vary: bool,
    pub(crate) veto_content_types: Vec<String>,
    pub(crate) share_large_bodies: bool,
    /// Each follower gets its own request's.
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
            veto_content_types: vec!["text/event-stream".to_owned(), "multipart/x-mixed-replace".to_owned()],
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

    /// Who may have a response, by its status. An interim response is never the answer; 101 is a connection.
    pub(crate) fn status_rule(&self, status: StatusCode) -> StatusRule {
        if status.is_informational() {
            return StatusRule::Veto;
        }
        let said = self.statuses.iter().rev().find(|(range, _)| range.contains(status));
        said.map_or_else(|| StatusRule::of(status), |(_, rule)| *rule)
    }

    /// Whether all closures of the user let followers have the response with this head.
    pub(crate) fn lets_share(&self, head: &Response<()>) -> bool {
        self.share_if.iter().all(|Predicate(may_share)| may_share(head))
    }
}

/// A closure of the user's.
#[derive(Clone)]
struct Predicate(Arc<MayShare>);

type MayShare = dyn Fn(&Response<()>) -> bool + Send + Sync;

impl fmt::Debug for Predicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Predicate")
    }
}

/// Which responses followers get. The leader keeps its response in any case.
///
/// A *veto* is a response that is for its leader alone. Each follower sends its own request, and the key is remembered
/// as unshareable. A *refusal* judges the one who asked, not the resource. It is never remembered.
impl HttpPolicy {
    /// Makes responses with this status, or a status in this range, refusals.
    ///
    /// A refusal stays with the leader, whatever its headers say, and is never
    /// remembered. By default it is any 4xx but 404, 410 and 451, and 511
    /// (RFC 9110 §15.5, RFC 6585). Name here another status that your origin
    /// gives for what the policy does not compare: 500, say, if followers
    /// should try for themselves.
    ///
    /// The last call that names a status counts. Any 1xx is a veto whatever is
    /// said here.
    ///
    /// Never loosens anything for followers. Costs more requests, and more
    /// waiting.
    #[must_use]
    pub fn veto_status(mut self, status: impl Into<StatusRange>) -> Self {
        self.response.statuses.push((status.into(), StatusRule::Refuse));
        self
    }

    /// Gives followers responses with this status, or a status in this range.
    ///
    /// Other rules still hold for them: with `Set-Cookie`, say, they stay with
    /// the leader. By default these are not shared:
    ///
    /// - all 4xx but 404, 410 and 451, and 511: *refusals*, which judge the
    ///   one who asked (RFC 9110 §15.5, RFC 6585);
    /// - 206 (RFC 9110 §15.3.7);
    /// - what no cache could store: any other 2xx or 3xx that is not
    ///   heuristically cacheable (RFC 9110 §15.1; 201, 202, 205, 302, 303, 307,
    ///   …), without `public`, or `max-age` or `s-maxage` above 0. `Expires` is
    ///   not read. Its `Location` may be one client's own. 304 is shared: it
    ///   answers requests with equal conditions.
    ///
    /// The last call that names a status counts. Any 1xx stays with the leader
    /// whatever is said here: 101 is a connection (RFC 9110 §15.2).
    ///
    /// *Risk:* one client's malformed header, quota or login challenge hits all
    /// that asked with it; of 302, one client's redirect.
    #[must_use]
    pub fn share_status(mut self, status: impl Into<StatusRange>) -> Self {
        self.response.statuses.push((status.into(), StatusRule::Share));
        self
    }

    /// Makes each response a refusal for whose head this closure returns
    /// `false`.
    ///
    /// With several closures, all have to return `true`. `true` shares nothing
    /// that another rule keeps from followers. A closure is called once at
    /// most for a response, in the inner call, and not for a 1xx or a status
    /// that is a refusal without it.
    ///
    /// ```
    /// use tower_singleflight::HttpPolicy;
    ///
    /// let policy = HttpPolicy::default().share_if(|head| !head.headers().contains_key("x-user"));
    /// # let _ = policy;
    /// ```
    ///
    /// Never loosens anything for followers. Costs more requests, and more
    /// waiting.
    ///
    /// # Panics
    ///
    /// A panic of the closure counts as a panic of the inner call: every
    /// waiter of the flight panics with its message.
    #[must_use]
    pub fn share_if(mut self, may_share: impl Fn(&Response<()>) -> bool + Send + Sync + 'static) -> Self {
        self.response.share_if.push(Predicate(Arc::new(may_share)));
        self
    }

    /// After how many refusals in a row followers no longer go on together.
    /// Default: 2, the first leader's included.
    ///
    /// The leader keeps a refusal, and its followers go on together in one
    /// next flight. After this many, a 429 is given to all who are left: the
    /// upstream asked for fewer requests. It comes without its `Set-Cookie`,
    /// and without its body if that must not have several readers.
    /// With any other refusal, each sends its own request, in parallel. 0
    /// counts as 1.
    ///
    /// *Risk of more:* where everybody is refused, an expired login say,
    /// followers wait for one more answer each time.
    #[must_use]
    pub fn refusals(mut self, in_a_row: u32) -> Self {
        self.response.refusals = in_a_row;
        self
    }

    /// How often followers go on together: not after the last refusal of a row.
    pub(crate) fn rounds(&self) -> u16 {
        self.response.refusals.saturating_sub(1).try_into().unwrap_or(u16::MAX)
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

    /// Gives each follower its own request's values of this header, in the
    /// place of the leader's.
    ///
    /// For an inner service that answers with a header of its request, such as
    /// `x-request-id`. Followers that wait get all values that their own
    /// request has, or none, and so do those that join after the head. The
    /// leader, and whoever passes, keep what the inner service said. Where a
    /// flight is lost with its runtime and a follower leads it anew, the first
    /// leader has no request left, and gets none.
    ///
    /// ```
    /// use http::HeaderName;
    /// use tower_singleflight::HttpPolicy;
    ///
    /// let policy = HttpPolicy::default().own_response_header(HeaderName::from_static("x-request-id"));
    /// # let _ = policy;
    /// ```
    ///
    /// *Risk:* of a header that the inner service does not take from its
    /// request as it is, followers get something else than they would get
    /// alone. Never name one that describes the body, such as
    /// `content-length`.
    #[must_use]
    pub fn own_response_header(mut self, name: HeaderName) -> Self {
        self.response.own_headers.push(name);
        self
    }
}
