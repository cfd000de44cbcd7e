//! For random pairs of requests and any response: a follower gets its leader's response exactly
//! when a slow and obvious restatement of the rules says that it may.

use crate::support::{Ask, Bench, LISTED, by_nothing, flow, read, reply, role, settle, with_body};
use http::{Method, Request};
use http_body_util::Full;
use proptest::{
    collection::vec,
    prelude::*,
    sample::select,
    test_runner::{Config, TestRunner},
};
use std::{cell::Cell, time::Duration};
use tower_singleflight::{HttpPolicy, Role};

const LIMIT: u64 = 100;

type Line = (&'static str, &'static str);

#[derive(Clone, Debug)]
struct Wish {
    method: &'static str,
    uri: &'static str,
    lines: Vec<Line>,
    body: bool,
}

#[derive(Clone, Debug)]
struct Reply {
    status: u16,
    lines: Vec<Line>,
}

#[derive(Clone, Debug)]
enum When {
    BeforeTheHead { leader_goes: bool },
    AfterTheHead { seconds: u64, first_byte_is_gone: bool },
}

#[derive(Clone, Debug)]
struct Case {
    leader: Wish,
    follower: Wish,
    reply: Reply,
    when: When,
    write_between: bool,
}

// What the lines mean, told by hand.

#[derive(Clone, Copy, Default)]
struct Said {
    broken: bool,
    public: bool,
    private: bool,
    no_store: bool,
    no_cache: bool,
    max_age: Option<u64>,
    s_maxage: Option<u64>,
}

const NOTHING: Said = Said {
    broken: false,
    public: false,
    private: false,
    no_store: false,
    no_cache: false,
    max_age: None,
    s_maxage: None,
};

const CACHE_CONTROL: [(&str, Said); 24] = [
    ("", NOTHING),
    ("public", Said { public: true, ..NOTHING }),
    ("private", Said { private: true, ..NOTHING }),
    ("Private=\"x, y\"", Said { private: true, ..NOTHING }),
    ("no-store", Said { no_store: true, ..NOTHING }),
    ("public, NO-STORE", Said { public: true, no_store: true, ..NOTHING }),
    ("no-cache", Said { no_cache: true, ..NOTHING }),
    ("no-cache=\"set-cookie\"", Said { no_cache: true, ..NOTHING }),
    ("max-age=0", Said { max_age: Some(0), ..NOTHING }),
    ("max-age=5", Said { max_age: Some(5), ..NOTHING }),
    ("max-age=60", Said { max_age: Some(60), ..NOTHING }),
    ("MAX-AGE=\"60\"", Said { max_age: Some(60), ..NOTHING }),
    ("max-age=5, s-maxage=60", Said { max_age: Some(5), s_maxage: Some(60), ..NOTHING }),
    ("s-maxage=0, max-age=60", Said { max_age: Some(60), s_maxage: Some(0), ..NOTHING }),
    ("max-age=60, private", Said { max_age: Some(60), private: true, ..NOTHING }),
    ("max-age=soon", Said { max_age: Some(0), ..NOTHING }),
    ("max-age=60, max-age=5", Said { max_age: Some(5), ..NOTHING }),
    ("x=\"no-store, private\"", NOTHING),
    ("not-private, no-storey", NOTHING),
    ("must-revalidate,,", NOTHING),
    ("private private", Said { broken: true, ..NOTHING }),
    ("x=\"never closed", Said { broken: true, ..NOTHING }),
    ("max-age=60; public", Said { broken: true, ..NOTHING }),
    ("=60", Said { broken: true, ..NOTHING }),
];

/// `None`: it cannot be read. `*` is a name here.
const VARY: [(&str, Option<&[&str]>); 10] = [
    ("", Some(&[])),
    ("x-kind", Some(&["x-kind"])),
    ("X-Kind , x-other", Some(&["x-kind", "x-other"])),
    ("x-other", Some(&["x-other"])),
    ("Accept-Encoding", Some(&["accept-encoding"])),
    ("cookie, host", Some(&["cookie", "host"])),
    ("*", Some(&["*"])),
    ("x-kind, *", Some(&["x-kind", "*"])),
    ("x kind", None),
    ("\"x-kind\"", None),
];

const AGE: [(&str, Option<u64>); 5] =
    [("0", Some(0)), ("4", Some(4)), ("59", Some(59)), ("60", Some(60)), ("x", None)];
