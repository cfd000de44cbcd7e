//! [`HttpPolicy`]: every HTTP-only switch in one value.

mod flight;
mod request;
mod response;

pub(super) use flight::FlightRules;
pub use flight::LateJoin;
pub(super) use request::RequestRules;
pub(super) use response::ResponseRules;

/// What may be shared over HTTP, and how.
///
/// The default is safe for any correct origin: RFC 9111 §4 lets one response
/// answer several requests only where it may be reused for each, and every
/// rule here keeps to that. Each rule has a switch that relaxes it alone; a
/// header that cannot be read is taken for the strictest it could say.
///
/// | Question | Default | Switches |
/// |---|---|---|
/// | Who may share? | `GET`, `HEAD`, without a body | [`methods`], [`ignore_request_body`] |
/// | With whom? | same method, scheme, authority, path, `Accept`, `Accept-Encoding`, `Accept-Language`, `Origin`, `Authorization`, `Proxy-Authorization`, `Cookie`, `If-None-Match`, `If-Modified-Since` | [`partition_header`], [`without_partition_header`], [`ignore_authority`], [`ignore_path`] |
/// | Who passes? | `CONNECT`, `Upgrade`, `Expect`, `Range`, `If-Range`, `If-Match`, `If-Unmodified-Since`, `no-store` | [`pass_request_header`], [`allow_request_header`], [`ignore_request_no_store`] |
/// | Who wants it fresh? | `no-cache`, `max-age=0` | [`ignore_request_no_cache`] |
/// | Which response is the leader's alone? | 1xx, 206, 401, 403, 407, 428, 429, 431, 511 | [`veto_status`], [`share_status`] |
/// | | `Set-Cookie` | [`share_set_cookie`] |
/// | | `private`, `no-store`, `no-cache` | [`share_private`], [`share_no_store`], [`share_no_cache`] |
/// | | `Vary: *` | [`ignore_vary`] |
/// | | `text/event-stream`, `multipart/x-mixed-replace` | [`veto_content_type`], [`share_content_type`] |
/// | | known to be larger than 16 MiB | [`body_limit`], [`share_large_bodies`] |
/// | For how long is its key remembered? | 30 s, 4096 keys | [`unshareable_memory`] |
/// | Who joins after the head? | whoever comes while it is explicitly fresh | [`late_joins`] |
/// | Does a write part reads before and after it? | yes | [`seal_on_write`] |
/// | How far may a reader lag? | 16 MiB, then 1 s | [`body_limit`], [`slow_reader`] |
/// | How much may all bodies hold? | 256 MiB | [`body_budget`] |
/// | Are clients told? | no | [`cache_status`] |
///
/// [`methods`]: Self::methods
/// [`ignore_request_body`]: Self::ignore_request_body
/// [`partition_header`]: Self::partition_header
/// [`without_partition_header`]: Self::without_partition_header
/// [`ignore_authority`]: Self::ignore_authority
/// [`ignore_path`]: Self::ignore_path
/// [`pass_request_header`]: Self::pass_request_header
/// [`allow_request_header`]: Self::allow_request_header
/// [`ignore_request_no_store`]: Self::ignore_request_no_store
/// [`ignore_request_no_cache`]: Self::ignore_request_no_cache
/// [`veto_status`]: Self::veto_status
/// [`share_status`]: Self::share_status
/// [`share_set_cookie`]: Self::share_set_cookie
/// [`share_private`]: Self::share_private
/// [`share_no_store`]: Self::share_no_store
/// [`share_no_cache`]: Self::share_no_cache
/// [`ignore_vary`]: Self::ignore_vary
/// [`veto_content_type`]: Self::veto_content_type
/// [`share_content_type`]: Self::share_content_type
/// [`body_limit`]: Self::body_limit
/// [`share_large_bodies`]: Self::share_large_bodies
/// [`unshareable_memory`]: Self::unshareable_memory
/// [`late_joins`]: Self::late_joins
/// [`seal_on_write`]: Self::seal_on_write
/// [`slow_reader`]: Self::slow_reader
/// [`body_budget`]: Self::body_budget
/// [`cache_status`]: Self::cache_status
#[derive(Clone, Debug, Default)]
pub struct HttpPolicy {
    pub(super) request: RequestRules,
    pub(super) response: ResponseRules,
    pub(super) flight: FlightRules,
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
