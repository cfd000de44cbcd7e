//! How the origin will answer a request, well or badly.

use fastrand::Rng;
use std::time::Duration;

pub(super) struct Plan {
    pub(super) before: Duration,
    pub(super) opening: Opening,
    pub(super) kind: Kind,
    pub(super) framing: Framing,
    pub(super) length: usize,
    /// In so many bytes at a time, with a pause after each.
    pub(super) piece: usize,
    pub(super) pause: Duration,
    /// One long pause, after so many bytes.
    pub(super) stall: Option<(usize, Duration)>,
    /// After so many bytes.
    pub(super) end_early: Option<(usize, Break)>,
}

pub(super) enum Opening {
    Head,
    /// What is no HTTP.
    Garbage,
    Break(Break),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Break {
    Close,
    Reset,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    Length,
    Chunked,
    /// The body ends with the connection: closing early cannot be told from the end.
    UntilClose,
}

/// What the head says.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    pub(super) status: &'static str,
    pub(super) headers: &'static str,
    pub(super) varies: bool,
    pub(super) for_one: bool,
}

const fn shared(status: &'static str, headers: &'static str) -> Kind {
    Kind { status, headers, varies: false, for_one: false }
}

const fn for_one(status: &'static str, headers: &'static str) -> Kind {
    Kind { for_one: true, ..shared(status, headers) }
}

const fn varying(headers: &'static str) -> Kind {
    Kind { varies: true, ..shared("200 OK", headers) }
}

const KINDS: [Kind; 22] = [
    shared("200 OK", ""),
    shared("200 OK", ""),
    shared("200 OK", "cache-control: max-age=60\r\n"),
    shared("200 OK", "cache-control: max-age=60\r\n"),
    shared("200 OK", "cache-control: max-age=60\r\nvary: accept-language\r\n"),
    shared("404 Not Found", ""),
    shared("503 Service Unavailable", ""),
    varying("vary: x-kind\r\n"),
    varying("vary: x-kind\r\ncache-control: max-age=60\r\n"),
    for_one("200 OK", "cache-control: private\r\n"),
    for_one("200 OK", "cache-control: no-store\r\n"),
    for_one("200 OK", "set-cookie: session=1\r\n"),
    for_one("200 OK", "vary: *\r\n"),
    for_one("200 OK", "content-type: text/event-stream\r\n"),
    for_one("401 Unauthorized", "www-authenticate: basic\r\n"),
    for_one("302 Found", "location: /session\r\n"),
    shared("429 Too Many Requests", ""),
    shared("410 Gone", ""),
    for_one("403 Forbidden", ""),
    for_one("403 Forbidden", "set-cookie: session=1\r\n"),
    for_one("511 Network Authentication Required", ""),
    for_one("200 OK", "x-judges: yes\r\n"),
];

impl Plan {
    pub(super) fn new(rng: &mut Rng) -> Self {
        let length = length(rng);
        let framing = match rng.u8(..8) {
            0..4 => Framing::Chunked,
            7 => Framing::UntilClose,
            _ => Framing::Length,
        };
        let one_in = |rng: &mut Rng, many: u8| rng.u8(..many) == 0;
        let early = one_in(rng, 12) && length > 0;
        let stall = one_in(rng, 20);
        Self {
            before: before(rng),
            opening: opening(rng),
            kind: KINDS[rng.usize(..KINDS.len())],
            framing,
            length,
            piece: (length / rng.usize(1..25)).max(1),
            pause: Duration::from_micros(if one_in(rng, 3) { rng.u64(..4_000) } else { 0 }),
            stall: stall.then(|| (rng.usize(..=length), Duration::from_millis(rng.u64(..400)))),
            end_early: early.then(|| (rng.usize(..length), abrupt(rng, framing))),
        }
    }
}

fn abrupt(rng: &mut Rng, framing: Framing) -> Break {
    if framing == Framing::UntilClose || rng.bool() { Break::Reset } else { Break::Close }
}

fn length(rng: &mut Rng) -> usize {
    match rng.u8(..20) {
        0 => 0,
        1..12 => rng.usize(..2_000),
        12..17 => rng.usize(..64_000),
        17 => rng.usize(..300_000),
        _ => rng.usize(..1_000_000),
    }
}

fn before(rng: &mut Rng) -> Duration {
    Duration::from_micros(match rng.u8(..20) {
        0..4 => 0,
        4..19 => rng.u64(..15_000),
        _ => rng.u64(..400_000),
    })
}

fn opening(rng: &mut Rng) -> Opening {
    match rng.u8(..60) {
        0 => Opening::Garbage,
        1 => Opening::Break(Break::Close),
        2 => Opening::Break(Break::Reset),
        _ => Opening::Head,
    }
}