const LENGTH: [(&str, Option<u64>); 4] =
    [("0", Some(0)), ("100", Some(100)), ("101", Some(101)), ("x", None)];

const PASSING: [&str; 6] =
    ["range", "if-range", "if-match", "if-unmodified-since", "expect", "upgrade"];

// The restatement.

fn all<'a>(lines: &'a [Line], name: &str) -> Vec<&'a str> {
    lines.iter().filter(|(known, _)| *known == name).map(|(_, value)| *value).collect()
}

fn meaning<T: Copy>(table: &[(&str, T)], value: &str) -> T {
    table.iter().find(|(known, _)| *known == value).expect("a value of the table").1
}

fn cache_control(lines: &[Line]) -> Said {
    let mut whole = NOTHING;
    for value in all(lines, "cache-control") {
        let said = meaning(&CACHE_CONTROL, value);
        whole.broken |= said.broken;
        whole.public |= said.public;
        whole.private |= said.private;
        whole.no_store |= said.no_store;
        whole.no_cache |= said.no_cache;
        let least = |one: Option<u64>, other: Option<u64>| one.into_iter().chain(other).min();
        whole.max_age = least(whole.max_age, said.max_age);
        whole.s_maxage = least(whole.s_maxage, said.s_maxage);
    }
    whole
}

fn flies(wish: &Wish) -> bool {
    if wish.method != "GET" && wish.method != "HEAD" {
        return false;
    }
    if wish.body {
        return false;
    }
    for name in PASSING {
        if !all(&wish.lines, name).is_empty() {
            return false;
        }
    }
    if all(&wish.lines, "connection").iter().any(|value| value.to_lowercase().contains("upgrade")) {
        return false;
    }
    let said = cache_control(&wish.lines);
    !said.broken && !said.no_store
}

fn same_partition(one: &Wish, other: &Wish) -> bool {
    if one.method != other.method {
        return false;
    }
    // None of the URIs has a query.
    if one.uri != other.uri {
        return false;
    }
    LISTED.iter().chain(&["host"]).all(|name| all(&one.lines, name) == all(&other.lines, name))
}

fn vetoed(reply: &Reply, method: &str) -> bool {
    let said = cache_control(&reply.lines);
    let sets_a_cookie = !all(&reply.lines, "set-cookie").is_empty();
    let forbids = said.broken || said.private || said.no_store || said.no_cache;
    let varies = all(&reply.lines, "vary");
    let varies_by_anything =
        varies.iter().any(|value| meaning(&VARY, value).is_none_or(|names| names.contains(&"*")));
    let is_endless = all(&reply.lines, "content-type").iter().any(|value| {
        value.to_lowercase().starts_with("text/event-stream")
            || value.to_lowercase().starts_with("multipart/x-mixed-replace")
    });
    let has_a_body = method != "HEAD" && reply.status != 304;
    let is_large = all(&reply.lines, "content-length")
        .iter()
        .any(|value| meaning(&LENGTH, value).is_none_or(|n| n > LIMIT));
    let status_keeps = match reply.status {
        429 => return false,
        200 | 203 | 204 | 300 | 301 | 304 | 308 | 404 | 410 | 451 => false,
        ..200 | 206 | 400..=499 | 511 => true,
        200..=399 => {
            said.broken
                || !(said.public || said.s_maxage.or(said.max_age).is_some_and(|age| age > 0))
        }
        _ => false,
    };
    status_keeps
        || sets_a_cookie
        || forbids
        || varies_by_anything
        || is_endless
        || (has_a_body && is_large)
}

fn agree_in_vary(one: &Wish, other: &Wish, reply: &Reply) -> bool {
    all(&reply.lines, "vary").iter().all(|value| {
        let names = meaning(&VARY, value).unwrap_or(&[]);
        names.iter().all(|name| all(&one.lines, name) == all(&other.lines, name))
    })
}

fn is_fresh_after(reply: &Reply, seconds: u64) -> bool {
    let said = cache_control(&reply.lines);
    let lifetime = said.s_maxage.or(said.max_age).unwrap_or(0);
    let ages: Vec<_> = all(&reply.lines, "age").iter().map(|value| meaning(&AGE, value)).collect();
    if ages.contains(&None) {
        return false;
    }
    let age = ages.into_iter().flatten().max().unwrap_or(0);
    age + seconds < lifetime
}

