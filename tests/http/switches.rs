//! Each switch relaxes its one rule.

use crate::support::{
    Ask, Bench, Body, Upstream, ask, by_nothing, by_uri, flow, follower_gets, get, name, ok, reply,
    role, seals, settle, share, with_body,
};
use http::{Method, StatusCode, header};
use http_body_util::Full;
use std::time::Duration;
use tower::{Layer, Service};
use tower_singleflight::{HttpPolicy, LateJoin, Role};

fn policy() -> HttpPolicy {
    HttpPolicy::default()
}

async fn joins(policy: &HttpPolicy, one: Ask, other: Ask) -> bool {
    share(&by_nothing().policy(policy.clone()), one, other).await
}

async fn gets(policy: &HttpPolicy, status: u16, headers: &[(&str, &str)]) -> bool {
    follower_gets(policy.clone(), || get("/a", &[]), reply(status, headers, "the leader's")).await
}

#[tokio::test]
async fn methods() {
    let put = || ask(Method::PUT, "/a", &[]);
    let relaxed = policy().methods([Method::PUT, Method::GET]);
    assert!(!joins(&policy(), put(), put()).await && joins(&relaxed, put(), put()).await);
    assert!(joins(&relaxed, get("/a", &[]), get("/a", &[])).await);
    assert!(!joins(&relaxed, put(), get("/a", &[])).await, "still apart");
    let head = || ask(Method::HEAD, "/a", &[]);
    assert!(!joins(&relaxed, head(), head()).await, "not named");
}

#[tokio::test]
async fn ignore_request_body() {
    let body = |text: &'static str| get("/a", &[]).map(|_| Full::from(text));
    let relaxed = policy().ignore_request_body(true);
    assert!(
        !joins(&policy(), body("x"), body("x")).await
            && joins(&relaxed, body("x"), body("y")).await
    );
    assert!(!joins(&relaxed.ignore_request_body(false), body("x"), body("x")).await);
}

#[tokio::test]
async fn partition_header_and_without_partition_header() {
    let user = |user| get("/a", &[("authorization", user)]);
    let relaxed = policy().without_partition_header(header::AUTHORIZATION);
    assert!(
        !joins(&policy(), user("x"), user("y")).await
            && joins(&relaxed, user("x"), user("y")).await
    );
    let tightened = relaxed.clone().partition_header(header::AUTHORIZATION);
    assert!(!joins(&tightened, user("x"), user("y")).await);
    let cookie = |user| get("/a", &[("cookie", user)]);
    assert!(!joins(&relaxed, cookie("x"), cookie("y")).await, "the others stay");
}

#[tokio::test]
async fn each_listed_header_can_be_let_go() {
    for listed in [
        header::ACCEPT,
        header::ACCEPT_ENCODING,
        header::ACCEPT_LANGUAGE,
        header::ORIGIN,
        header::AUTHORIZATION,
        header::PROXY_AUTHORIZATION,
        header::COOKIE,
        header::IF_NONE_MATCH,
        header::IF_MODIFIED_SINCE,
    ] {
        let with = |value| get("/a", &[(listed.as_str(), value)]);
        let relaxed = policy().without_partition_header(listed.clone());
        assert!(
            !joins(&policy(), with("x"), with("y")).await
                && joins(&relaxed, with("x"), with("y")).await
        );
    }
}

#[tokio::test]
async fn ignore_authority() {
    let relaxed = policy().ignore_authority(true);
    for (one, other) in [
        (get("/", &[("host", "a")]), get("/", &[("host", "b")])),
        (get("http://a/", &[]), get("https://b/", &[])),
        (get("https://a/", &[]), get("/", &[("host", "a")])),
    ] {
        let copy = |ask: &Ask| {
            let mut copy = get("/", &[]);
            *copy.uri_mut() = ask.uri().clone();
            *copy.headers_mut() = ask.headers().clone();
            copy
        };
        assert!(!joins(&policy(), copy(&one), copy(&other)).await);
        assert!(joins(&relaxed, one, other).await);
    }
    assert!(
        !joins(&relaxed, get("http://a/x", &[]), get("http://a/y", &[])).await,
        "paths still count"
    );
}

