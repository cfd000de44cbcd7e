//! A client's request, made ready for the upstream.
//!
//! All of it happens before the layer, so that the layer compares what the upstream will see.

use super::{
    body::{Passage, RequestBody},
    framing, hop,
    refusal::Refusal,
    server::Peer,
    upgrade,
};
use http::{
    HeaderMap, HeaderValue, Method, Request, Uri, Version,
    header::{HOST, MAX_FORWARDS, TRANSFER_ENCODING},
    request::Parts,
    uri::{self, Authority, PathAndQuery},
};
use http_body::Body;
use hyper::body::Incoming;

pub(super) fn forward(
    request: Request<Incoming>,
    peer: &Peer,
    upstream: &Authority,
) -> Result<Request<RequestBody>, Refusal> {
    let (mut head, body) = request.into_parts();
    check_method(&mut head)?;
    let host = host(&head, upstream)?;
    framing::settle(&mut head.headers).map_err(|_| Refusal::CODING)?;
    let protocols = upgrade::wanted(&head, &body);
    hop::strip_request(&mut head.headers);
    if let Some(protocols) = protocols {
        upgrade::ask(&mut head.headers, protocols);
    }
    head.headers.insert(HOST, host);
    hop::add_forwarded_for(&mut head.headers, &peer.address);
    hop::add_via(&mut head.headers, head.version);
    say_framing(&mut head.headers, &body);
    let body = Passage::of_request(body, head.version == Version::HTTP_2);
    head.uri = path(&head.uri)?;
    head.version = Version::HTTP_11;
    Ok(Request::from_parts(head, body))
}

fn check_method(head: &mut Parts) -> Result<(), Refusal> {
    match head.method {
        Method::CONNECT | Method::TRACE => Err(Refusal::METHOD),
        Method::OPTIONS => count_hop(&mut head.headers),
        _ => Ok(()),
    }
}

/// RFC 9110 §7.6.2.
fn count_hop(headers: &mut HeaderMap) -> Result<(), Refusal> {
    let hops = headers.get(MAX_FORWARDS).and_then(|value| value.to_str().ok()?.parse::<u32>().ok());
    match hops {
        None => Ok(()),
        Some(0) => Err(Refusal::LAST_HOP),
        Some(hops) => {
            headers.insert(MAX_FORWARDS, HeaderValue::from(hops - 1));
            Ok(())
        }
    }
}

/// The host that the client means. The upstream's own only if it does not say, as HTTP/1.0 may.
fn host(head: &Parts, upstream: &Authority) -> Result<HeaderValue, Refusal> {
    let mut lines = head.headers.get_all(HOST).iter();
    let host = match (head.uri.authority(), lines.next(), lines.next()) {
        (_, _, Some(_)) => return Err(Refusal::HOST),
        (Some(authority), ..) => value_of(authority),
        (None, Some(line), None) => line.clone(),
        (None, None, None) if head.version == Version::HTTP_10 => value_of(upstream),
        (None, None, None) => return Err(Refusal::HOST),
    };
    if is_host(host.as_bytes()) { Ok(host) } else { Err(Refusal::HOST) }
}

fn value_of(authority: &Authority) -> HeaderValue {
    HeaderValue::from_str(authority.as_str()).expect("an authority is printable")
}

/// A name or an address, and perhaps a port: nothing that two parsers could take for two different
/// hosts.
fn is_host(host: &[u8]) -> bool {
    let may_be = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%:[]".contains(byte);
    !host.is_empty() && host.iter().all(may_be)
}

/// Without it hyper takes a `GET` of unknown length for one without a body.
fn say_framing(headers: &mut HeaderMap, body: &Incoming) {
    if !body.is_end_stream() && body.size_hint().exact().is_none() {
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

/// Without an authority: `Host` has it, for the layer and for the upstream.
fn path(target: &Uri) -> Result<Uri, Refusal> {
    let mut parts = uri::Parts::default();
    parts.path_and_query =
        Some(target.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")));
    Uri::from_parts(parts).map_err(|_| Refusal::TARGET)
}