fn wants_fresh(wish: &Wish) -> bool {
    if all(&wish.lines, "cache-control").is_empty() {
        return !all(&wish.lines, "pragma").is_empty();
    }
    let said = cache_control(&wish.lines);
    said.no_cache || said.max_age == Some(0)
}

fn may_share(case: &Case) -> bool {
    let Case { leader, follower, reply, .. } = case;
    if !flies(leader) || !flies(follower) || !same_partition(leader, follower) {
        return false;
    }
    // A 429 is for all who wait, whatever it varies by, and for nobody who comes later.
    let asks_for_fewer = reply.status == 429;
    let agree = asks_for_fewer || agree_in_vary(leader, follower, reply);
    if vetoed(reply, leader.method) || !agree || case.write_between {
        return false;
    }
    match case.when {
        When::BeforeTheHead { .. } => true,
        When::AfterTheHead { .. } if asks_for_fewer => false,
        When::AfterTheHead { seconds, first_byte_is_gone } => {
            !first_byte_is_gone
                && seconds < 30
                && is_fresh_after(reply, seconds)
                && !wants_fresh(follower)
        }
    }
}

// What comes about.

fn ask(wish: &Wish) -> Ask {
    let mut request = Request::builder().method(wish.method).uri(wish.uri);
    for (name, value) in &wish.lines {
        request = request.header(*name, *value);
    }
    request.body(if wish.body { Full::from("body") } else { Full::default() }).unwrap()
}

/// Whether the follower got the leader's response.
async fn shares(case: &Case) -> bool {
    // With one follower it tells most when that is on its own at once.
    let mut bench = Bench::of(
        &by_nothing().policy(HttpPolicy::default().body_limit(LIMIT).refusals(1).keep_start(0)),
    );
    let mut leader = bench.send(ask(&case.leader));
    let answer = |marked: &'static str| {
        let lines: Vec<_> = case.reply.lines.iter().copied().chain([("x-for", marked)]).collect();
        let (flow, body) = flow();
        (flow, with_body(case.reply.status, &lines, body))
    };
    let (flow, response) = answer("leader");
    let first = bench.upstream.next();
    let mut response = Some((first, response));
    let mut kept = None;
    if let When::AfterTheHead { seconds, first_byte_is_gone } = case.when {
        let (first, response) = response.take().unwrap();
        first.answer(response);
        settle().await;
        let mut body = leader.response().into_body();
        if first_byte_is_gone {
            flow.data("first");
            let _ = read(&mut body);
        }
        kept = Some(body);
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }
    if case.write_between {
        drop(bench.send(crate::support::ask(Method::POST, "/other", &[])));
        drop(bench.upstream.next());
    }
    let mut follower = bench.send(ask(&case.follower));
    settle().await;
    if let Some((first, response)) = response.take() {
        if matches!(case.when, When::BeforeTheHead { leader_goes: true }) {
            drop(leader);
            settle().await;
        }
        first.answer(response);
        settle().await;
    }
    if follower.waits() {
        bench.upstream.next().answer(reply(200, &[("x-for", "follower")], ""));
        settle().await;
    }
    let got = follower.response();
    drop(kept);
    match got.headers()["x-for"].to_str().unwrap() {
        "leader" => {
            assert_eq!(role(&got), Some(Role::Follower));
            true
        }
        _ => {
            assert_ne!(role(&got), Some(Role::Follower));
            false
        }
    }
}

// The cases: such that about half of them may share but for one thing or two.