#[tokio::test]
async fn ignore_path() {
    let relaxed = policy().ignore_path(true);
    let (one, other) = (|| get("/a", &[("host", "a")]), || get("/b", &[("host", "a")]));
    assert!(!joins(&policy(), one(), other()).await && joins(&relaxed, one(), other()).await);
    assert!(!joins(&relaxed, one(), get("/b", &[("host", "b")])).await, "hosts still count");
    assert!(!joins(&relaxed, get("/a?x", &[]), get("/b?y", &[])).await, "queries still count");
}

#[tokio::test]
async fn ignore_query() {
    let relaxed = policy().ignore_query(true);
    for other in ["/a?y", "/a?", "/a"] {
        assert!(!joins(&policy(), get("/a?x", &[]), get(other, &[])).await);
        assert!(joins(&relaxed, get("/a?x", &[]), get(other, &[])).await);
    }
    assert!(!joins(&relaxed, get("/a?x", &[]), get("/b?x", &[])).await, "paths still count");
    let neither = relaxed.ignore_path(true);
    assert!(joins(&neither, get("/a?x", &[]), get("/b?y", &[])).await);
}

#[tokio::test]
async fn pass_request_header() {
    let debug = || get("/a", &[("x-debug", "1")]);
    assert!(joins(&policy(), debug(), debug()).await);
    assert!(!joins(&policy().pass_request_header(name("x-debug")), debug(), debug()).await);
}

#[tokio::test]
async fn allow_request_header() {
    let range = |value| get("/a", &[("range", value)]);
    let relaxed = policy().allow_request_header(header::RANGE);
    assert!(
        !joins(&policy(), range("x"), range("x")).await
            && joins(&relaxed, range("x"), range("x")).await
    );
    assert!(!joins(&relaxed, range("x"), range("y")).await);
}

#[tokio::test]
async fn ignore_request_no_store() {
    let relaxed = policy().ignore_request_no_store(true);
    for line in ["no-store", "a b"] {
        let said = || get("/a", &[("cache-control", line)]);
        assert!(
            !joins(&policy(), said(), said()).await && joins(&relaxed, said(), said()).await,
            "{line}"
        );
    }
}

/// Whether `late` joins a fresh response that streams.
async fn joins_late(policy: &HttpPolicy, headers: &[(&str, &str)], late: Ask) -> bool {
    let mut bench = Bench::with(policy.clone());
    let mut leader = bench.get("/a");
    let (_flow, body) = flow();
    bench.answer(with_body(200, headers, body)).await;
    let _leader = leader.response();
    !bench.send(late).waits()
}

const FRESH: [(&str, &str); 1] = [("cache-control", "max-age=60")];

#[tokio::test]
async fn ignore_request_no_cache() {
    let relaxed = policy().ignore_request_no_cache(true);
    for header in
        [("cache-control", "no-cache"), ("cache-control", "max-age=0"), ("pragma", "no-cache")]
    {
        let late = || get("/a", &[header]);
        assert!(!joins_late(&policy(), &FRESH, late()).await, "{header:?}");
        assert!(joins_late(&relaxed, &FRESH, late()).await, "{header:?}");
    }
}

#[tokio::test]
async fn veto_status_and_share_status() {
    assert!(gets(&policy(), 500, &[]).await);
    let strict = policy().veto_status(StatusCode::INTERNAL_SERVER_ERROR);
    assert!(!gets(&strict, 500, &[]).await && gets(&strict, 502, &[]).await);
    assert!(gets(&strict.share_status(StatusCode::INTERNAL_SERVER_ERROR), 500, &[]).await);
    for status in [206, 302, 400, 401, 403, 407, 428, 431, 511] {
        let relaxed = policy().share_status(StatusCode::from_u16(status).unwrap());
        assert!(
            !gets(&policy(), status, &[]).await && gets(&relaxed, status, &[]).await,
            "{status}"
        );
    }
}

#[tokio::test]
async fn an_interim_status_cannot_be_shared() {
    let relaxed = policy().share_status(StatusCode::SWITCHING_PROTOCOLS).trust_key();
    assert!(!gets(&relaxed, 101, &[]).await);
}

