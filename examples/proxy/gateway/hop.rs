//! What ends at this hop (RFC 9110 §7.6.1), and what it adds.

use http::{
    HeaderMap, HeaderName, HeaderValue, Version,
    header::{
        CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
        VARY, VIA,
    },
};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Removes all that is meant for this connection alone.
pub(super) fn strip(headers: &mut HeaderMap) {
    for name in named_by_connection(headers) {
        headers.remove(name);
    }
    for name in [CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, TE, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(name);
    }
}

/// The same for a request. That the client takes trailers is said to the next hop as well.
pub(super) fn strip_request(headers: &mut HeaderMap) {
    let takes_trailers =
        members(headers, &TE).any(|member| member.eq_ignore_ascii_case("trailers"));
    strip(headers);
    if takes_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONNECTION, HeaderValue::from_static("te"));
    }
}

/// Trailers have no say in connections and framing (RFC 9110 §6.5.1).
pub(super) fn strip_trailers(trailers: &mut HeaderMap) {
    strip(trailers);
    for name in [CONTENT_LENGTH, HOST, TRAILER] {
        trailers.remove(name);
    }
}

/// In one line, because there are origins that read only the first.
pub(super) fn add_forwarded_for(headers: &mut HeaderMap, client: &HeaderValue) {
    let lines = headers.get_all(X_FORWARDED_FOR).iter().chain([client]);
    let lines: Vec<&[u8]> = lines.map(HeaderValue::as_bytes).collect();
    let line = match lines[..] {
        [_] => client.clone(),
        _ => HeaderValue::from_bytes(&lines.join(&b", "[..]))
            .expect("header values make a header value"),
    };
    headers.insert(X_FORWARDED_FOR, line);
}

/// Says that the message came through here, and how it came (RFC 9110 §7.6.3).
pub(super) fn add_via(headers: &mut HeaderMap, version: Version) {
    let via = match version {
        Version::HTTP_2 => "2 singleflight",
        Version::HTTP_10 => "1.0 singleflight",
        _ => "1.1 singleflight",
    };
    headers.append(VIA, HeaderValue::from_static(via));
}

/// A message must not name what is meant for everybody; were it to, the next hop would take it for
/// another message.
fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let names = members(headers, &CONNECTION).filter(|member| !is_option(member));
    let names = names.filter_map(|member| HeaderName::from_bytes(member.as_bytes()).ok());
    names.filter(|name| ![HOST, CACHE_CONTROL, VARY].contains(name)).collect()
}

/// What nearly every `Connection` says, and names no header.
fn is_option(member: &str) -> bool {
    member.eq_ignore_ascii_case("keep-alive") || member.eq_ignore_ascii_case("close")
}

pub(super) fn members<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim)
}
