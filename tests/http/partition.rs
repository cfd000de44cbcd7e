//! Who shares with whom, by the request.

use crate::support::{Bench, LISTED, ask, by_nothing, by_uri, get, name, ok, role, settle, share};
use http::{Method, header::COOKIE};
use tower_singleflight::{HttpPolicy, Role, SingleflightLayer};

#[tokio::test]
async fn equal_requests_share() {
    assert!(share(&by_uri(), get("/a", &[]), get("/a", &[])).await);
}

#[tokio::test]
async fn requests_with_equal_listed_headers_share() {
    for header in LISTED {
        assert!(
            share(&by_uri(), get("/a", &[(header, "x")]), get("/a", &[(header, "x")])).await,
            "{header}"
        );
    }
}

#[tokio::test]
async fn each_listed_header_parts_requests() {
    for header in LISTED {
        assert!(
            !share(&by_uri(), get("/a", &[(header, "x")]), get("/a", &[(header, "y")])).await,
            "{header}"
        );
    }
}

#[tokio::test]
async fn an_absent_listed_header_is_not_an_empty_one() {
    for header in LISTED {
        assert!(!share(&by_uri(), get("/a", &[]), get("/a", &[(header, "")])).await, "{header}");
        assert!(!share(&by_uri(), get("/a", &[(header, "x")]), get("/a", &[])).await, "{header}");
    }
}

#[tokio::test]
async fn a_second_line_of_a_listed_header_parts_requests() {
    for header in LISTED {
        let (one, two) = (get("/a", &[(header, "x")]), get("/a", &[(header, "x"), (header, "y")]));
        assert!(!share(&by_uri(), one, two).await, "{header}");
    }
}

#[tokio::test]
async fn the_order_of_a_headers_lines_counts() {
    let (one, two) = (
        get("/a", &[("cookie", "x"), ("cookie", "y")]),
        get("/a", &[("cookie", "y"), ("cookie", "x")]),
    );
    assert!(!share(&by_uri(), one, two).await);
}

#[tokio::test]
async fn two_lines_are_not_one_with_a_comma() {
    let (one, two) =
        (get("/a", &[("accept", "x"), ("accept", "y")]), get("/a", &[("accept", "x, y")]));
    assert!(!share(&by_uri(), one, two).await);
}

#[tokio::test]
async fn one_value_under_two_names_is_not_one() {
    for (i, one) in LISTED.iter().enumerate() {
        for other in &LISTED[i + 1..] {
            let apart =
                !share(&by_uri(), get("/a", &[(one, "x")]), get("/a", &[(other, "x")])).await;
            assert!(apart, "{one} and {other}");
        }
    }
}

#[tokio::test]
async fn a_value_cannot_move_between_neighbouring_headers() {
    let one = get("/a", &[("authorization", "x"), ("authorization", "y"), ("cookie", "z")]);
    let two = get("/a", &[("authorization", "x"), ("cookie", "y"), ("cookie", "z")]);
    assert!(!share(&by_uri(), one, two).await);
}

#[tokio::test]
async fn values_that_differ_in_case_or_space_are_apart() {
    for (one, other) in [("x", "X"), ("a=1; b=2", "a=1;b=2")] {
        assert!(
            !share(&by_uri(), get("/a", &[("cookie", one)]), get("/a", &[("cookie", other)])).await
        );
    }
}

#[tokio::test]
async fn the_order_of_different_headers_does_not_matter() {
    let one = get("/a", &[("cookie", "x"), ("accept", "y"), ("authorization", "z")]);
    let two = get("/a", &[("authorization", "z"), ("accept", "y"), ("cookie", "x")]);
    assert!(share(&by_uri(), one, two).await);
}

#[tokio::test]
async fn headers_that_are_not_listed_do_not_part() {
    let one = get("/a", &[("user-agent", "one"), ("x-request-id", "1"), ("x-api-key", "1")]);
    let two = get("/a", &[("user-agent", "two"), ("referer", "/")]);
    assert!(share(&by_uri(), one, two).await);
}

#[tokio::test]
async fn a_header_that_the_user_adds_parts_requests() {
    let layer = || by_uri().policy(HttpPolicy::default().partition_header(name("x-api-key")));
    assert!(
        !share(&layer(), get("/a", &[("x-api-key", "1")]), get("/a", &[("x-api-key", "2")])).await
    );
    assert!(!share(&layer(), get("/a", &[("x-api-key", "1")]), get("/a", &[])).await);
    assert!(
        share(&layer(), get("/a", &[("x-api-key", "1")]), get("/a", &[("x-api-key", "1")])).await
    );
}

#[tokio::test]
async fn a_header_added_twice_counts_once() {
    let policy = HttpPolicy::default().partition_header(COOKIE).partition_header(COOKIE);
    let relaxed = policy.without_partition_header(COOKIE);
    let layer = by_uri().policy(relaxed);
    assert!(share(&layer, get("/a", &[("cookie", "x")]), get("/a", &[("cookie", "y")])).await);
}

#[tokio::test]
async fn get_and_head_are_apart_whichever_leads() {
    for (first, second) in [(Method::GET, Method::HEAD), (Method::HEAD, Method::GET)] {
        assert!(!share(&by_uri(), ask(first, "/a", &[]), ask(second, "/a", &[])).await);
    }
}

