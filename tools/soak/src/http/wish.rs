//! What a client asks for, and how long it stays.

use super::identity::{KIND, KINDS, LANGUAGES, PAGES, Page, USERS};
use fastrand::Rng;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use std::time::Duration;

pub(super) struct Wish {
    pub(super) page: Page,
    /// One of several spellings, with some query.
    pub(super) path: String,
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    pub(super) leaves: Leaves,
}

#[derive(Clone, Copy)]
pub(super) enum Leaves {
    Never,
    BeforeHead(Duration),
    InBody(usize),
    /// And comes back.
    Stalls(usize, Duration),
}

impl Wish {
    pub(super) fn any(gateway: usize, rng: &mut Rng) -> Self {
        let page = Page { gateway, page: rng.usize(..PAGES) };
        Self {
            page,
            path: path(page, rng),
            method: method(rng),
            headers: headers(rng),
            leaves: leaves(rng),
        }
    }
}

fn path(page: Page, rng: &mut Rng) -> String {
    let path = match rng.u8(..8) {
        0 => format!("/{}/%3{}", page.gateway, page.page),
        _ => page.path(),
    };
    match rng.u8(..8) {
        n @ 0..2 => format!("{path}?n={n}"),
        _ => path,
    }
}

fn method(rng: &mut Rng) -> Method {
    match rng.u8(..16) {
        0 => Method::POST,
        1 => Method::HEAD,
        _ => Method::GET,
    }
}

fn headers(rng: &mut Rng) -> HeaderMap {
    let (user, password) = USERS[rng.usize(..USERS.len())];
    let mut headers = vec![
        (user, password),
        ("accept-language", LANGUAGES[usize::from(rng.u8(..4) == 0)]),
        (KIND, KINDS[rng.usize(..KINDS.len())]),
    ];
    match rng.u8(..16) {
        0 => headers.push(("cache-control", "no-cache")),
        1 => headers.push(("cache-control", "no-store")),
        2 => headers.push(("range", "bytes=0-")),
        _ => {}
    }
    let pairs = headers
        .into_iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
    pairs.collect()
}

fn leaves(rng: &mut Rng) -> Leaves {
    match rng.u8(..16) {
        0 | 1 => Leaves::BeforeHead(Duration::from_micros(rng.u64(..20_000))),
        2 | 3 => Leaves::InBody(rng.usize(..20_000)),
        4 => Leaves::Stalls(rng.usize(..100_000), Duration::from_millis(rng.u64(..400))),
        _ => Leaves::Never,
    }
}
