//! Names the flights of a fleet, so that a store learns neither keys nor requests.
//!
//! A *record* is all that two requests must agree on to share a flight: the group, the version, the
//! policy, the key and the partition. A flight is found by a MAC of its record, and its result
//! opens only for an equal record, byte by byte. So two requests are compared exactly, although the
//! store sees neither.

use crate::fleet::engine::{Name, Tag};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305};
use hmac::{Hmac, Mac, digest::Output};
use sha2::Sha256;
use std::{fmt, sync::Arc};

type HmacSha256 = Hmac<Sha256>;

/// The keys of a fleet, made from the user's secret.
#[derive(Clone)]
pub(crate) struct Secret {
    name: HmacSha256,
    pub(in crate::fleet) seal: XChaCha20Poly1305,
}

/// Names the flights of one layer.
#[derive(Clone)]
pub(crate) struct Names {
    /// With the label and the group read already.
    tag: HmacSha256,
    /// With the label and the head of all records read already.
    part: HmacSha256,
    head: Vec<u8>,
    group: String,
}

/// What a flight is for: its name, and the record that the name stands for.
#[derive(Clone)]
pub(crate) struct Subject {
    name: Name,
    record: Arc<[u8]>,
}

impl Secret {
    pub(crate) fn new(secret: &[u8]) -> Self {
        let key = |label: &[u8]| mac(keyed(secret), &[b"tower-singleflight/1/", label]);
        Self { name: keyed(&key(b"name")), seal: XChaCha20Poly1305::new(&key(b"seal")) }
    }

    /// Names the flights of a layer. Layers with another group, version or fingerprint of their
    /// policy name other flights.
    pub(crate) fn names(&self, group: &str, version: &str, fingerprint: &[u8; 32]) -> Names {
        let mut head = Vec::new();
        [group.as_bytes(), version.as_bytes(), fingerprint]
            .iter()
            .for_each(|text| push(&mut head, text));
        let group_record = &head[..8 + group.len()];
        Names {
            tag: self.name.clone().chain_update("key").chain_update(group_record),
            part: self.name.clone().chain_update("flight").chain_update(&head),
            group: hexadecimal(&mac(self.name.clone(), &[b"group", group_record])[..16]),
            head,
        }
    }
}

impl Names {
    /// Returns the name of the group, which tells the engine nothing: 32 hexadecimal digits.
    pub(crate) fn group(&self) -> &str {
        &self.group
    }

    /// Names all flights that a write to this path concerns. Where the policy ignores the path,
    /// `path` is the key instead.
    pub(crate) fn tag(&self, path: &[u8]) -> Tag {
        let mut tag = [0; 16];
        tag.copy_from_slice(&mac(self.tag.clone(), &[path])[..16]);
        Tag::new(tag)
    }

    /// Names the flights of the requests with this key and this partition.
    pub(crate) fn subject(&self, tag: Tag, key: &[u8], partition: &[u8]) -> Subject {
        let mut record = Vec::with_capacity(self.head.len() + 8 + key.len() + 8 + partition.len());
        record.extend_from_slice(&self.head);
        push(&mut record, key);
        push(&mut record, partition);
        let part = mac(self.part.clone(), &[&record[self.head.len()..]]);
        Subject { name: Name::new(tag, part.into()), record: record.into() }
    }
}

impl Subject {
    pub(crate) fn name(&self) -> &Name {
        &self.name
    }

    pub(in crate::fleet) fn record(&self) -> &[u8] {
        &self.record
    }
}

/// Writes the length of a text, and the text.
fn push(record: &mut Vec<u8>, text: &[u8]) {
    record.extend_from_slice(&(text.len() as u64).to_be_bytes());
    record.extend_from_slice(text);
}

fn keyed(key: &[u8]) -> HmacSha256 {
    <HmacSha256 as Mac>::new_from_slice(key).expect("HMAC takes a key of any length")
}

fn mac(state: HmacSha256, texts: &[&[u8]]) -> Output<HmacSha256> {
    texts.iter().fold(state, Mac::chain_update).finalize().into_bytes()
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Prints no key.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").finish_non_exhaustive()
    }
}

/// Prints only what the engine learns.
impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").field("group", &self.group).finish_non_exhaustive()
    }
}

/// Prints only what the engine learns.
impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINGERPRINT: &[u8; 32] = &[7; 32];

    fn names(secret: &str, group: &str, version: &str, fingerprint: &[u8; 32]) -> Names {
        Secret::new(secret.as_bytes()).names(group, version, fingerprint)
    }

    fn subject(names: &Names, key: &str, partition: &str) -> Subject {
        names.subject(names.tag(b"/path"), key.as_bytes(), partition.as_bytes())
    }

    /// From another implementation of HMAC (Python's). They must not change without a new version
    /// of the protocol.
    #[test]
    fn the_names_are_known() {
        let names = names("0123456789abcdef", "reports", "1.2.3", FINGERPRINT);
        assert_eq!(names.group(), "c920ed62c8a6d3cc12ca05b41469387f");
        let name = *subject(&names, "key", "partition").name();
        assert_eq!(name.tag().to_string(), "9e4e2d197ff186de9dcef015480e5ddf");
        assert_eq!(name.part().to_string(), "i_5naCsyzTKuDcW2bUHtrTwobRbZjYUZFqM_pLEGgYU");
    }

    #[test]
    fn all_that_two_requests_must_agree_on_is_in_the_name() {
        let of =
            |secret: &str, group: &str, version: &str, print: u8, key: &str, partition: &str| {
                *subject(&names(secret, group, version, &[print; 32]), key, partition).name().part()
            };
        let same = of("secret", "group", "v", 7, "key", "partition");
        assert_eq!(same, of("secret", "group", "v", 7, "key", "partition"));
        assert_ne!(same, of("other", "group", "v", 7, "key", "partition"));
        assert_ne!(same, of("secret", "groupv", "", 7, "key", "partition"));
        assert_ne!(same, of("secret", "group", "", 7, "key", "partition"));
        assert_ne!(same, of("secret", "group", "v", 8, "key", "partition"));
        assert_ne!(same, of("secret", "group", "v", 7, "keyp", "artition"));
        assert_ne!(same, of("secret", "group", "v", 7, "key", "other"));
    }

    #[test]
    fn a_write_concerns_the_flights_of_its_path_in_its_group_whatever_version_and_policy() {
        let of = |secret: &str, group: &str, path: &[u8]| {
            names(secret, group, "v", FINGERPRINT).tag(path)
        };
        let same = of("secret", "group", b"/path");
        assert_eq!(same, names("secret", "group", "w", &[8; 32]).tag(b"/path"));
        assert_ne!(same, of("other", "group", b"/path"));
        assert_ne!(same, of("secret", "group/", b"path"));
        assert_ne!(same, of("secret", "group", b"/other"));
    }

    #[test]
    fn neither_name_nor_debug_output_has_a_part_of_the_request() {
        let names = names("a secret of some length", "reports", "version", FINGERPRINT);
        let subject = names.subject(names.tag(b"/path"), b"userkey", b"partition");
        let shown = format!("{:?} {names:?} {subject:?}", Secret::new(b"a secret of some length"));
        for hidden in ["secret of", "reports", "version", "/path", "userkey", "partition"] {
            assert!(!shown.contains(hidden), "{hidden} in {shown}");
        }
    }
}