#[tokio::test]
async fn a_leading_head_does_not_answer_a_get() {
    let mut bench = Bench::new();
    let mut head = bench.send(ask(Method::HEAD, "/a", &[]));
    let (mut one, mut two) = (bench.get("/a"), bench.get("/a"));
    bench.answer(ok("")).await;
    assert_eq!(head.text(), "");
    assert!(one.waits() && two.waits());
    assert_eq!(bench.calls(), 2);
    bench.answer(ok("the body")).await;
    assert_eq!((one.text(), two.text()), ("the body".to_owned(), "the body".to_owned()));
}

#[tokio::test]
async fn heads_share_among_themselves() {
    assert!(share(&by_uri(), ask(Method::HEAD, "/a", &[]), ask(Method::HEAD, "/a", &[])).await);
}

#[tokio::test]
async fn hosts_are_apart_though_the_key_is_one() {
    for (one, other) in
        [("a.example", "b.example"), ("a.example", "a.example:8080"), ("a.example", "A.example")]
    {
        assert!(
            !share(&by_nothing(), get("/", &[("host", one)]), get("/", &[("host", other)])).await
        );
    }
    assert!(!share(&by_nothing(), get("/", &[("host", "a")]), get("/", &[])).await);
    assert!(share(&by_nothing(), get("/", &[("host", "a")]), get("/", &[("host", "a")])).await);
}

#[tokio::test]
async fn a_second_host_line_is_not_overlooked() {
    let (one, two) =
        (get("/", &[("host", "a"), ("host", "b")]), get("/", &[("host", "a"), ("host", "c")]));
    assert!(!share(&by_nothing(), one, two).await);
}

#[tokio::test]
async fn authorities_and_schemes_are_apart_though_the_key_is_one() {
    for (one, other) in [
        ("http://a.example/", "http://b.example/"),
        ("http://a.example/", "https://a.example/"),
        ("http://a.example/", "http://a.example:81/"),
        ("http://me@a.example/", "http://you@a.example/"),
        ("http://me:x@a.example/", "http://me:X@a.example/"),
        ("http://a.example/", "/"),
        ("https://a.example/", "/"),
    ] {
        assert!(!share(&by_nothing(), get(one, &[]), get(other, &[])).await, "{one} and {other}");
    }
}

#[tokio::test]
async fn a_missing_scheme_is_http_and_the_host_is_the_authority() {
    let http_1 = || get("/", &[("host", "a.example")]);
    for uri in ["http://a.example/", "https://a.example/", "http://b.example/"] {
        let share = share(&by_nothing(), http_1(), get(uri, &[])).await;
        assert_eq!(share, uri == "http://a.example/", "{uri}");
    }
    let proxied = get("http://a.example/", &[("host", "a.example")]);
    assert!(share(&by_nothing(), http_1(), proxied).await);
}

#[tokio::test]
async fn a_uri_and_a_host_header_that_disagree_are_both_compared() {
    let (one, two) = (get("http://a/", &[("host", "a")]), get("http://a/", &[("host", "b")]));
    assert!(!share(&by_nothing(), one, two).await);
}

#[tokio::test]
async fn paths_are_apart_though_the_key_is_one() {
    for (one, other) in
        [("/a", "/b"), ("/a", "/a/"), ("/a", "/A"), ("/a", "//a"), ("/%61", "/a"), ("/", "*")]
    {
        let (one, other) = (ask(Method::GET, one, &[]), ask(Method::GET, other, &[]));
        assert!(!share(&by_nothing(), one, other).await);
    }
}

#[tokio::test]
async fn queries_are_apart_though_the_key_is_the_path() {
    let by_path = || SingleflightLayer::new(|req| req.uri().path().to_owned());
    for (one, other) in [
        ("?q=go", "?q=rust"),
        ("?q=go", ""),
        ("?", ""),
        ("?q=go", "?q=Go"),
        ("?a&b", "?b&a"),
        ("?a=%20", "?a=+"),
    ] {
        let (one, other) = (get(&format!("/a{one}"), &[]), get(&format!("/a{other}"), &[]));
        assert!(!share(&by_path(), one, other).await);
    }
    assert!(share(&by_path(), get("/a?q=go", &[]), get("/a?q=go", &[])).await);
}

#[tokio::test]
async fn keys_of_the_users_own_part_requests() {
    let layer = SingleflightLayer::new(|req| format!("{:?}", req.extensions().get::<u32>()));
    let with = |user: u32| {
        let mut request = get("/a", &[]);
        request.extensions_mut().insert(user);
        request
    };
    assert!(!share(&layer, with(1), with(2)).await);
    assert!(share(&layer, with(1), with(1)).await);
}

#[tokio::test]
async fn many_partitions_of_one_key_each_cost_one_call() {
    let mut bench = Bench::new();
    let users: Vec<String> = (0..100).map(|user| format!("user {user}")).collect();
    let mut calls: Vec<_> = Vec::new();
    for _ in 0..3 {
        for user in &users {
            calls.push((user, bench.send(get("/a", &[("authorization", user)]))));
        }
    }
    assert_eq!((bench.calls(), bench.handle.in_flight()), (100, 100));
    while let Some(open) = bench.upstream.try_next() {
        let user = open.header("authorization").unwrap().to_owned();
        open.answer(crate::support::reply(200, &[], user));
    }
    settle().await;
    for (i, (user, mut call)) in calls.into_iter().enumerate() {
        let response = call.response();
        assert_eq!(role(&response), Some(if i < 100 { Role::Leader } else { Role::Follower }));
        assert_eq!(crate::support::text(response), *user);
    }
    assert_eq!(bench.handle.in_flight(), 0);
}