fn values<T>(table: &[(&'static str, T)]) -> Vec<&'static str> {
    table.iter().map(|(value, _)| *value).collect()
}

fn request_line() -> impl Strategy<Value = Line> {
    let names: Vec<&'static str> =
        [&LISTED[..], &PASSING[..], &["x-kind", "x-other", "host"][..]].concat();
    prop_oneof![
        12 => (select(names), select(vec!["", "x", "X", "y"])),
        3 => select(values(&CACHE_CONTROL)).prop_map(|value| ("cache-control", value)),
        1 => Just(("pragma", "no-cache")),
        1 => select(vec!["keep-alive", "close, Upgrade"]).prop_map(|value| ("connection", value)),
    ]
}

fn harmless_line() -> impl Strategy<Value = Line> {
    let names: Vec<&'static str> = [&LISTED[..], &["x-kind", "x-other", "host"][..]].concat();
    (select(names), select(vec!["", "x", "X", "y"]))
}

fn wish() -> impl Strategy<Value = Wish> {
    let method = prop_oneof![12 => Just("GET"), 3 => Just("HEAD"), 1 => Just("POST")];
    let uri = select(vec!["/a", "/a", "/b", "http://h/a", "https://h/a", "http://i/a"]);
    let odd = prop_oneof![4 => Just(None), 1 => request_line().prop_map(Some)];
    (method, uri, vec(harmless_line(), 0..4), odd, prop::bool::weighted(0.05)).prop_map(
        |(method, uri, mut lines, odd, body)| {
            lines.extend(odd);
            Wish { method, uri, lines, body }
        },
    )
}

/// The same, but for a change or none.
fn like(wish: &Wish) -> impl Strategy<Value = Wish> + use<> {
    let same = wish.clone();
    let (changed, other) = (wish.clone(), self::wish());
    let change = (0..5usize, any::<prop::sample::Index>(), request_line(), other).prop_map(
        move |(what, at, line, other)| {
            let mut wish = changed.clone();
            match what {
                0 => wish.lines.push(line),
                1 if !wish.lines.is_empty() => drop(wish.lines.remove(at.index(wish.lines.len()))),
                2 if !wish.lines.is_empty() => {
                    let at = at.index(wish.lines.len());
                    wish.lines[at].0 = "x-kind";
                    wish.lines[at].1 = "y";
                }
                3 => wish.uri = other.uri,
                _ => wish.method = other.method,
            }
            wish
        },
    );
    prop_oneof![3 => Just(same), 2 => change]
}

fn response() -> impl Strategy<Value = Reply> {
    let status = prop_oneof![
        8 => Just(200u16),
        3 => select(vec![
            201, 206, 302, 304, 307, 308, 400, 401, 403, 404, 429, 431, 451, 500, 503, 511,
        ]),
    ];
    let line = prop_oneof![
        6 => select(values(&CACHE_CONTROL)).prop_map(|value| ("cache-control", value)),
        6 => Just(("cache-control", "max-age=60")),
        3 => select(values(&VARY)).prop_map(|value| ("vary", value)),
        2 => select(values(&AGE)).prop_map(|value| ("age", value)),
        1 => select(values(&LENGTH)).prop_map(|value| ("content-length", value)),
        1 => Just(("set-cookie", "x")),
        1 => select(vec![
            "text/plain", "text/Event-Stream; x", "multipart/x-mixed-replace", "text/event",
        ])
            .prop_map(|value| ("content-type", value)),
    ];
    (status, vec(line, 0..3)).prop_map(|(status, lines)| Reply { status, lines })
}

fn case() -> impl Strategy<Value = Case> {
    let when = prop_oneof![
        any::<bool>().prop_map(|leader_goes| When::BeforeTheHead { leader_goes }),
        (prop_oneof![3 => Just(0), 2 => 0..35u64, 1 => 30..70u64], prop::bool::weighted(0.15))
            .prop_map(|(seconds, first_byte_is_gone)| When::AfterTheHead {
                seconds,
                first_byte_is_gone
            }),
    ];
    let requests = wish().prop_flat_map(|leader| (like(&leader), Just(leader)));
    (requests, response(), when, prop::bool::weighted(0.1)).prop_map(
        |((follower, leader), reply, when, write_between)| Case {
            leader,
            follower,
            reply,
            when,
            write_between,
        },
    )
}

#[test]
fn a_follower_gets_the_leaders_response_exactly_when_the_rules_say_so() {
    let (early, late, apart) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let config = Config { cases: 4096, failure_persistence: None, ..Config::default() };
    let ran = TestRunner::new(config).run(&case(), |case| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let shares = runtime.block_on(shares(&case));
        prop_assert_eq!(shares, may_share(&case), "they share: {}", shares);
        let counter = match case.when {
            _ if !shares => &apart,
            When::BeforeTheHead { .. } => &early,
            When::AfterTheHead { .. } => &late,
        };
        counter.set(counter.get() + 1);
        Ok(())
    });
    ran.unwrap();
    let counts = [early.get(), late.get(), apart.get()];
    assert!(
        counts.iter().all(|count| *count > 50),
        "too few of a kind to tell anything: {counts:?}"
    );
}
