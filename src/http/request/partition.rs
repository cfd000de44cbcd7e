//! The parts of a request that must be equal, besides the user's key, for two requests to share.

use crate::http::{
    policy::{HttpPolicy, Line, RequestRules, Sorted},
    request::record::{Record, texts},
};
use http::{HeaderName, Method, Request, Uri, uri::Scheme};
use std::{
    fmt,
    hash::{Hash, Hasher},
};

/// The parts of a request head that the policy compares, byte by byte. Behind them, the headers
/// that are compared only if a response varies by them.
#[derive(Clone)]
pub(crate) struct Partition {
    texts: Record,
    /// The number of bytes, from the start of `texts`, that are compared.
    compared: usize,
}

// Tags of the texts in a partition.

/// A partition without this tag is of a `GET`.
const METHOD: usize = 0;
const SCHEME: usize = 1;
const AUTHORITY: usize = 2;
const HOST: usize = 3;
/// The path, followed by the query if both are compared.
const PATH: usize = 4;
/// The path before axum's nested routers stripped it.
const ORIGINAL_PATH: usize = 5;
const QUERY: usize = 6;
/// The name of a header that is compared because a response varies by it. Its lines follow, if
/// there are any.
const NAME: usize = 7;
/// A line of a header that is compared only if a response varies by it: its name, a colon and its
/// value.
const LINE: usize = 8;
/// A line of the first header in the rules of the policy. Each further header has a tag of its own.
const FIRST_HEADER: usize = 9;

impl Partition {
    /// `sorted` are the headers of the request.
    pub(in crate::http) fn of(
        policy: &HttpPolicy,
        head: &Request<()>,
        sorted: &Sorted<'_>,
    ) -> Self {
        let rules = &policy.request;
        let mut texts =
            Record::with_room(room_for_target(rules, head.uri(), &sorted.hosts) + sorted.bytes);
        push_compared(&mut texts, rules, head, sorted);
        let compared = texts.as_bytes().len();
        for line in &sorted.others {
            texts.push_named(LINE, line.name.as_bytes(), line.value);
        }
        Self { texts, compared }
    }

    /// Compares these headers too, because a response's `Vary` named them (RFC 9111 §4.1).
    ///
    /// The order of the names does not matter.
    pub(crate) fn with_vary(mut self, names: &[HeaderName]) -> Self {
        let mut names: Vec<_> = names.iter().collect();
        names.sort_by_key(|name| name.as_str());
        names.dedup();
        let others = self.texts.split_off(self.compared);
        for name in names {
            let name = name.as_str().as_bytes();
            self.texts.push(NAME, name);
            lines_of(others.as_bytes(), name)
                .for_each(|line| self.texts.push_named(LINE, name, line));
        }
        self.compared = self.texts.as_bytes().len();
        self.texts.append(others);
        self
    }

    /// Returns the tag of the first compared text in which the two differ. [`HttpPolicy::name_of`]
    /// names it.
    pub(in crate::http) fn differs_from(&self, other: &Self) -> Option<usize> {
        let (mut ours, mut theirs) = (texts(self.compared()), texts(other.compared()));
        loop {
            match (ours.next(), theirs.next()) {
                (None, None) => return None,
                (one, two) if one == two => {}
                (Some((PATH, one)), Some((PATH, two))) if path_of(one) == path_of(two) => {
                    return Some(QUERY);
                }
                // If one lacks a text, the tag of the other's text is the smaller.
                (one, two) => {
                    return one
                        .into_iter()
                        .chain(two)
                        .map(|text| text.0)
                        .min_by_key(|tag| order_of(*tag));
                }
            }
        }
    }

    /// Returns the bytes that are compared. Under one policy, partitions are equal exactly if these
    /// are.
    pub(in crate::http) fn compared(&self) -> &[u8] {
        &self.texts.as_bytes()[..self.compared]
    }

    /// Copies the headers that it does not compare. They outlive the request.
    pub(in crate::http) fn uncompared_headers(&self) -> UncomparedHeaders {
        UncomparedHeaders(self.texts.as_bytes()[self.compared..].into())
    }
}

impl HttpPolicy {
    /// Names the part of the request with this tag.
    pub(in crate::http) fn name_of(&self, tag: usize) -> &str {
        match tag {
            METHOD => "method",
            SCHEME => "scheme",
            AUTHORITY | HOST => "authority",
            PATH => "path",
            ORIGINAL_PATH => "original-path",
            QUERY => "query",
            NAME | LINE => "vary",
            header => self.request.headers.name_at(header - FIRST_HEADER).unwrap_or("header"),
        }
    }
}

/// Texts are in the order of their tags, except that headers from a `Vary` come last.
fn order_of(tag: usize) -> (bool, usize) {
    (matches!(tag, NAME | LINE), tag)
}

