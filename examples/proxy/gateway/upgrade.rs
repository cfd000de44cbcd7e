//! Upgrades, such as WebSocket: the request for one, and the tunnel once the upstream has switched
//! (RFC 9110 §7.8).

use super::hop;
use http::{
    HeaderMap, HeaderValue, Request, Version,
    header::{CONNECTION, UPGRADE},
    request::Parts,
};
use http_body::Body;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::{io::copy_bidirectional, sync::watch};

/// Returns the protocols that the upstream is asked to switch to. `None` if the request goes on as
/// a plain one, which it also is.
///
/// A request with a body is a plain one, because the tunnel would begin before the body has ended.
pub(super) fn wanted(head: &Parts, body: &impl Body) -> Option<HeaderValue> {
    let is_named = hop::members(&head.headers, &CONNECTION)
        .any(|option| option.eq_ignore_ascii_case("upgrade"));
    if !is_named || head.version != Version::HTTP_11 || !body.is_end_stream() {
        return None;
    }
    let protocols: Vec<_> =
        hop::members(&head.headers, &UPGRADE).filter(|protocol| !is_http(protocol)).collect();
    let protocols = HeaderValue::from_str(&protocols.join(", ")).ok()?;
    (!protocols.is_empty()).then_some(protocols)
}

/// True for protocols that carry HTTP. Requests in such a tunnel would bypass the rules of this
/// proxy.
fn is_http(protocol: &str) -> bool {
    let name = protocol.split('/').next().unwrap_or_default();
    ["h2c", "http", "tls"].iter().any(|http| name.eq_ignore_ascii_case(http))
}

/// Asks the upstream to switch to these protocols. `TE` ends here, because a connection that
/// switches sends no trailers.
pub(super) fn ask(headers: &mut HeaderMap, protocols: HeaderValue) {
    headers.remove(http::header::TE);
    insert(headers, protocols);
}

/// Returns the protocols that the upstream is asked for.
pub(super) fn asked<B>(request: &Request<B>) -> Option<HeaderValue> {
    request.headers().get(UPGRADE).cloned()
}

/// Returns the protocols that the upstream switched to. `None` if it was not asked for each of
/// them.
pub(super) fn agreed(answer: &HeaderMap, asked: Option<HeaderValue>) -> Option<HeaderValue> {
    let asked = HeaderMap::from_iter([(UPGRADE, asked?)]);
    let is_asked = |protocol: &str| {
        hop::members(&asked, &UPGRADE).any(|asked| asked.eq_ignore_ascii_case(protocol))
    };
    let protocols: Vec<_> = hop::members(answer, &UPGRADE).collect();
    let is_agreed = !protocols.is_empty() && protocols.iter().all(|protocol| is_asked(protocol));
    is_agreed.then(|| HeaderValue::from_str(&protocols.join(", ")).ok())?
}

/// Says that the connection goes on in these protocols.
pub(super) fn insert(headers: &mut HeaderMap, protocols: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocols);
}

/// Copies bytes both ways until both sides have ended, one of them breaks, or the proxy has
/// stopped.
///
/// A side that ends while the other goes on is a half-close: the other side is told, and its bytes
/// still arrive.
pub(super) async fn tunnel(
    client: OnUpgrade,
    upstream: OnUpgrade,
    mut running: watch::Receiver<()>,
) {
    // The client may go away before it has the head of the response.
    let Ok((client, upstream)) = tokio::try_join!(client, upstream) else { return };
    let (mut client, mut upstream) = (TokioIo::new(client), TokioIo::new(upstream));
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut upstream) => {}
        // It fails as soon as the sender is gone.
        _ = running.changed() => {}
    }
}
