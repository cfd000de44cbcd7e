//! The switches about requests.

use http::{
    HeaderName, Method,
    header::{
        ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE,
        COOKIE, EXPECT, HOST, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
        IF_UNMODIFIED_SINCE, ORIGIN, PROXY_AUTHORIZATION, RANGE, UPGRADE,
    },
};

use super::{HttpPolicy, cookies, headers::HeaderRules};

/// The settings about requests.
#[derive(Clone, Debug)]
pub(crate) struct RequestRules {
    pub(crate) methods: Vec<Method>,
    /// True until the user names the methods.
    pub(super) has_default_methods: bool,
    /// The headers of a body. `with_body` compares them.
    pub(super) body_headers: Vec<HeaderName>,
    pub(crate) ignore_body: bool,
    pub(crate) headers: HeaderRules,
    pub(crate) ignore_authority: bool,
    pub(crate) ignore_path: bool,
    pub(crate) ignore_query: bool,
    pub(crate) ignore_no_store: bool,
    pub(crate) ignore_no_cache: bool,
}

impl Default for RequestRules {
    fn default() -> Self {
        Self {
            methods: vec![Method::GET, Method::HEAD],
            has_default_methods: true,
            body_headers: vec![CONTENT_TYPE, CONTENT_ENCODING],
            ignore_body: false,
            headers: HeaderRules::new(&PASSING, &PARTING),
            ignore_authority: false,
            ignore_path: false,
            ignore_query: false,
            ignore_no_store: false,
            ignore_no_cache: false,
        }
    }
}

impl RequestRules {
    pub(super) fn trust_key(&mut self) {
        self.headers = HeaderRules::new(&[UPGRADE], &[]);
        self.body_headers.clear();
        self.ignore_authority = true;
        self.ignore_path = true;
        self.ignore_query = true;
        self.ignore_no_store = true;
    }

    /// Adds the defaults of `with_body`, where the user did not say otherwise.
    fn read_bodies(&mut self) {
        if self.has_default_methods {
            self.methods.extend([Method::POST, Method::from_bytes(b"QUERY").expect("a method")]);
            self.has_default_methods = false;
        }
        for name in self.body_headers.drain(..) {
            self.headers.part(&name);
        }
    }

    /// Whether requests with different values of this header never share.
    pub(crate) fn partitions_by(&self, name: &HeaderName) -> bool {
        self.headers.parts(name) || (name == HOST && !self.ignore_authority)
    }
}

const PASSING: [HeaderName; 6] = [UPGRADE, RANGE, IF_RANGE, IF_MATCH, IF_UNMODIFIED_SINCE, EXPECT];

const PARTING: [HeaderName; 9] = [
    ACCEPT,
    ACCEPT_ENCODING,
    ACCEPT_LANGUAGE,
    ORIGIN,
    AUTHORIZATION,
    PROXY_AUTHORIZATION,
    COOKIE,
    IF_NONE_MATCH,
    IF_MODIFIED_SINCE,
];

impl HttpPolicy {
    /// Returns the policy of a layer that was made with `with_body`.
    pub(in crate::http) fn for_bodies(mut self) -> Self {
        self.request.read_bodies();
        self
    }
}

/// Which requests share a flight.
impl HttpPolicy {
    /// Sets the methods that share, instead of `GET` and `HEAD`, or of `GET`,
    /// `HEAD`, `POST` and `QUERY` with [`with_body`].
    ///
    /// Requests with another method pass. Requests with different methods never
    /// share, so a `HEAD` never answers a `GET`. `CONNECT` always passes
    /// (RFC 9110 §9.3.6). A method that is named here counts as a read:
    /// [`seal_on_write`](Self::seal_on_write) ignores it. With [`with_body`], only a
    /// request with a key counts as a read.
    ///
    /// *Risk:* if several requests with an unsafe method such as `POST` share
    /// (RFC 9110 §9.2.1), only one of them is sent, and the effect of the others
    /// is lost.
    ///
    /// [`with_body`]: crate::SingleflightLayer::with_body
    #[must_use]
    pub fn methods(mut self, methods: impl IntoIterator<Item = Method>) -> Self {
        self.request.methods = methods.into_iter().collect();
        self.request.has_default_methods = false;
        self
    }