#[tokio::test]
async fn share_set_cookie() {
    let cookie = [("set-cookie", "x")];
    assert!(
        !gets(&policy(), 200, &cookie).await
            && gets(&policy().share_set_cookie(true), 200, &cookie).await
    );
}

#[tokio::test]
async fn share_private_no_store_and_no_cache() {
    type Switch = fn(HttpPolicy) -> HttpPolicy;
    let switches: [(&str, Switch); 3] = [
        ("private", |policy| policy.share_private(true)),
        ("no-store", |policy| policy.share_no_store(true)),
        ("no-cache", |policy| policy.share_no_cache(true)),
    ];
    for (line, _) in switches {
        for (relaxes, switch) in switches {
            let gets = gets(&switch(policy()), 200, &[("cache-control", line)]).await;
            assert_eq!(gets, line == relaxes, "{line} after the switch for {relaxes}");
        }
    }
}

#[tokio::test]
async fn what_is_shared_though_private_joins_nobody_late() {
    let relaxed = policy().share_private(true).share_no_store(true).share_no_cache(true);
    for line in ["private, max-age=60", "no-store, max-age=60", "no-cache, max-age=60"] {
        assert!(!joins_late(&relaxed, &[("cache-control", line)], get("/a", &[])).await, "{line}");
    }
}

#[tokio::test]
async fn a_cache_control_that_cannot_be_read_needs_all_three_switches() {
    let broken = [("cache-control", "a b")];
    let two = policy().share_private(true).share_no_store(true);
    assert!(!gets(&two, 200, &broken).await && gets(&two.share_no_cache(true), 200, &broken).await);
}

#[tokio::test]
async fn ignore_vary() {
    let relaxed = policy().ignore_vary(true);
    assert!(
        !gets(&policy(), 200, &[("vary", "*")]).await
            && gets(&relaxed, 200, &[("vary", "*")]).await
    );
    for (policy, differs) in [(policy(), true), (relaxed, false)] {
        let mut bench = Bench::with(policy);
        let (_leader, mut follower) =
            (bench.send(get("/a", &[("x-kind", "a")])), bench.send(get("/a", &[])));
        bench.answer(reply(200, &[("vary", "x-kind")], "")).await;
        assert_eq!(follower.waits(), differs);
    }
}

#[tokio::test]
async fn veto_content_type_and_share_content_type() {
    let stream = [("content-type", "text/event-stream")];
    let relaxed = policy().share_content_type("TEXT/event-stream");
    assert!(!gets(&policy(), 200, &stream).await && gets(&relaxed, 200, &stream).await);
    assert!(
        !gets(&relaxed, 200, &[("content-type", "multipart/x-mixed-replace")]).await,
        "the other stays"
    );
    let strict = policy().veto_content_type("application/grpc");
    assert!(!gets(&strict, 200, &[("content-type", "Application/gRPC; x=1")]).await);
    assert!(gets(&policy(), 200, &[("content-type", "application/grpc")]).await);
}

#[tokio::test]
async fn body_limit_and_share_large_bodies() {
    let large = [("content-length", "1000")];
    let small = policy().body_limit(999);
    assert!(gets(&policy(), 200, &large).await && !gets(&small, 200, &large).await);
    assert!(gets(&small.share_large_bodies(true), 200, &large).await);
}

#[tokio::test(start_paused = true)]
async fn unshareable_memory() {
    let cases = [
        (policy(), 29, true),
        (policy().unshareable_memory(10, Duration::from_secs(5)), 4, true),
        (policy().unshareable_memory(10, Duration::from_secs(5)), 5, false),
        (policy().unshareable_memory(0, Duration::from_secs(30)), 0, false),
        (policy().unshareable_memory(10, Duration::ZERO), 0, false),
    ];
    for (policy, seconds, passes) in cases {
        let mut bench = Bench::with(policy);
        let mut leader = bench.get("/a");
        bench.answer(reply(200, &[("cache-control", "private")], "")).await;
        leader.text();
        tokio::time::advance(Duration::from_secs(seconds)).await;
        let _calls = (bench.get("/a"), bench.get("/a"));
        assert_eq!(bench.calls() == 3, passes, "after {seconds} s");
    }
}

