//! [`HttpPolicy`]: every HTTP-only switch in one value.

mod cookies;
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

/// What may be shared over HTTP, and how: one page for the owner of a gateway.
///
/// The default is safe for any correct origin. Each rule below has a switch that relaxes it alone. The layer is
/// [`SingleflightLayer::new`](crate::SingleflightLayer::new), and takes this by
/// [`policy`](crate::SingleflightLayer::policy):
///
/// ```
/// use http::HeaderName;
/// use tower_singleflight::{HttpPolicy, SingleflightLayer};
///
/// let policy = HttpPolicy::default()
///     .partition_header(HeaderName::from_static("x-api-key"))
///     .cache_status("gateway");
/// let layer = SingleflightLayer::new(|req| req.uri().to_string()).policy(policy);
/// # let _ = layer.handle();
/// ```
///
/// A cache may answer a request with a stored response only if that may be reused for it; else the request "needs to be
/// forwarded" ([RFC 9111 §4]). The same holds for a response that is still on its way. So what your closure returns is
/// only the *primary* key, and these rules decide who shares under it. What cannot be read (a malformed
/// `Cache-Control`, a garbled `Vary`) counts as the strictest that it could say.
///
/// # Before a flight: who may share at all
///
/// | Request | | Why | Switch |
/// |---|---|---|---|
/// | `GET`, `HEAD`, without a body | shares, each method apart | safe and cacheable, RFC 9110 §9.2 | [`methods`](HttpPolicy::methods), [`ignore_request_body`](HttpPolicy::ignore_request_body) |
/// | other methods, or with a body | passes | it may act, and a body has one owner | the same |
/// | `Range`, `If-Range`, `If-Match`, `If-Unmodified-Since`, `Expect` | passes | the answer is to this very request, RFC 9110 §13, §14, §10.1.1 | [`allow_request_header`](HttpPolicy::allow_request_header), [`pass_request_header`](HttpPolicy::pass_request_header) |
/// | `Upgrade`, `CONNECT` | passes | the answer is a connection, RFC 9110 §7.8, §9.3.6 | `allow_request_header(UPGRADE)`; `CONNECT` always passes |
/// | `Cache-Control: no-store` | passes | RFC 9111 §5.2.1.5 | [`ignore_request_no_store`](HttpPolicy::ignore_request_no_store) |
/// | `no-cache`, `max-age=0` | joins before the head is known, not later | it wants an answer no older than itself, RFC 9111 §5.2.1.4 | [`ignore_request_no_cache`](HttpPolicy::ignore_request_no_cache) |
///
/// # With whom: the partition
///
/// Two requests share only if all of these are equal, compared byte by byte: method; scheme, where a missing one is
/// `http`; authority, or else `Host`, so that clients of HTTP/1.1 and of h2c meet; path and query; `Accept`, `Accept-Encoding`, `Accept-Language`, `Origin`; `Authorization`, `Proxy-Authorization`,
/// `Cookie` (each user shares with nobody but themselves, RFC 9111 §3.5); `If-None-Match`, `If-Modified-Since` (a 304 is
/// an answer to those that asked for it). Switches: [`partition_header`](HttpPolicy::partition_header),
/// [`without_partition_header`](HttpPolicy::without_partition_header),
/// [`partition_cookies`](HttpPolicy::partition_cookies) (only some cookies, such as the session's),
/// [`ignore_authority`](HttpPolicy::ignore_authority), [`ignore_path`](HttpPolicy::ignore_path),
/// [`ignore_query`](HttpPolicy::ignore_query).
///
/// **What is in none of these must be in your key, or become a partition header:** API keys, identity that a middleware
/// put into the extensions, client certificates, `X-Forwarded-*` headers that your backend goes by.
///
/// # At the head: who gets the response
///
/// | Response | Followers | Why | Switch |
/// |---|---|---|---|
/// | anything else, 404, 410, 451 and 5xx too | share it | a failing upstream should see one request | [`veto_status`](HttpPolicy::veto_status) |
/// | a *refusal*: any other 4xx, 511, or what [`share_if`](HttpPolicy::share_if) says `false` to | The leader keeps it; followers go on together in one next flight; after [`refusals`](HttpPolicy::refusals) in a row a 429 reaches all who are left, and with any other refusal each sends its own request. Never remembered. | it judges the one who asked, RFC 9110 §15.5, RFC 6585 | [`share_status`](HttpPolicy::share_status), [`veto_status`](HttpPolicy::veto_status), [`share_if`](HttpPolicy::share_if) |
/// | `Set-Cookie` | send their own requests | RFC 6265 §3, RFC 9111 §7.3 | [`share_set_cookie`](HttpPolicy::share_set_cookie) |
/// | `private`, `no-store`, `no-cache` | the same | RFC 9111 §5.2.2 | [`share_private`](HttpPolicy::share_private), [`share_no_store`](HttpPolicy::share_no_store), [`share_no_cache`](HttpPolicy::share_no_cache) |
/// | 201, 202, 302, 303, 307 and other 2xx and 3xx that no cache could store: without `public`, `max-age` or `s-maxage` above 0 | the same | a `Location` may be one client's own; RFC 9110 §15.1, RFC 9111 §3 | [`share_status`](HttpPolicy::share_status) |
/// | 206 | the same | RFC 9110 §15.3.7 | [`share_status`](HttpPolicy::share_status) |
/// | 1xx | the same | 101 is a connection, RFC 9110 §15.2 | none |
/// | `Vary: *` | the same | RFC 9110 §12.5.5 | [`ignore_vary`](HttpPolicy::ignore_vary) |
/// | `Vary` on a header outside the partition | share it if they agree in that header; the others coalesce among themselves | RFC 9111 §4.1 | [`ignore_vary`](HttpPolicy::ignore_vary) |
/// | `text/event-stream`, `multipart/x-mixed-replace` | send their own requests | they never end | [`share_content_type`](HttpPolicy::share_content_type), [`veto_content_type`](HttpPolicy::veto_content_type) |
/// | known to be larger than 16 MiB | the same | memory | [`body_limit`](HttpPolicy::body_limit), [`share_large_bodies`](HttpPolicy::share_large_bodies) |
///
/// A refusal is one whatever its headers say. In all other rows where followers send their own requests, they do so at
/// once, in parallel. Their key is remembered as unshareable for a while, so that later requests do not wait in vain
/// ([`unshareable_memory`](HttpPolicy::unshareable_memory)).
///
/// # After the head
///
/// A request that comes while the body streams joins if the response says that it is fresh (`max-age` or `s-maxage`,
/// less its `Age`, RFC 9111 §4.2), its first byte is still held, the flight is younger than `join_within`, and no write
/// came between ([`late_joins`](HttpPolicy::late_joins)). Its response carries the `Age` that it has by then (§5.1). With
/// `max_waiters` set, nobody joins after the head.
///
/// # Writes
///
/// A request with an unsafe method seals the flights of its key, and those of its path whatever their key, query and
/// host, when it is sent and again when it is answered: a read that comes after a write never gets an answer from before
/// it (RFC 9111 §4.4). Each spelling of a path counts (RFC 3986 §6.2.2.2). The methods that IANA registers as
/// safe seal nothing: `GET`, `HEAD`, `OPTIONS`, `TRACE`, `PROPFIND`, `REPORT`, `SEARCH`, `QUERY`, `PRI`. Your closure is
/// called for writes too: where a write changes what is read by another path, it has to return the key of that
/// ([`seal_on_write`](HttpPolicy::seal_on_write)). The path alone makes a good key, `|req| req.uri().path().to_owned()`:
/// then `forget("/x")` reaches all reads of its path, whatever their query. Host and query are
/// compared besides. The whole URI is another one in HTTP/2, where scheme and host are in it, than in HTTP/1.1: as the
/// key it would keep the clients of a server that speaks both apart, and their writes from each other's reads.
///
/// # Bodies
///
/// [`SharedBody`](crate::SharedBody) streams each frame to every reader as it comes, trailers too, and copies nothing.
///
/// | A reader | | Switch |
/// |---|---|---|
/// | is behind by less than 16 MiB, its window | delays nobody: what it lacks is kept | [`body_limit`](HttpPolicy::body_limit) |
/// | is slow, and its window is full | the upstream pauses until it has caught up by half; newcomers lead their own flight meanwhile | [`slow_reader`](HttpPolicy::slow_reader) |
/// | takes nothing for 1 s of a pause | ends with an error, if it is more than half a window behind; the others go on | [`slow_reader`](HttpPolicy::slow_reader) |
/// | has, with other slow ones, held the others back for 30 s in all | ends with an error, if it is more than half a window behind; the others go on | [`hold_back_at_most`](HttpPolicy::hold_back_at_most) |
/// | is behind while all bodies of the group hold 256 MiB | the upstream pauses until they hold less; if the reader takes nothing for 1 s, it ends with an error; nobody new joins | [`body_budget`](HttpPolicy::body_budget) |
///
/// An upstream that fails or is cut short is an error for every reader, and never a clean end.
///
/// # What clients are told
///
/// Every response that a flight gave has its [`Role`](crate::Role) among its extensions; one that passed has none. With
/// [`cache_status`](HttpPolicy::cache_status) it says so in a header (RFC 9211): a leader `fwd=miss`, a follower
/// `fwd=uri-miss; collapsed`, a follower that sent its own request after all `fwd=uri-miss; collapsed=?0`, and one that
/// passed `fwd=bypass`.
///
/// A response that repeats a header of its request, such as `x-request-id`, repeats the leader's.
/// [`own_response_header`](HttpPolicy::own_response_header) gives each follower its own.
///
/// # When your key is complete
///
/// [`trust_key`](HttpPolicy::trust_key) lets it decide alone.
///
/// [RFC 9111 §4]: https://www.rfc-editor.org/rfc/rfc9111#section-4
#[derive(Clone, Debug, Default)]
pub struct HttpPolicy {
    pub(super) request: RequestRules,
    pub(super) response: ResponseRules,
    pub(super) flight: FlightRules,
}

impl HttpPolicy {
    /// The default policy: safe for any correct origin. The same as `HttpPolicy::default()`.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

/// Everything at once.
impl HttpPolicy {
    /// Lets the user's key alone decide who shares.
    ///
    /// Requests share if their keys and methods are equal, whatever their
    /// headers, and followers get any response. What is left:
    ///
    /// - `GET` and `HEAD` only, or [`methods`](Self::methods), each apart;
    /// - `CONNECT`, upgrades and requests with a body pass; a 1xx answer stays
    ///   the leader's. These are not about identity: a connection or a body
    ///   stream has one owner;
    /// - what is about time or size, not about whose answer it is: a request's
    ///   `no-cache`, late joins, writes, and all limits of bodies.
    ///
    /// It sets the other switches and nothing else: later calls can tighten
    /// one again.
    ///
    /// *Risk:* the key must hold all that an answer depends on: who asks, what
    /// they accept, which host. If it lacks the user, one user's answer and
    /// session cookie go to another (RFC 9111 §3.5, §7.3).
    #[must_use]
    pub fn trust_key(mut self) -> Self {
        self.request.trust_key();
        self.response.trust_key();
        self
    }
}

#[cfg(test)]
mod tests;
