//! What must be equal, besides the user's key, for two requests to share.

use std::fmt;

use http::{HeaderMap, HeaderName, Request, header::HOST};

use super::{
    policy::{Found, RequestRules},
    record::Record,
};

/// The parts of a request head that the policy compares, byte by byte, as they came.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Partition(Record);

/// Tags of the texts in a partition.
const METHOD: u8 = 0;
const SCHEME: u8 = 1;
const AUTHORITY: u8 = 2;
const PATH: u8 = 3;
/// The path before axum's nested routers stripped it.
#[cfg(feature = "axum")]
const ORIGINAL_PATH: u8 = 4;
/// The name of a header, whose lines follow.
const HEADER: u8 = 5;
const LINE: u8 = 6;
/// The name of a header that a response varies by, whose lines follow, if there are any.
const VARY: u8 = 7;

impl Partition {
    /// `found` is what the rules find in the head.
    pub(super) fn of(rules: &RequestRules, head: &Request<()>, found: &Found) -> Self {
        let mut partition = Self(Record::default());
        partition.0.push(METHOD, head.method().as_str().as_bytes());
        if !rules.ignore_authority {
            partition.add_authority(head);
        }
        if !rules.ignore_path {
            partition.add_path(head);
        }
        for name in rules.headers.parting(found) {
            partition.add_header(HEADER, name, head.headers());
        }
        partition
    }

    fn add_authority(&mut self, head: &Request<()>) {
        if let Some(scheme) = head.uri().scheme() {
            self.0.push(SCHEME, scheme.as_str().as_bytes());
        }
        if let Some(authority) = head.uri().authority() {
            self.0.push(AUTHORITY, authority.as_str().as_bytes());
        }
        // Both where both are there: a server may go by either.
        self.add_header(HEADER, &HOST, head.headers());
    }

    fn add_path(&mut self, head: &Request<()>) {
        self.0.push(PATH, head.uri().path().as_bytes());
        #[cfg(feature = "axum")]
        if let Some(original) = head.extensions().get::<axum::extract::OriginalUri>() {
            self.0.push(ORIGINAL_PATH, original.0.path().as_bytes());
        }
    }

    fn add_header(&mut self, tag: u8, name: &HeaderName, headers: &HeaderMap) {
        self.0.push(tag, name.as_str().as_bytes());
        for line in headers.get_all(name) {
            self.0.push(LINE, line.as_bytes());
        }
    }

    /// This partition split further by the headers that a response's `Vary`
    /// named (RFC 9111 §4.1), with the values in `head`.
    ///
    /// The same names always give comparable partitions, in whatever order
    /// they came.
    pub(crate) fn with_vary(mut self, names: &[HeaderName], head: &Request<()>) -> Self {
        let mut names: Vec<_> = names.iter().collect();
        names.sort_by_key(|name| name.as_str());
        names.dedup();
        for name in names {
            self.add_header(VARY, name, head.headers());
        }
        self
    }
}

/// Names of headers only: their values are credentials.
impl fmt::Debug for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts = |tags: &'static [u8]| {
            let texts = self.0.iter().filter(move |(tag, _)| tags.contains(tag));
            texts.map(|(_, text)| String::from_utf8_lossy(text)).collect::<Vec<_>>()
        };
        f.debug_struct("Partition")
            .field("method", &texts(&[METHOD]))
            .field("path", &texts(&[PATH]))
            .field("headers", &texts(&[HEADER, VARY]))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