    /// Whether requests with a body share as well. Default: no, they pass.
    ///
    /// RFC 9110 §9.3.1 gives the body of a `GET` no meaning, and the layer does
    /// not read bodies to compare them. [`with_body`] does, and ignores this switch.
    ///
    /// *Risk:* followers get the answer to the leader's body, and their own body
    /// is dropped unread. Everything in it that matters must be in the key.
    ///
    /// [`with_body`]: crate::SingleflightLayer::with_body
    #[must_use]
    pub fn ignore_request_body(mut self, ignore: bool) -> Self {
        self.request.ignore_body = ignore;
        self
    }

    /// Compares this header as well: requests with different values do not share.
    ///
    /// All lines of the header are compared, in order, byte by byte. An empty value
    /// differs from an absent one. Name each header of your own that identifies
    /// the client or selects the answer, such as `x-api-key` or `x-tenant`. Only
    /// the origin knows about such headers, and its `Vary` often does not list
    /// them (RFC 9111 §4.1).
    ///
    /// This never makes sharing less safe. Requests with different values are no
    /// longer coalesced.
    #[must_use]
    pub fn partition_header(mut self, name: HeaderName) -> Self {
        self.request.headers.part(&name);
        self
    }

    /// Does not compare this header: requests with different values share.
    ///
    /// If a response's `Vary` names the header, only followers whose value equals
    /// the leader's get the response (RFC 9111 §4.1).
    ///
    /// *Risk:* if the answer depends on the header and `Vary` does not say so,
    /// followers get the variant that the leader asked for, such as another
    /// language or encoding. Without `Authorization` or `Cookie`, they get another
    /// user's data (RFC 9111 §3.5). Without `If-None-Match` and
    /// `If-Modified-Since`, a follower may get a 304 though it has nothing stored
    /// (RFC 9111 §4.3.2).
    #[must_use]
    pub fn without_partition_header(mut self, name: HeaderName) -> Self {
        self.request.headers.unpart(&name);
        self.request.body_headers.retain(|header| *header != name);
        self
    }

    /// Compares only these cookies, instead of the whole `Cookie` header.
    ///
    /// With the whole header, browsers that differ only in their analytics cookies
    /// do not share. Name the cookies that an answer depends on:
    ///
    /// ```
    /// use tower_singleflight::HttpPolicy;
    ///
    /// let policy = HttpPolicy::new().partition_cookies(["sid", "lang"]);
    /// # let _ = policy;
    /// ```
    ///
    /// Requests share if each named cookie has the same values in the same order
    /// in all of them, or is absent in all of them. An empty value differs from an
    /// absent one. The position of a cookie in the header, the spaces around it,
    /// and its line, if there are several lines, do not matter (RFC 9113 §8.2.3).
    /// Names and values are compared byte by byte, values including their quotes.
    /// A response with `Vary: Cookie` goes to followers with the same values of
    /// these cookies.
    ///
    /// A header that does not follow RFC 6265 §4.2.1 is compared as a whole, for
    /// example if it has a comma or a part without `=`. Servers disagree about the
    /// cookies in such a header.
    ///
    /// A second call adds names. [`partition_header`]`(COOKIE)` compares the whole
    /// header again. [`without_partition_header`]`(COOKIE)` compares no cookie,
    /// unless a response varies by `Cookie`.
    ///
    /// *Risk:* if an answer depends on a cookie that is not named, it goes to other
    /// clients. A forgotten session cookie gives one user's page to another. The
    /// same happens if the server reads another name as a named one (`SID`,
    /// `%73id`). With an empty list no cookie is compared, not even under
    /// `Vary: Cookie`. Use that only for sites without users.
    ///
    /// # Panics
    ///
    /// Panics if a name is not a valid cookie name: if it is empty, or has a
    /// space, `=` or another byte that a token cannot have (RFC 6265 §4.1.1).
    ///
    /// [`partition_header`]: Self::partition_header
    /// [`without_partition_header`]: Self::without_partition_header
    #[must_use]
    pub fn partition_cookies(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let names = names.into_iter().map(Into::into);
        self.request.headers.part_cookies(names.inspect(|name: &String| {
            assert!(cookies::is_name(name.as_bytes()), "no cookie can have the name {name:?}");
        }));
        self
    }