#[tokio::test]
async fn late_joins() {
    for (who, without, with) in [
        (LateJoin::WhenFresh, false, true),
        (LateJoin::Always, true, true),
        (LateJoin::Never, false, false),
    ] {
        let policy = policy().late_joins(who);
        assert_eq!(joins_late(&policy, &[], get("/a", &[])).await, without, "{who:?}");
        assert_eq!(joins_late(&policy, &FRESH, get("/a", &[])).await, with, "{who:?}");
    }
}

#[tokio::test]
async fn seal_on_write() {
    for (policy, seals) in [(policy(), true), (policy().seal_on_write(false), false)] {
        let mut bench = Bench::with(policy);
        let _before = bench.get("/a");
        let _write = bench.send(ask(Method::POST, "/a", &[]));
        let _after = bench.get("/a");
        assert_eq!(bench.calls(), if seals { 3 } else { 2 });
    }
}

#[tokio::test]
async fn body_budget() {
    for (budget, passes) in [(0, true), (1, false)] {
        let mut bench = Bench::with(policy().body_budget(budget));
        let _calls = (bench.get("/a"), bench.get("/a"));
        assert_eq!(bench.calls() == 2, passes);
    }
}

#[tokio::test]
async fn trust_key_takes_the_key_alone() {
    let relaxed = policy().trust_key();
    let differs = [
        get("/b", &[]),
        get("/a?x", &[]),
        get("/b?", &[]),
        get("/a", &[("host", "b")]),
        get("http://c/a", &[]),
        get("/a", &[("authorization", "x"), ("cookie", "y"), ("accept", "z")]),
        get("/a", &[("range", "bytes=0-1"), ("if-match", "x"), ("expect", "100-continue")]),
        get("/a", &[("cache-control", "no-store")]),
        get("/a", &[("cache-control", "a b")]),
    ];
    for request in differs {
        assert!(joins(&relaxed, get("/a", &[]), request).await);
    }
    for (status, header) in [
        (200, ("set-cookie", "x")),
        (200, ("cache-control", "private, no-store, no-cache")),
        (200, ("cache-control", "a b")),
        (200, ("vary", "*")),
        (200, ("content-type", "text/event-stream")),
        (206, ("x", "")),
        (302, ("x", "")),
        (401, ("x", "")),
        (429, ("x", "")),
    ] {
        assert!(gets(&relaxed, status, &[header]).await, "{status} {header:?}");
    }
}

#[tokio::test]
async fn trust_key_keeps_methods_apart_and_lets_bodies_and_upgrades_pass() {
    let relaxed = policy().trust_key();
    assert!(!joins(&relaxed, ask(Method::HEAD, "/a", &[]), get("/a", &[])).await);
    assert!(!joins(&relaxed, ask(Method::POST, "/a", &[]), ask(Method::POST, "/a", &[])).await);
    let body = || get("/a", &[]).map(|_| Full::from("x"));
    assert!(!joins(&relaxed, body(), body()).await);
    for header in [("upgrade", "websocket"), ("connection", "upgrade")] {
        assert!(!joins(&relaxed, get("/a", &[header]), get("/a", &[header])).await, "{header:?}");
    }
    let layer = by_uri().policy(relaxed);
    assert!(!share(&layer, get("/a", &[]), get("/b", &[])).await, "another key");
}

#[tokio::test]
async fn trust_key_still_seals_and_still_knows_a_large_body() {
    let relaxed = policy().trust_key().body_limit(10);
    assert!(!gets(&relaxed, 200, &[("content-length", "11")]).await);
    let mut bench = Bench::with(relaxed.clone());
    let _before = bench.get("/a");
    let _write = bench.send(ask(Method::POST, "/a", &[]));
    let _after = bench.get("/a");
    assert_eq!(bench.calls(), 3);
    assert!(
        !joins_late(&relaxed, &[], get("/a", &[])).await,
        "nor does anybody come late to what is not fresh"
    );
}

