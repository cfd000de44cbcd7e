//! The side of the upstream: one hop there and back.

use super::{
    body::{Passage, RequestBody},
    framing, hop,
    summary::Counters,
    upgrade,
};
use http::{
    HeaderValue, Request, Response, StatusCode, Uri, Version,
    uri::{Authority, Scheme},
};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use std::{error::Error, mem, sync::Arc, time::Duration};
use tower::{BoxError, Service, service_fn};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Shorter than most servers keep a connection open, so that few of those in the pool are stale.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// What the server needs of the service, with the layer or without.
pub(super) trait Upstream<B>:
    Service<Request<RequestBody>, Response = Response<B>, Error: Send, Future: Send>
    + Clone
    + Send
    + 'static
{
}

impl<S, B> Upstream<B> for S where
    S: Service<Request<RequestBody>, Response = Response<B>, Error: Send, Future: Send>
        + Clone
        + Send
        + 'static
{
}

/// A request that its pooled connection turns out unable to send is sent on another one; nothing is
/// ever sent twice.
pub(super) fn service(
    upstream: Authority,
    counters: Arc<Counters>,
) -> impl Service<Request<RequestBody>, Response = Response<Passage>, Error = BoxError, Future: Send>
+ Clone
+ Send
+ Sync {
    let mut builder = Client::builder(TokioExecutor::new());
    builder.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE_TIMEOUT);
    let client = Arc::new(builder.build::<_, RequestBody>(connector()));
    service_fn(move |mut request| {
        counters.count_upstream_call();
        address(&mut request, &upstream);
        let asked = upgrade::asked(&request);
        let response = client.request(request);
        async move {
            let response = response.await.map_err(BoxError::from);
            response
                .and_then(|response| receive(response, asked))
                .inspect_err(|error| report(&**error))
        }
    })
}

/// Tells the client where to connect; what it sends is the path alone.
fn address(request: &mut Request<RequestBody>, upstream: &Authority) {
    let mut parts = mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(upstream.clone());
    *request.uri_mut() = Uri::from_parts(parts).expect("it has all its parts");
}

fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    connector
}

/// Here and not after the layer: so it is done once a flight, and the layer judges what clients
/// get.
///
/// `asked` are the protocols that the request asked for.
fn receive(
    response: Response<Incoming>,
    asked: Option<HeaderValue>,
) -> Result<Response<Passage>, BoxError> {
    let (mut head, body) = response.into_parts();
    let agreed = upgrade::agreed(&head.headers, asked);
    framing::settle(&mut head.headers)?;
    hop::strip(&mut head.headers);
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        let protocols = agreed.ok_or("it switched to a protocol that nobody asked for")?;
        upgrade::insert(&mut head.headers, protocols);
    }
    hop::add_via(&mut head.headers, head.version);
    head.version = Version::HTTP_11;
    Ok(Response::from_parts(head, Passage::of_response(body)))
}

fn report(error: &(dyn Error + 'static)) {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    let causes: String = causes.map(|cause| format!(": {cause}")).collect();
    eprintln!("upstream: {error}{causes}");
}
