//! What the head of an answer says of it.

use super::{gateway::DOOMED, identity::KIND};
use http::{HeaderMap, Response, StatusCode, header::VARY};
use std::str::FromStr;

pub(super) struct Told {
    pub(super) answer: u64,
    pub(super) version: u64,
    pub(super) length: usize,
    /// Whether it asks for fewer requests.
    pub(super) is_too_many: bool,
    pub(super) identity: String,
    pub(super) varies: bool,
    pub(super) for_one: bool,
    pub(super) is_doomed: bool,
}

impl Told {
    pub(super) fn by<B>(response: &Response<B>) -> Option<Self> {
        let headers = response.headers();
        Some(Self {
            is_too_many: response.status() == StatusCode::TOO_MANY_REQUESTS,
            answer: parsed(headers, "x-answer")?,
            version: parsed(headers, "x-version")?,
            length: parsed(headers, "x-length")?,
            identity: parsed(headers, "x-for")?,
            varies: headers.get(VARY).is_some_and(|names| names == KIND),
            for_one: headers.contains_key("x-for-one"),
            is_doomed: headers.contains_key(DOOMED),
        })
    }
}

fn parsed<T: FromStr>(headers: &HeaderMap, name: &str) -> Option<T> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}