#[tokio::test]
async fn what_is_tightened_after_trust_key_is_tight() {
    let strict = policy().trust_key().partition_header(header::COOKIE).share_set_cookie(false);
    assert!(!joins(&strict, get("/a", &[("cookie", "x")]), get("/a", &[("cookie", "y")])).await);
    assert!(!gets(&strict, 200, &[("set-cookie", "x")]).await);
}

#[tokio::test]
async fn a_policy_set_later_is_the_one_that_counts_and_clones_keep_theirs() {
    let layer = by_uri();
    let relaxed = layer.clone().policy(policy().without_partition_header(header::COOKIE));
    let cookie = |user| get("/a", &[("cookie", user)]);
    assert!(share(&relaxed, cookie("x"), cookie("y")).await);
    assert!(!share(&layer, cookie("x"), cookie("y")).await);
    let reset = relaxed.policy(policy());
    assert!(!share(&reset, cookie("x"), cookie("y")).await);
}

// Clones of one layer value with different policies, on one group.

/// Whether `strict`, who follows by the default policy, gets what `lax` led for by another.
async fn crosses(
    relaxed: HttpPolicy,
    lax: Ask,
    response: http::Response<Body>,
    strict: Ask,
) -> bool {
    let upstream = Upstream::default();
    let layer = by_uri();
    let (mut one, mut two) =
        (layer.clone().policy(relaxed).layer(upstream.clone()), layer.layer(upstream.clone()));
    let mut leader = tokio_test::task::spawn(one.call(lax));
    assert!(leader.poll().is_pending());
    let mut follower = tokio_test::task::spawn(two.call(strict));
    assert!(follower.poll().is_pending());
    upstream.next().answer(response);
    settle().await;
    assert!(leader.poll().is_ready());
    follower.poll().is_ready()
}

#[tokio::test]
async fn a_service_gets_no_response_that_its_own_policy_forbids() {
    for header in [("cache-control", "private"), ("set-cookie", "x"), ("vary", "*")] {
        let response = reply(200, &[header], "the leader's");
        let relaxed = policy().share_private(true).share_set_cookie(true).ignore_vary(true);
        assert!(!crosses(relaxed, get("/a", &[]), response, get("/a", &[])).await, "{header:?}");
    }
}

#[tokio::test]
async fn a_service_gets_no_response_to_a_header_that_its_own_policy_compares() {
    let relaxed = policy().without_partition_header(header::COOKIE);
    assert!(
        !crosses(relaxed, get("/a", &[("cookie", "user")]), ok("for the user"), get("/a", &[]))
            .await
    );
}

#[tokio::test]
async fn a_write_seals_whatever_the_policies() {
    let upstream = Upstream::default();
    let layer = by_uri();
    let other = layer.clone().policy(policy().ignore_authority(true));
    let (mut one, mut two) = (layer.layer(upstream.clone()), other.layer(upstream.clone()));
    assert!(seals(&mut two, &mut one, &upstream));
}

#[tokio::test]
async fn clones_with_one_policy_share() {
    let upstream = Upstream::default();
    let layer = by_uri().policy(policy().ignore_authority(true));
    let named = layer.clone().name("another").join_within(Duration::from_secs(5));
    let (mut one, mut two) = (layer.layer(upstream.clone()), named.layer(upstream.clone()));
    let mut leader = tokio_test::task::spawn(one.call(get("/a", &[])));
    let mut follower = tokio_test::task::spawn(two.call(get("/a", &[])));
    assert!(leader.poll().is_pending() && follower.poll().is_pending());
    settle().await;
    assert_eq!(upstream.calls(), 1);
}

#[tokio::test]
async fn roles_are_there_whatever_the_policy() {
    let mut bench = Bench::with(policy().trust_key());
    let mut calls = [bench.get("/a"), bench.get("/b")];
    bench.answer(ok("")).await;
    bench.answer(ok("")).await;
    assert_eq!(
        calls.each_mut().map(|call| role(&call.response())),
        [Some(Role::Leader), Some(Role::Leader)]
    );
}
