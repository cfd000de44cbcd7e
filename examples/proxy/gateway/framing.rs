//! Where a message ends (RFC 9112 §6): each hop says it anew, and in one way only.

use http::{
    HeaderMap, HeaderValue,
    header::{CONTENT_LENGTH, TRANSFER_ENCODING},
};

/// A transfer coding that the proxy cannot undo.
pub(super) const UNKNOWN_CODING: &str = "a transfer coding other than chunked";

/// Leaves at most one plain `Content-Length`, and no `Transfer-Encoding`.
pub(super) fn settle(headers: &mut HeaderMap) -> Result<(), &'static str> {
    if is_chunked(headers)? || has_odd_length(headers) {
        headers.remove(CONTENT_LENGTH);
    }
    headers.remove(TRANSFER_ENCODING);
    Ok(())
}

/// hyper undoes `chunked` alone: of a `gzip, chunked` body it leaves what the next hop would take
/// for plain text.
fn is_chunked(headers: &HeaderMap) -> Result<bool, &'static str> {
    let mut lines = headers.get_all(TRANSFER_ENCODING).iter();
    match (lines.next(), lines.next()) {
        (None, _) => Ok(false),
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(true),
        _ => Err(UNKNOWN_CODING),
    }
}

/// hyper has checked that all lengths agree, and says the length itself where there is none.
fn has_odd_length(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(CONTENT_LENGTH).iter();
    match (lines.next(), lines.next()) {
        (None, _) => false,
        (Some(length), None) => !is_number(length),
        _ => true,
    }
}

fn is_number(value: &HeaderValue) -> bool {
    !value.is_empty() && value.as_bytes().iter().all(u8::is_ascii_digit)
}
