//! Hashes the path of a request, so that a write finds the flights of its path.

use http::Request;
#[cfg(feature = "fleet")]
use std::borrow::Cow;

/// Hashes the path of a request, without query and host. All spellings of one path have one hash
/// (RFC 3986 §6.2.2.2).
///
/// A write seals the flights of every path with its hash, so a collision only costs a flight.
pub(super) fn path_hash<B>(head: &Request<B>) -> u64 {
    hash(original_path(head))
}

/// Returns the path of a request as the replicas of a fleet compare it: the same bytes for all
/// spellings of one path.
#[cfg(feature = "fleet")]
pub(super) fn path_bytes<B>(head: &Request<B>) -> Cow<'_, [u8]> {
    plain(original_path(head))
}

/// Returns one spelling of a path, for all of its spellings.
#[cfg(feature = "fleet")]
fn plain(path: &[u8]) -> Cow<'_, [u8]> {
    match path {
        // `http::Uri` shows the path of `http://host?query` as either.
        b"" => Cow::Borrowed(b"/"),
        _ if path.contains(&b'%') => Cow::Owned(decoded(path)),
        _ => Cow::Borrowed(path),
    }
}

/// Returns the path from before axum's nested routers stripped it.
fn original_path<B>(head: &Request<B>) -> &[u8] {
    #[cfg(feature = "axum")]
    if let Some(original) = head.extensions().get::<axum::extract::OriginalUri>() {
        return original.0.path().as_bytes();
    }
    head.uri().path().as_bytes()
}

/// Hashes eight bytes at a time, because every request pays for it.
fn hash(path: &[u8]) -> u64 {
    let words = path.chunks_exact(8);
    let rest = words.remainder();
    let (mut hash, mut percents) = (path.len() as u64, 0);
    for bytes in words {
        let word = u64::from_le_bytes(bytes.try_into().expect("a chunk has eight bytes"));
        percents |= percent_signs(word);
        hash = mix(hash, word);
    }
    let rest = rest.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
    if percents | percent_signs(rest) != 0 {
        return self::hash(&decoded(path));
    }
    mix(hash, rest)
}

fn mix(hash: u64, word: u64) -> u64 {
    (hash.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Returns zero only if no byte of the word is a percent sign.
fn percent_signs(word: u64) -> u64 {
    let (ones, signs) = (u64::MAX / 0xff, u64::MAX / 0xff * u64::from(b'%'));
    let zero_where_percent = word ^ signs;
    zero_where_percent.wrapping_sub(ones) & !zero_where_percent & (ones << 7)
}

/// Removes percent-encoding. An encoded slash becomes a plain slash. A percent sign that starts no
/// encoded byte, or was itself encoded, is left out, so the result has no percent sign.
fn decoded(path: &[u8]) -> Vec<u8> {
    let (mut bytes, mut decoded) = (path, Vec::with_capacity(path.len()));
    while let [first, tail @ ..] = bytes {
        let octet = tail.get(..2).filter(|_| *first == b'%').and_then(octet);
        decoded.extend(octet.or(Some(*first)).filter(|byte| *byte != b'%'));
        bytes = &tail[if octet.is_some() { 2 } else { 0 }..];
    }
    decoded
}

fn octet(digits: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(digits[at]).to_digit(16);
    Some((digit(0)? * 16 + digit(1)?) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash_of(uri: &str) -> u64 {
        path_hash(&Request::get(uri).body(()).unwrap())
    }

    #[test]
    fn a_path_has_one_hash_whatever_its_spelling_query_and_host() {
        for same in
            ["/items/7?a=b", "http://host/items/7", "/items/%37", "/%69tems/7?x", "/items%2f7"]
        {
            assert_eq!(hash_of(same), hash_of("/items/7"), "{same}");
        }
        for other in
            ["/items/8", "/items/7/", "/items", "/items/77", "/items/%377", "/items/%zz", "/"]
        {
            assert_ne!(hash_of(other), hash_of("/items/7"), "{other}");
        }
        assert_ne!(hash_of("/aaaaaaaa/bbbbbbbb"), hash_of("/bbbbbbbb/aaaaaaaa"));
    }
}