/// Returns the room for the texts of the target, as a rule. It is tight, because small allocations
/// are cheaper.
fn room_for_target(rules: &RequestRules, uri: &Uri, hosts: &[Line<'_>]) -> usize {
    let authority = uri.authority().map(|authority| authority.as_str().len());
    let authority = authority.or_else(|| hosts.first().map(|host| host.value.len()));
    let target = uri.path_and_query().map(|target| target.as_str().len());
    authority.filter(|_| !rules.ignore_authority).map_or(0, |length| 2 + length)
        + target
            .filter(|_| !rules.ignore_path || !rules.ignore_query)
            .map_or(0, |length| 2 + length)
}

/// Adds the parts of a request that the policy compares.
fn push_compared(
    texts: &mut Record,
    rules: &RequestRules,
    head: &Request<()>,
    sorted: &Sorted<'_>,
) {
    // Most requests are a `GET`, and each text costs time.
    if head.method() != Method::GET {
        texts.push(METHOD, head.method().as_str().as_bytes());
    }
    if !rules.ignore_authority {
        push_origin(texts, head.uri(), &sorted.hosts);
    }
    push_target(texts, rules, head.uri());
    #[cfg(feature = "axum")]
    if let Some(original) =
        head.extensions().get::<axum::extract::OriginalUri>().filter(|_| !rules.ignore_path)
    {
        texts.push(ORIGINAL_PATH, original.0.path().as_bytes());
    }
    sorted.parting.iter().for_each(|line| texts.push(FIRST_HEADER + line.place, line.value));
}

/// Adds scheme and host, in the same form for all versions. HTTP/1.1 has the host in a header (RFC
/// 9112 §3.2), h2c has scheme and authority in the URI (RFC 9113 §8.3.1).
fn push_origin(texts: &mut Record, uri: &Uri, hosts: &[Line<'_>]) {
    if let Some(scheme) = uri.scheme().filter(|scheme| **scheme != Scheme::HTTP) {
        texts.push(SCHEME, scheme.as_str().as_bytes());
    }
    let authority = uri.authority().map(|authority| authority.as_str().as_bytes());
    match hosts {
        [host] if authority.is_none_or(|authority| authority == host.value) => {
            texts.push(AUTHORITY, host.value)
        }
        // Servers differ in which of them they use.
        _ => {
            authority.into_iter().for_each(|authority| texts.push(AUTHORITY, authority));
            hosts.iter().for_each(|host| texts.push(HOST, host.value));
        }
    }
}

/// Adds path and query.
fn push_target(texts: &mut Record, rules: &RequestRules, uri: &Uri) {
    // Usually they are one text, because each text costs time.
    if let Some(target) = uri.path_and_query().filter(|_| !rules.ignore_path && !rules.ignore_query)
    {
        texts.push(PATH, target.as_str().as_bytes());
        return;
    }
    if !rules.ignore_path {
        texts.push(PATH, uri.path().as_bytes());
    }
    if !rules.ignore_query {
        // An empty query differs from no query.
        uri.query().into_iter().for_each(|query| texts.push(QUERY, query.as_bytes()));
    }
}

fn path_of(target: &[u8]) -> &[u8] {
    target.split(|byte| *byte == b'?').next().unwrap_or_default()
}

/// The headers of a request that its partition does not compare. If the response varies by them,
/// followers must agree.
#[derive(Default)]
pub(in crate::http) struct UncomparedHeaders(Box<[u8]>);

impl UncomparedHeaders {
    pub(in crate::http) fn lines(&self, name: &HeaderName) -> impl Iterator<Item = &[u8]> {
        lines_of(&self.0, name.as_str().as_bytes())
    }
}

fn lines_of<'a>(record: &'a [u8], name: &[u8]) -> impl Iterator<Item = &'a [u8]> {
    // No name has a colon in it.
    texts(record).filter_map(move |(_, text)| text.strip_prefix(name)?.strip_prefix(b":"))
}

impl PartialEq for Partition {
    fn eq(&self, other: &Self) -> bool {
        self.compared() == other.compared()
    }
}

impl Eq for Partition {}

/// No length is hashed: the texts show where the compared part ends.
impl Hash for Partition {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.compared());
    }
}

/// Prints no headers and no query, because they may be credentials.
impl fmt::Debug for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tagged = |tag| texts(self.compared()).find(|text| text.0 == tag).map(|text| text.1);
        let method = tagged(METHOD).unwrap_or(b"GET");
        f.debug_struct("Partition")
            .field("method", &String::from_utf8_lossy(method))
            .field("path", &tagged(PATH).map(|target| String::from_utf8_lossy(path_of(target))))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
