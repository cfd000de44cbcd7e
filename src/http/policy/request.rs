//! The switches about requests.

use http::{
    HeaderName, Method,
    header::{
        ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, AUTHORIZATION, COOKIE, EXPECT, HOST, IF_MATCH, IF_MODIFIED_SINCE,
        IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, ORIGIN, PROXY_AUTHORIZATION, RANGE, UPGRADE,
    },
};

use super::{HttpPolicy, cookies, headers::HeaderRules};

/// Which requests may share, and with which.
#[derive(Clone, Debug)]
pub(crate) struct RequestRules {
    pub(crate) methods: Vec<Method>,
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
        self.ignore_authority = true;
        self.ignore_path = true;
        self.ignore_query = true;
        self.ignore_no_store = true;
    }

    /// Whether requests that differ in this header are apart already.
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

/// Which requests share, and with which.
impl HttpPolicy {
    /// The methods that share, in the place of `GET` and `HEAD`.
    ///
    /// Requests with another method pass. Requests with different methods
    /// never share, so a `HEAD` never answers a `GET`. `CONNECT` passes always
    /// (RFC 9110 §9.3.6). A method named here counts as reading:
    /// [`seal_on_write`](Self::seal_on_write) leaves it alone.
    ///
    /// *Risk:* of several requests with an unsafe method (RFC 9110 §9.2.1),
    /// such as `POST`, one is sent and the others' effect is lost.
    #[must_use]
    pub fn methods(mut self, methods: impl IntoIterator<Item = Method>) -> Self {
        self.request.methods = methods.into_iter().collect();
        self
    }

    /// Whether requests with a body share as well. Default: no, they pass.
    ///
    /// RFC 9110 §9.3.1 gives a body in a `GET` no meaning, and the layer does
    /// not read bodies to compare them.
    ///
    /// *Risk:* followers get the answer to the leader's body, and their own is
    /// dropped unread: whatever matters in it must be in the key.
    #[must_use]
    pub fn ignore_request_body(mut self, ignore: bool) -> Self {
        self.request.ignore_body = ignore;
        self
    }

    /// Parts requests that differ in this header as well.
    ///
    /// All its lines are compared, in order, byte by byte; an empty value is
    /// not an absent one. Name here each header of your own that carries
    /// identity or picks the answer, such as `x-api-key` or `x-tenant`: of
    /// those only the origin knows, and often its `Vary` does not tell
    /// (RFC 9111 §4.1).
    ///
    /// Never loosens anything; costs the sharing between different values.
    #[must_use]
    pub fn partition_header(mut self, name: HeaderName) -> Self {
        self.request.headers.part(&name);
        self
    }

    /// Lets requests share that differ in this header.
    ///
    /// A response whose `Vary` names it still goes only to those that agree
    /// (RFC 9111 §4.1).
    ///
    /// *Risk:* an origin that heeds the header without saying so in `Vary`
    /// gives followers what the leader asked for: another language, another
    /// encoding. Without `Authorization` or `Cookie`, another user's data
    /// (RFC 9111 §3.5). Without `If-None-Match` and `If-Modified-Since`, a
    /// 304 for a follower that has nothing stored (RFC 9111 §4.3.2).
    #[must_use]
    pub fn without_partition_header(mut self, name: HeaderName) -> Self {
        self.request.headers.unpart(&name);
        self
    }

