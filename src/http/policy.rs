//! [`HttpPolicy`]: every HTTP-only switch in one value.

mod cookies;
#[cfg(feature = "fleet")]
mod fingerprint;
mod flight;
mod headers;
mod request;
mod response;
mod status;

pub(super) use flight::FlightRules;
pub use flight::LateJoin;
pub(super) use headers::{Line, Sorted};
pub(super) use request::RequestRules;
pub(super) use response::ResponseRules;
pub use status::StatusRange;
pub(super) use status::StatusRule;

/// Decides which HTTP requests share a flight, and which clients get its response.
///
/// The default is safe for any correct origin. Each rule below has a switch that relaxes this one
/// rule. Give the policy to a layer with [`policy`](crate::SingleflightLayer::policy):
///
/// ```
/// use http::HeaderName;
/// use tower_singleflight::{HttpPolicy, SingleflightLayer};
///
/// let policy = HttpPolicy::new()
///     .partition_header(HeaderName::from_static("x-api-key"))
///     .cache_status("gateway");
/// let layer = SingleflightLayer::new(|req| req.uri().to_string()).policy(policy);
/// # let _ = layer.handle();
/// ```
///
/// A cache may answer a request with a stored response only if that response may be reused for it.
/// Otherwise the request "needs to be forwarded" ([RFC 9111 §4]). The policy applies the same rule
/// to a response that is still on its way. The key that your closure returns is only the *primary*
/// key. Among requests with equal keys, the rules below decide which requests share. A header that
/// cannot be read, such as a malformed `Cache-Control`, counts as the strictest value that it could
/// have.
///
/// # Before a flight: which requests may share
///
/// | Request | | Why | Switch |
/// |---|---|---|---|
/// | `GET` or `HEAD`, without a body | shares, each method on its own | safe and cacheable, RFC 9110 §9.2 | [`methods`](HttpPolicy::methods), [`ignore_request_body`](HttpPolicy::ignore_request_body) |
/// | any other method, or with a body | passes | the request may change something, and only one call can read a body | the same |
/// | `Range`, `If-Range`, `If-Match`, `If-Unmodified-Since`, `Expect` | passes | the answer is for this request only, RFC 9110 §13, §14, §10.1.1 | [`allow_request_header`](HttpPolicy::allow_request_header), [`pass_request_header`](HttpPolicy::pass_request_header) |
/// | `Upgrade`, `CONNECT` | passes | the answer is a connection, RFC 9110 §7.8, §9.3.6 | `allow_request_header(UPGRADE)`; `CONNECT` always passes |
/// | `Cache-Control: no-store` | passes | RFC 9111 §5.2.1.5 | [`ignore_request_no_store`](HttpPolicy::ignore_request_no_store) |
/// | `no-cache`, `max-age=0` | joins only before the head of the response is known | the client wants an answer that is not older than its request, RFC 9111 §5.2.1.4 | [`ignore_request_no_cache`](HttpPolicy::ignore_request_no_cache) |
///
/// With [`with_body`](crate::SingleflightLayer::with_body), a `GET`, `HEAD`, `POST` or `QUERY`
/// shares by its body, if your closure returns a key for it.
///
/// # The partition: which requests share with each other
///
/// Two requests share only if all of the following are equal, compared byte by byte:
///
/// - the method;
/// - the scheme, where a missing scheme counts as `http`, and the authority or else `Host`. So
///   clients of HTTP/1.1 and of h2c share;
/// - the path and the query;
/// - `Accept`, `Accept-Encoding`, `Accept-Language` and `Origin`;
/// - `Authorization`, `Proxy-Authorization` and `Cookie`, so that each user shares only with itself
///   (RFC 9111 §3.5);
/// - `If-None-Match` and `If-Modified-Since`, because a 304 answers only the requests with that
///   condition;
/// - with `with_body`, `Content-Type` and `Content-Encoding`.
///
/// The switches are [`partition_header`](HttpPolicy::partition_header),
/// [`without_partition_header`](HttpPolicy::without_partition_header),
/// [`partition_cookies`](HttpPolicy::partition_cookies) (compares only some cookies, such as the
/// session's), [`ignore_authority`](HttpPolicy::ignore_authority),
/// [`ignore_path`](HttpPolicy::ignore_path) and [`ignore_query`](HttpPolicy::ignore_query).
///
/// **If your backend's answer depends on anything else, put that into your key, or make it a
/// partition header.** Examples are API keys, an identity that a middleware puts into the
/// extensions, client certificates, and `X-Forwarded-*` headers.
///
/// # At the head: which clients get the response
///
/// The leader always gets its response. Followers:
///
/// | Response | Followers | Why | Switch |
/// |---|---|---|---|
/// | any other, including 404, 410, 451 and 5xx | share it | a failing upstream should see one request | [`veto_status`](HttpPolicy::veto_status) |
/// | a *refusal*: any other 4xx, 511, or a response for which [`share_if`](HttpPolicy::share_if) returns `false` | make one more call together; see below | it judges the client that asked, RFC 9110 §15.5, RFC 6585 | [`share_status`](HttpPolicy::share_status), [`veto_status`](HttpPolicy::veto_status), [`share_if`](HttpPolicy::share_if), [`refusals`](HttpPolicy::refusals) |
/// | `Set-Cookie` | send their own requests | RFC 6265 §3, RFC 9111 §7.3 | [`share_set_cookie`](HttpPolicy::share_set_cookie) |
/// | `private`, `no-store`, `no-cache` | the same | RFC 9111 §5.2.2 | [`share_private`](HttpPolicy::share_private), [`share_no_store`](HttpPolicy::share_no_store), [`share_no_cache`](HttpPolicy::share_no_cache) |
/// | 201, 202, 302, 303, 307 and other 2xx and 3xx that no cache may store, unless it says `public`, or `max-age` or `s-maxage` above 0 | the same | its `Location` may be for one client, RFC 9110 §15.1, RFC 9111 §3 | [`share_status`](HttpPolicy::share_status) |
/// | 206 | the same | RFC 9110 §15.3.7 | [`share_status`](HttpPolicy::share_status) |
/// | 1xx | the same | 101 is a connection, RFC 9110 §15.2 | none |
/// | `Vary: *` | the same | RFC 9110 §12.5.5 | [`ignore_vary`](HttpPolicy::ignore_vary) |
/// | `Vary` on a header outside the partition | share it if their header equals the leader's; the others share among themselves | RFC 9111 §4.1 | [`ignore_vary`](HttpPolicy::ignore_vary) |
/// | `text/event-stream`, `multipart/x-mixed-replace` | send their own requests | the body never ends | [`share_content_type`](HttpPolicy::share_content_type), [`veto_content_type`](HttpPolicy::veto_content_type) |
/// | body known to be larger than 16 MiB | the same | memory | [`body_limit`](HttpPolicy::body_limit), [`share_large_bodies`](HttpPolicy::share_large_bodies), with the feature `spill` [`spill`](HttpPolicy::spill) |
///
/// Followers that send their own requests do so at once, in parallel. Their key is remembered as
/// unshareable for a while, so that later requests pass without waiting
/// ([`unshareable_memory`](HttpPolicy::unshareable_memory)).
///
/// After a refusal, the followers make one more call together. After
/// [`refusals`](HttpPolicy::refusals) in a row, a 429 goes to all remaining followers. After any
/// other refusal, each of them sends its own request. A refusal is never remembered. Its headers do
/// not matter: with `no-store` or `Set-Cookie`, it is still a refusal.
///
/// # After the head
///
/// While the body streams, a new request can join if all of this holds
/// ([`late_joins`](HttpPolicy::late_joins)):
///
/// - the response says that it is fresh, by `max-age` or `s-maxage` less its `Age` (RFC 9111 §4.2);
/// - the body is still held from its first byte: up to 1 MiB while one reader is alone
///   ([`keep_start`](HttpPolicy::keep_start)), up to 16 MiB for several;
/// - the flight is younger than `join_within`;
/// - no write has sealed the flight;
/// - the layer has no `max_waiters`.
///
/// Its response carries the current `Age` (RFC 9111 §5.1). With
/// [`hold_for`](crate::SingleflightLayer::hold_for), requests can join for a while after the end of
/// the body too.
///
/// # Writes
///
/// A request with an unsafe method is a write ([`seal_on_write`](HttpPolicy::seal_on_write)). A
/// write seals flights, so that later requests do not join them: a read that comes after a write
/// never gets an answer from before it (RFC 9111 §4.4).
///
/// - A write seals the flights of its key, and the flights of its path with any key, query and
///   host. It does so when it is sent, and again when it is answered. All spellings of a path count
///   as one (RFC 3986 §6.2.2.2).
/// - The methods that IANA registers as safe seal nothing: `GET`, `HEAD`, `OPTIONS`, `TRACE`,
///   `PROPFIND`, `REPORT`, `SEARCH`, `QUERY`, `PRI`.
/// - Your closure is called for writes too. If a write to one path changes the answers of another
///   path, the closure must return the key of that other path for the write.
///
/// With [`with_body`](crate::SingleflightLayer::with_body), a request with an unsafe method is a
/// write if it has no key. It seals the flights of its path.
///
/// The path alone makes a good key: `|req| req.uri().path().to_owned()`. The layer compares host
/// and query as well, and `forget("/x")` reaches all reads of the path, whatever their query. The
/// whole URI is a worse key: in HTTP/2 it has a scheme and a host, and in HTTP/1.1 it has neither.
/// So on a server that speaks both, clients of HTTP/1.1 and of HTTP/2 would not share, and `forget`
/// would reach only one of the two.
///
/// # Bodies
///
/// [`SharedBody`](crate::SharedBody) streams each frame to every reader as it arrives, including
/// trailers, and copies no data.
///
/// | A reader | | Switch |
/// |---|---|---|
/// | is behind by less than 16 MiB, its window | delays no other reader: its data is kept | [`body_limit`](HttpPolicy::body_limit) |
/// | is slow, and its window is full | the upstream pauses until the reader has caught up by half; new requests lead their own flight meanwhile | [`slow_reader`](HttpPolicy::slow_reader) |
/// | reads nothing for 1 s of a pause | ends with an error, if it is more than half a window behind; the others go on | [`slow_reader`](HttpPolicy::slow_reader) |
/// | has held the others back for 30 s in all, alone or with other slow readers | ends with an error, if it is more than half a window behind; the others go on | [`hold_back_at_most`](HttpPolicy::hold_back_at_most) |
/// | is behind while all bodies of the layer together hold 256 MiB | the upstream pauses until they hold less; if the reader reads nothing for 1 s, it ends with an error; no new request joins | [`body_budget`](HttpPolicy::body_budget) |
///
/// With the feature `spill`, [`spill`](HttpPolicy::spill) moves what a reader is behind beyond its
/// window to a temporary file: then a slow reader delays no other reader, and is not cut off, until
/// that file is full.
///
/// If the upstream fails or is cut short, every reader gets an error, and never a clean end.
///
/// # Information for clients
///
/// Every response from a flight has its [`Role`](crate::Role) among its extensions. A response of a
/// request that passed has none. With [`cache_status`](HttpPolicy::cache_status) each response also
/// has a header (RFC 9211):
///
/// | Request | `Cache-Status` |
/// |---|---|
/// | leader | `fwd=miss` |
/// | follower | `fwd=uri-miss; collapsed` |
/// | follower that sent its own request in the end | `fwd=uri-miss; collapsed=?0` |
/// | passed | `fwd=bypass` |
///
/// Some services copy a header of the request, such as `x-request-id`, into the response. Followers
/// then get the leader's value. [`own_response_header`](HttpPolicy::own_response_header) gives each
/// follower its own.
///
/// # If your key is complete
///
/// [`trust_key`](HttpPolicy::trust_key) lets the key alone decide which requests share.
///
/// [RFC 9111 §4]: https://www.rfc-editor.org/rfc/rfc9111#section-4
#[derive(Clone, Debug, Default)]
pub struct HttpPolicy {
    pub(super) request: RequestRules,
    pub(super) response: ResponseRules,
    pub(super) flight: FlightRules,
}

impl HttpPolicy {
    /// Returns the default policy, which is safe for any correct origin.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

/// Everything at once.
impl HttpPolicy {
    /// Lets the key alone decide which requests share.
    ///
    /// Requests share if their keys and methods are equal, whatever their
    /// headers, and followers get any response. These rules stay:
    ///
    /// - Only `GET` and `HEAD` share, or the [`methods`](Self::methods) that
    ///   you name, each on its own.
    /// - `CONNECT`, upgrades and requests with a body pass, and a 1xx answer
    ///   goes to the leader only. Only one call can use a connection or read a
    ///   body.
    /// - The rules about time and size: a request's `no-cache`, late joins,
    ///   writes, and all limits of bodies.
    ///
    /// This sets other switches and nothing else. A later call can make one of
    /// them stricter again.
    ///
    /// *Risk:* the key must hold everything that an answer depends on: the
    /// user, the accepted formats, the host. If the user is missing, one user's
    /// answer and session cookie go to another (RFC 9111 §3.5, §7.3).
    #[must_use]
    pub fn trust_key(mut self) -> Self {
        self.request.trust_key();
        self.response.trust_key();
        self
    }
}

#[cfg(test)]
mod tests;
