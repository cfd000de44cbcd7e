//! Responses that judge the requester: the leader keeps them, and nobody learns from them.

use crate::support::{Bench, follower_gets, get, ok, panic_payload, reply, role, settle, text};
use http::{Response, StatusCode};
use tower_singleflight::{HttpPolicy, Role};

fn policy() -> HttpPolicy {
    HttpPolicy::default()
}

async fn gets(policy: &HttpPolicy, status: u16, headers: &[(&str, &str)]) -> bool {
    follower_gets(policy.clone(), || get("/a", &[]), reply(status, headers, "the leader's")).await
}

/// Every status that judges the requester, but 429.
const REFUSALS: [u16; 18] =
    [400, 401, 402, 403, 405, 406, 407, 408, 411, 412, 413, 414, 415, 416, 417, 422, 426, 511];

/// Whether a pair of requests shares, after these answers to the key of theirs.
async fn shares_after(policy: &HttpPolicy, answers: &[(u16, &[(&str, &str)])]) -> bool {
    let mut bench = Bench::with(policy.clone());
    for (status, headers) in answers {
        let mut call = bench.get("/a");
        bench.answer(reply(*status, headers, "")).await;
        call.text();
    }
    let before = bench.calls();
    let _calls = (bench.get("/a"), bench.get("/a"));
    bench.calls() - before == 1
}

#[tokio::test]
async fn a_refusal_stays_with_its_leader_whatever_its_headers_say() {
    for status in REFUSALS.into_iter().chain([428, 431, 499]) {
        assert!(!gets(&policy(), status, &[]).await, "{status}");
        assert!(
            !gets(&policy(), status, &[("cache-control", "public, max-age=60")]).await,
            "{status}"
        );
    }
}

#[tokio::test]
async fn what_speaks_of_the_resource_is_for_all() {
    for status in [404, 410, 451, 500, 502, 503, 504, 599] {
        assert!(gets(&policy(), status, &[]).await, "{status}");
    }
}

#[tokio::test]
async fn a_refusal_is_not_remembered() {
    for header in
        [("x", ""), ("cache-control", "no-store"), ("set-cookie", "session=1"), ("vary", "*")]
    {
        for status in REFUSALS.into_iter().chain([428, 429, 431]) {
            assert!(shares_after(&policy(), &[(status, &[header])]).await, "{status} {header:?}");
        }
    }
    assert!(
        !shares_after(&policy(), &[(404, &[("cache-control", "no-store")])]).await,
        "a veto is"
    );
}

#[tokio::test]
async fn a_refusal_does_not_end_what_is_remembered() {
    let private: (u16, &[(&str, &str)]) = (200, &[("cache-control", "private")]);
    assert!(!shares_after(&policy(), &[private, (403, &[])]).await);
    assert!(!shares_after(&policy(), &[private, (429, &[])]).await);
    assert!(shares_after(&policy(), &[private, (404, &[])]).await, "a shareable answer does");
}

#[tokio::test]
async fn a_last_429_is_for_all_but_its_cookie() {
    let mut bench = Bench::with(policy().refusals(1));
    let (mut leader, mut follower) = (bench.get("/a"), bench.get("/a"));
    let headers =
        [("retry-after", "5"), ("set-cookie", "session=1"), ("cache-control", "no-store")];
    bench.answer(reply(429, &headers, "slow down")).await;
    let (led, got) = (leader.response(), follower.response());
    assert_eq!(
        (role(&led), role(&got), bench.calls()),
        (Some(Role::Leader), Some(Role::Follower), 1)
    );
    assert_eq!(led.headers()["set-cookie"], "session=1");
    assert!(!got.headers().contains_key("set-cookie"));
    assert_eq!(
        (got.status(), &got.headers()["retry-after"]),
        (StatusCode::TOO_MANY_REQUESTS, &"5".parse().unwrap())
    );
    assert_eq!((text(led), text(got)), ("slow down".to_owned(), "slow down".to_owned()));
}

#[tokio::test]
async fn nobody_joins_a_fresh_429_after_its_head() {
    for (status, joins) in [(429, false), (404, true)] {
        let mut bench = Bench::new();
        let mut leader = bench.get("/a");
        let (_flow, body) = crate::support::flow();
        bench
            .answer(crate::support::with_body(status, &[("cache-control", "max-age=60")], body))
            .await;
        let _leader = leader.response();
        assert_eq!(!bench.get("/a").waits(), joins, "{status}");
    }
}

#[tokio::test]
async fn a_shared_status_is_no_refusal() {
    let relaxed = policy().share_status(400..=499);
    for status in REFUSALS[..17].iter().copied().chain([428, 429, 431]) {
        assert!(gets(&relaxed, status, &[]).await, "{status}");
        assert!(
            !gets(&relaxed, status, &[("set-cookie", "x")]).await,
            "{status}: the other rules still hold"
        );
    }
    assert!(!gets(&relaxed, 511, &[]).await, "not named");
}

