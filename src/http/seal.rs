//! What a write does to the flights of its key and of its path.

use crate::{layer::scope::Scope, panics::Debris};
use http::Request;
use std::sync::Arc;

/// A read that comes after a write must not get an answer from before it (RFC 9111 §4.4). A write takes effect at some
/// time between its start and its answer, so the flights of its key and of its path are sealed at the start, and again
/// when this is dropped: when it is answered, fails or is cancelled.
pub(super) struct Seal<K: Eq> {
    scope: Arc<Scope<K>>,
    hash: u64,
    /// Until it is dropped.
    key: Option<K>,
    path: u64,
}

/// The number of a request's path: the same for each of its spellings (RFC 3986 §6.2.2.2), whatever query and host. Two
/// paths with one number are sealed together.
pub(super) fn number_of_path<B>(head: &Request<B>) -> u64 {
    #[cfg(feature = "axum")]
    if let Some(original) = head.extensions().get::<axum::extract::OriginalUri>() {
        return number(original.0.path().as_bytes());
    }
    number(head.uri().path().as_bytes())
}

/// Eight bytes at a time: it is computed for every request.
fn number(path: &[u8]) -> u64 {
    let mix = |number: u64, word: u64| (number.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let words = path.chunks_exact(8);
    let rest = words.remainder();
    let (mut number, mut encoded) = (path.len() as u64, 0);
    for bytes in words {
        let word = u64::from_le_bytes(bytes.try_into().expect("it has eight bytes"));
        encoded |= has_percent(word);
        number = mix(number, word);
    }
    let rest = rest.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
    if encoded | has_percent(rest) != 0 {
        return self::number(&decoded(path));
    }
    mix(number, rest)
}

/// Not zero if a byte of the word is a percent sign.
fn has_percent(word: u64) -> u64 {
    let (ones, signs) = (u64::MAX / 0xff, u64::MAX / 0xff * u64::from(b'%'));
    let zero_where_percent = word ^ signs;
    zero_where_percent.wrapping_sub(ones) & !zero_where_percent & (ones << 7)
}

/// Without percent-encoding. A slash that was encoded is no other than one that was not; a percent sign that encodes
/// nothing, or was encoded itself, is left out.
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

impl<K: Eq> Seal<K> {
    pub(super) fn new(scope: Arc<Scope<K>>, hash: u64, key: K, path: u64) -> Self {
        let mut seal = Self { scope, hash, key: Some(key), path };
        let mut debris = Debris::default();
        seal.flights(&mut debris);
        if debris.holds_panic() {
            // Else its drop would do the same once more.
            debris.sweep(seal.key.take());
        }
        debris.rethrow_or(seal)
    }

    fn flights(&self, debris: &mut Debris) {
        if let Some(key) = &self.key {
            debris.run(|| self.scope.each_part(|part| part.seal(self.hash, &|known| known == key, self.path)));
        }
    }
}

impl<K: Eq> Drop for Seal<K> {
    fn drop(&mut self) {
        let mut debris = Debris::default();
        self.flights(&mut debris);
        debris.sweep(self.key.take());
        debris.rethrow();
    }
}

/// Seals all flights when it is dropped: of a write whose key nobody knows.
pub(super) struct SealAll<K>(pub(super) Arc<Scope<K>>);

impl<K> Drop for SealAll<K> {
    fn drop(&mut self) {
        self.0.each_part(|part| part.forget_if(&mut |_| true));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number_of(uri: &str) -> u64 {
        number_of_path(&Request::get(uri).body(()).unwrap())
    }

    #[test]
    fn a_path_has_one_number_whatever_its_spelling_query_and_host() {
        for same in ["/items/7?a=b", "http://host/items/7", "/items/%37", "/%69tems/7?x", "/items%2f7"] {
            assert_eq!(number_of(same), number_of("/items/7"), "{same}");
        }
        for other in ["/items/8", "/items/7/", "/items", "/items/77", "/items/%377", "/items/%zz", "/"] {
            assert_ne!(number_of(other), number_of("/items/7"), "{other}");
        }
        assert_ne!(number_of("/aaaaaaaa/bbbbbbbb"), number_of("/bbbbbbbb/aaaaaaaa"));
    }
}