    /// Compares only these cookies of the `Cookie` header, in the place of
    /// the whole header.
    ///
    /// The whole header keeps browsers apart that differ in nothing but their
    /// analytics cookies. Name the cookies that an answer depends on:
    ///
    /// ```
    /// use tower_singleflight::HttpPolicy;
    ///
    /// let policy = HttpPolicy::default().partition_cookies(["sid", "lang"]);
    /// # let _ = policy;
    /// ```
    ///
    /// Requests share if they agree in each of them: the same values in the
    /// same order, or no such cookie; an empty value is not an absent one. It
    /// does not matter where in the header a cookie stands, with which spaces
    /// around it, and in which of several lines (RFC 9113 §8.2.3). Names and
    /// values are compared byte by byte, values with their quotes. A response
    /// with `Vary: Cookie` goes to those who agree in these cookies.
    ///
    /// A header that does not follow RFC 6265 §4.2.1, such as one with a comma
    /// or a part without `=`, is compared whole: servers differ in what they
    /// find in it.
    ///
    /// Called again, this adds names. [`partition_header`]`(COOKIE)` returns to
    /// the whole header. [`without_partition_header`]`(COOKIE)` compares no
    /// cookie, unless a response varies by `Cookie`.
    ///
    /// *Risk:* an answer that depends on a cookie that is not named goes to
    /// everybody who agrees in those that are: a forgotten session cookie
    /// gives one user's page to another. So does a server that takes another
    /// name for a named one (`SID`, `%73id`). An empty list compares no cookie
    /// at all, not even under `Vary: Cookie`: for sites without users.
    ///
    /// # Panics
    ///
    /// If no cookie can have such a name: one that is empty, or has a space,
    /// `=` or another byte that is not a token's (RFC 6265 §4.1.1).
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
    /// The authority is the URI's, or else the `Host` header
    /// (RFC 9110 §7.1, §7.2); where they differ both count. A missing scheme
    /// is `http`. So clients of HTTP/1.1 and of HTTP/2 without TLS share.
    /// All is compared byte by byte: `Example.com` and `example.com` don't
    /// share.
    ///
    /// *Risk:* one site's page answers for another, and links made from a
    /// `Host` that one client invented go to the others.
    #[must_use]
    pub fn ignore_authority(mut self, ignore: bool) -> Self {
        self.request.ignore_authority = ignore;
        self
    }

    /// Whether requests for different paths share if their keys are equal.
    /// Default: no.
    ///
    /// Paths are compared byte by byte (RFC 3986 §3.3): `/a` and `/%61` don't
    /// share. With feature `axum`, the path before nested routers stripped it
    /// (`OriginalUri`) counts as well. The query stays compared, unless
    /// [`ignore_query`](Self::ignore_query) says otherwise.
    ///
    /// *Risk:* a key such as an id alone makes `/users/1` and `/orders/1` one.
    #[must_use]
    pub fn ignore_path(mut self, ignore: bool) -> Self {
        self.request.ignore_path = ignore;
        self
    }

    /// Whether requests with different queries share if their keys are equal.
    /// Default: no.
    ///
    /// Queries are compared byte by byte (RFC 3986 §3.4): `?a&b` and `?b&a`
    /// don't share, nor do `/a?` and `/a`. Set this if your key leaves a part
    /// of the query out on purpose, such as `utm_source`, or sorts it.
    ///
    /// *Risk:* the key has to hold all of the query that the answer depends
    /// on. With a key as plain as the path, `?q=go` gets the results of
    /// `?q=rust`.
    #[must_use]
    pub fn ignore_query(mut self, ignore: bool) -> Self {
        self.request.ignore_query = ignore;
        self
    }

    /// Passes all requests that have this header.
    ///
    /// Never loosens anything; costs the sharing of those requests.
    #[must_use]
    pub fn pass_request_header(mut self, name: HeaderName) -> Self {
        self.request.headers.pass(&name);
        self
    }

    /// Lets requests with this header share with those that have the same
    /// value, where they would pass.
    ///
    /// The header moves to the partition, as by
    /// [`partition_header`](Self::partition_header). By default those with
    /// `Range`, `If-Range` (RFC 9110 §14.2, §13.1.5), `If-Match`,
    /// `If-Unmodified-Since` (§13.1.1, §13.1.4), `Expect` (§10.1.1) and
    /// `Upgrade` (§7.8, also `Connection: upgrade`) pass.
    ///
    /// *Risk:* small. For `Range` to be of use, allow its answer too:
    /// [`share_status`](Self::share_status)`(206)`. An answer of 101 stays the
    /// leader's.
    #[must_use]
    pub fn allow_request_header(mut self, name: HeaderName) -> Self {
        self.request.headers.allow(&name);
        self
    }

    /// Whether requests with `Cache-Control: no-store`, or one that cannot be
    /// read, share as well. Default: no, they pass (RFC 9111 §5.2.1.5).
    ///
    /// *Risk:* the client asked that no part of the answer be kept; it is held
    /// in memory while it is read.
    #[must_use]
    pub fn ignore_request_no_store(mut self, ignore: bool) -> Self {
        self.request.ignore_no_store = ignore;
        self
    }

    /// Whether requests with `no-cache` or `max-age=0` join like any other.
    /// Default: no, they join only before the response's head is known
    /// (RFC 9111 §5.2.1.1, §5.2.1.4; `Pragma: no-cache` without
    /// `Cache-Control`, §5.4).
    ///
    /// *Risk:* a reload may get an answer that is older than it.
    #[must_use]
    pub fn ignore_request_no_cache(mut self, ignore: bool) -> Self {
        self.request.ignore_no_cache = ignore;
        self
    }
}