#[tokio::test]
async fn the_last_call_that_names_a_status_counts() {
    let policy = policy().veto_status(500..600).share_status(StatusCode::BAD_GATEWAY);
    assert!(!gets(&policy, 500, &[]).await && gets(&policy, 502, &[]).await);
    assert!(
        shares_after(&policy, &[(500, &[("cache-control", "private")])]).await,
        "it is a refusal"
    );
}

#[tokio::test]
async fn share_if_makes_refusals() {
    let strict =
        policy().share_if(|head| head.headers().get("x-for").is_none_or(|who| who == "all"));
    assert!(gets(&strict, 200, &[]).await && gets(&strict, 200, &[("x-for", "all")]).await);
    assert!(!gets(&strict, 200, &[("x-for", "one")]).await);
    assert!(
        shares_after(&strict, &[(200, &[("x-for", "one"), ("cache-control", "no-store")])]).await
    );
    assert!(
        !gets(&strict, 200, &[("x-for", "all"), ("set-cookie", "x")]).await,
        "it shares nothing more"
    );
    assert!(
        !gets(&strict.trust_key(), 200, &[("x-for", "one")]).await,
        "nor does trusting the key lift it"
    );
}

#[tokio::test]
async fn a_panic_in_share_if_is_one_of_the_inner_call() {
    let mut bench = Bench::with(policy().share_if(|head: &Response<()>| {
        assert!(head.status() != 404, "no such page");
        true
    }));
    let mut calls = [bench.get("/a"), bench.get("/a"), bench.get("/a")];
    settle().await;
    bench.answer(reply(404, &[], "")).await;
    for call in &mut calls {
        let panic = panic_payload(|| call.result());
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"no such page"));
    }
    assert_eq!((bench.handle.in_flight(), bench.stats().panicked), (0, 1));
    let mut call = bench.get("/a");
    bench.answer(ok("fine")).await;
    assert_eq!(call.text(), "fine");
}

#[tokio::test]
async fn each_of_four_clients_gets_a_redirect_of_its_own() {
    let mut bench = Bench::new();
    let mut clients: Vec<_> = (0..4).map(|_| bench.get("/login")).collect();
    bench.answer(reply(302, &[("location", "/session/0")], "")).await;
    assert_eq!(clients.iter_mut().filter_map(|client| (!client.waits()).then_some(())).count(), 1);
    for session in 1..4 {
        bench.answer(reply(302, &[("location", &format!("/session/{session}"))], "")).await;
    }
    let location =
        |client: &mut crate::support::Call| client.response().headers()["location"].clone();
    let mut sessions: Vec<_> = clients.iter_mut().map(location).collect();
    sessions.sort();
    assert_eq!(sessions, ["/session/0", "/session/1", "/session/2", "/session/3"]);
}

#[tokio::test]
async fn what_no_cache_could_store_is_vetoed_and_remembered() {
    for status in [201, 202, 205, 207, 226, 302, 303, 305, 307] {
        assert!(!gets(&policy(), status, &[]).await, "{status}");
        assert!(!gets(&policy(), status, &[("cache-control", "max-age=0")]).await, "{status}");
        assert!(!shares_after(&policy(), &[(status, &[])]).await, "{status}");
    }
}

#[tokio::test]
async fn what_a_cache_could_store_is_for_all() {
    for said in ["public", "max-age=60", "s-maxage=1"] {
        assert!(gets(&policy(), 302, &[("cache-control", said)]).await, "{said}");
    }
    for status in [200, 203, 204, 300, 301, 304, 308] {
        assert!(gets(&policy(), status, &[]).await, "{status}");
    }
    assert!(gets(&policy().share_status(302..=302), 302, &[]).await);
    assert!(gets(&policy().trust_key(), 302, &[]).await);
}

#[tokio::test]
async fn of_a_429_whose_body_is_not_for_several_readers_followers_get_the_head() {
    for header in [("content-type", "text/event-stream"), ("content-length", "99999999")] {
        let mut bench = Bench::new();
        let mut clients: Vec<_> = (0..20).map(|_| bench.get("/a")).collect();
        for _ in 0..2 {
            let (flow, body) = crate::support::flow();
            flow.data("wait");
            bench
                .answer(crate::support::with_body(429, &[header, ("retry-after", "5")], body))
                .await;
            clients[1].waits();
            settle().await;
        }
        assert_eq!(bench.calls(), 2, "{header:?}");
        for client in &mut clients[2..] {
            let got = client.response();
            assert_eq!(
                (got.status().as_u16(), &got.headers()["retry-after"]),
                (429, &"5".parse().unwrap())
            );
            assert!(!got.headers().contains_key(header.0));
            assert_eq!(text(got), "");
        }
        let mut led = clients[0].response();
        assert!(led.headers().contains_key(header.0));
        assert_ne!(
            crate::support::read(led.body_mut()),
            crate::support::Read::Ended(String::new())
        );
    }
}