    /// Whether requests to different authorities or schemes share. Default: no.
    ///
    /// The authority is the URI's, or else the `Host` header (RFC 9110 §7.1,
    /// §7.2). If the two differ, both are compared. A missing scheme counts as
    /// `http`, so clients of HTTP/1.1 and of HTTP/2 without TLS share. All parts
    /// are compared byte by byte: `Example.com` and `example.com` do not share.
    ///
    /// *Risk:* one site's page answers for another. A client that sends a made-up
    /// `Host` puts it into the links that other clients get.
    #[must_use]
    pub fn ignore_authority(mut self, ignore: bool) -> Self {
        self.request.ignore_authority = ignore;
        self
    }

    /// Whether requests for different paths share if their keys are equal.
    /// Default: no.
    ///
    /// Paths are compared byte by byte (RFC 3986 §3.3): `/a` and `/%61` do not
    /// share. With the feature `axum`, the path from before nested routers stripped
    /// it (`OriginalUri`) is compared as well. The query is still compared, unless
    /// [`ignore_query`](Self::ignore_query) is set.
    ///
    /// *Risk:* with a key such as an id alone, `/users/1` and `/orders/1` share.
    #[must_use]
    pub fn ignore_path(mut self, ignore: bool) -> Self {
        self.request.ignore_path = ignore;
        self
    }

    /// Whether requests with different queries share if their keys are equal.
    /// Default: no.
    ///
    /// Queries are compared byte by byte (RFC 3986 §3.4): `?a&b` and `?b&a` do not
    /// share, and neither do `/a?` and `/a`. Set this if your key leaves out a part
    /// of the query on purpose, such as `utm_source`, or sorts the query.
    ///
    /// *Risk:* the key must have every part of the query that the answer depends
    /// on. If the key is only the path, `?q=go` gets the results of `?q=rust`.
    #[must_use]
    pub fn ignore_query(mut self, ignore: bool) -> Self {
        self.request.ignore_query = ignore;
        self
    }

    /// Passes all requests that have this header.
    ///
    /// This never makes sharing less safe. These requests are no longer coalesced.
    #[must_use]
    pub fn pass_request_header(mut self, name: HeaderName) -> Self {
        self.request.headers.pass(&name);
        self
    }

    /// Lets requests with this header share with requests that have the same value.
    /// By default they pass.
    ///
    /// The header becomes a part of the partition, as with
    /// [`partition_header`](Self::partition_header). By default requests with
    /// `Range`, `If-Range` (RFC 9110 §14.2, §13.1.5), `If-Match`,
    /// `If-Unmodified-Since` (§13.1.1, §13.1.4), `Expect` (§10.1.1) and `Upgrade`
    /// (§7.8, also `Connection: upgrade`) pass.
    ///
    /// *Risk:* small. `Range` is only useful if its answer is shared too:
    /// [`share_status`](Self::share_status)`(206)`. A 101 answer stays with the
    /// leader.
    #[must_use]
    pub fn allow_request_header(mut self, name: HeaderName) -> Self {
        self.request.headers.allow(&name);
        self
    }

    /// Whether requests with `Cache-Control: no-store`, or with a malformed
    /// `Cache-Control`, share as well. Default: no, they pass (RFC 9111 §5.2.1.5).
    ///
    /// *Risk:* the client asked that no part of the answer be stored. The layer
    /// holds the answer in memory while it is read.
    #[must_use]
    pub fn ignore_request_no_store(mut self, ignore: bool) -> Self {
        self.request.ignore_no_store = ignore;
        self
    }

    /// Whether requests with `no-cache` or `max-age=0` join like any other.
    /// Default: no, they join only before the response's head is known
    /// (RFC 9111 §5.2.1.1, §5.2.1.4; `Pragma: no-cache` without `Cache-Control`,
    /// §5.4).
    ///
    /// *Risk:* a reload may get an answer that is older than the reload.
    #[must_use]
    pub fn ignore_request_no_cache(mut self, ignore: bool) -> Self {
        self.request.ignore_no_cache = ignore;
        self
    }
}
