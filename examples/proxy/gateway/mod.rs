//! The proxy: a hyper server, a pooled hyper client, and between them the layer.
//!
//! | On the way | What happens |
//! |---|---|
//! | `Host` | passed on as the client sent it; in absolute form and in HTTP/2 the target's authority takes its place (RFC 9112 §3.2.2, RFC 9113 §8.3.1). So a request is the same request whatever it came over, and coalesces |
//! | `Connection`, what it names, … | end here, both ways (RFC 9110 §7.6.1); of `TE`, `trailers` goes on |
//! | `Upgrade` of HTTP/1.1, such as WebSocket | passed on. If the upstream switches, the two connections become a tunnel, which ends with them or with the proxy |
//! | `Upgrade` to HTTP or TLS, or with a body | ignored: the request is answered in the protocol that it came in (RFC 9110 §7.8) |
//! | `CONNECT`, `TRACE` | 501 |
//! | `X-Forwarded-For`, `Via` | extended |
//! | `X-Forwarded-Host`, `X-Forwarded-Proto`, `Forwarded` | passed on, and compared, because origins go by them |
//! | Trailers | passed on, both ways; to HTTP/1.1 only those that `Trailer` announced |
//! | No answer from upstream | 502 |
//! | An answer that breaks off | breaks off here as well: the connection closes early, the stream is reset |

mod body;
mod client;
mod framing;
mod hop;
mod refusal;
mod request;
mod server;
mod summary;
mod upgrade;

pub(crate) use summary::Summary;

use bytes::Bytes;
use http::{
    HeaderName, Request, header,
    uri::{Authority, PathAndQuery},
};
use server::Proxy;
use std::{
    io::{self, ErrorKind},
    sync::Arc,
    time::Duration,
};
use summary::Counters;
use tokio::net::{TcpListener, ToSocketAddrs, lookup_host};
use tower::Layer;
use tower_singleflight::{
    HttpPolicy, SingleflightLayer,
    mode::{Http, HttpBody, Mode, SharedErrors},
};

/// What the proxy can be told.
pub(crate) struct Options {
    pub(crate) upstream: Authority,
    /// `None` leaves the layer out.
    pub(crate) coalesce: Option<Coalesce>,
}

/// What the layer can be told; `None` leaves its default.
#[derive(Default)]
pub(crate) struct Coalesce {
    pub(crate) body_limit: Option<u64>,
    #[cfg(feature = "spill")]
    pub(crate) spill: Option<u64>,
    pub(crate) join_within: Option<Duration>,
    pub(crate) cache_status: Option<String>,
    /// Requests with equal bodies of up to so many bytes share, `POST`s too.
    pub(crate) key_from_body: Option<usize>,
}

/// Takes the first of the addresses that it can.
pub(crate) async fn listen(address: impl ToSocketAddrs) -> io::Result<TcpListener> {
    let mut failure = ErrorKind::AddrNotAvailable.into();
    for address in lookup_host(address).await? {
        match server::listen(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Serves until `stop`, then finishes the requests in progress, and returns what the proxy did.
pub(crate) async fn run(
    listener: TcpListener,
    options: Options,
    stop: impl Future<Output = ()>,
) -> Summary {
    let counters = Arc::<Counters>::default();
    let client = client::service(options.upstream.clone(), counters.clone());
    let proxy = Proxy::new(options.upstream, counters.clone());
    let flights = match options.coalesce {
        None => {
            server::serve(listener, client, proxy, stop).await;
            None
        }
        Some(coalesce @ Coalesce { key_from_body: None, .. }) => {
            let layer = coalesce.by_head();
            server::serve(listener, layer.layer(client), proxy, stop).await;
            Some(layer.handle().stats())
        }
        Some(coalesce @ Coalesce { key_from_body: Some(limit), .. }) => {
            let layer = coalesce.by_body(limit);
            server::serve(listener, layer.layer(client), proxy, stop).await;
            Some(layer.handle().stats())
        }
    };
    counters.summary(flights)
}

/// Cheaper than a `String`. At the layer, a request has no other URI, whatever it came over.
type Target = Option<PathAndQuery>;

fn target<B>(request: &Request<B>) -> Target {
    request.uri().path_and_query().cloned()
}

impl Coalesce {
    fn by_head(self) -> SingleflightLayer<Http<Target>, SharedErrors> {
        let layer = SingleflightLayer::new(target).shared_errors();
        self.with_age(layer).policy(self.policy())
    }

    fn by_body(self, limit: usize) -> SingleflightLayer<HttpBody<(Target, Bytes)>, SharedErrors> {
        let key = |request: &Request<Bytes>| Some((target(request), request.body().clone()));
        let layer = SingleflightLayer::with_body(limit, key).shared_errors();
        self.with_age(layer).policy(self.policy())
    }

    fn with_age<M: Mode, E>(&self, layer: SingleflightLayer<M, E>) -> SingleflightLayer<M, E> {
        match self.join_within {
            Some(age) => layer.join_within(age),
            None => layer,
        }
    }

    fn policy(self) -> HttpPolicy {
        let compared = [header::TE, header::FORWARDED, X_FORWARDED_HOST, X_FORWARDED_PROTO];
        let mut policy =
            compared.into_iter().fold(HttpPolicy::default(), HttpPolicy::partition_header);
        if let Some(bytes) = self.body_limit {
            policy = policy.body_limit(bytes);
        }
        #[cfg(feature = "spill")]
        if let Some(bytes) = self.spill {
            policy = policy.spill(bytes);
        }
        if let Some(name) = self.cache_status {
            policy = policy.cache_status(&name);
        }
        policy
    }
}

const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
