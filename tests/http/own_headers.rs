//! Response headers that repeat the request's: each follower gets its own.

use crate::support::{
    Ask, Bench, Body, ask, flow, get, ok, paused, reply, role, settle, text, with_body,
};
use http::{HeaderName, Method, Response};
use tower_singleflight::{HttpPolicy, LateJoin, Role};

const ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACE: HeaderName = HeaderName::from_static("x-trace");

fn policy() -> HttpPolicy {
    HttpPolicy::default().own_response_header(ID).own_response_header(TRACE)
}

/// The response of a service that repeats the headers of its request.
fn echo(request: &Ask) -> Response<Body> {
    let mut response = ok("told");
    *response.headers_mut() = request.headers().clone();
    response.headers_mut().append("x-server", "inner".parse().unwrap());
    response
}

fn lines<'a, B>(response: &'a Response<B>, name: &str) -> Vec<&'a str> {
    response.headers().get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
}

#[tokio::test]
async fn each_follower_gets_its_own_requests_values_of_the_named_headers() {
    let requests: [&[(&str, &str)]; 4] = [
        &[("x-request-id", "leader"), ("x-trace", "t0")],
        &[("x-request-id", "one")],
        &[("x-trace", "t1"), ("x-request-id", "two"), ("x-trace", "t2"), ("x-trace", "")],
        &[],
    ];
    let mut bench = Bench::with(policy());
    let mut calls = requests.map(|headers| bench.send(get("/a", headers)));
    bench.answer(echo(&get("/a", requests[0]))).await;
    let told = calls.each_mut().map(|call| call.response());
    assert_eq!(bench.calls(), 1);
    let ids = told.each_ref().map(|response| lines(response, "x-request-id"));
    assert_eq!(ids, [vec!["leader"], vec!["one"], vec!["two"], vec![]]);
    let traces = told.each_ref().map(|response| lines(response, "x-trace"));
    assert_eq!(traces, [vec!["t0"], vec![], vec!["t1", "t2", ""], vec![]]);
    for response in told {
        assert_eq!(lines(&response, "x-server"), ["inner"], "the others stay");
        assert_eq!(text(response), "told");
    }
}

#[tokio::test]
async fn a_leader_without_the_header_leaves_it_to_those_that_have_one() {
    let mut bench = Bench::with(policy());
    let mut calls = [bench.get("/a"), bench.send(get("/a", &[("x-request-id", "one")]))];
    bench.answer(ok("told")).await;
    let [led, got] = calls.each_mut().map(|call| call.response());
    assert_eq!((lines(&led, "x-request-id"), lines(&got, "x-request-id")), (vec![], vec!["one"]));
}

#[tokio::test]
async fn the_leader_keeps_what_the_inner_service_said() {
    for request in [
        get("/a", &[("x-request-id", "mine")]),
        ask(Method::POST, "/a", &[("x-request-id", "mine")]),
    ] {
        let mut bench = Bench::with(policy());
        let mut alone = bench.send(request);
        bench
            .answer(reply(200, &[("x-request-id", "made up"), ("x-request-id", "twice")], ""))
            .await;
        assert_eq!(lines(&alone.response(), "x-request-id"), ["made up", "twice"]);
    }
}

#[tokio::test]
async fn without_the_switch_followers_get_the_leaders() {
    let mut bench = Bench::new();
    let mut calls = ["leader", "one"].map(|id| bench.send(get("/a", &[("x-request-id", id)])));
    bench.answer(reply(200, &[("x-request-id", "leader")], "")).await;
    for call in &mut calls {
        assert_eq!(lines(&call.response(), "x-request-id"), ["leader"]);
    }
}

#[tokio::test]
async fn who_joins_after_the_head_gets_its_own_as_well() {
    let mut bench = Bench::with(policy().late_joins(LateJoin::Always));
    let mut leader = bench.send(get("/a", &[("x-request-id", "leader")]));
    let (_flow, body) = flow();
    bench.answer(with_body(200, &[("x-request-id", "leader"), ("x-trace", "t0")], body)).await;
    let led = leader.response();
    let late = [&[("x-request-id", "one"), ("x-request-id", "two")][..], &[]]
        .map(|headers| bench.send(get("/a", headers)).response());
    assert_eq!(bench.calls(), 1);
    assert_eq!((lines(&led, "x-request-id"), lines(&led, "x-trace")), (vec!["leader"], vec!["t0"]));
    assert_eq!(
        late.each_ref().map(|response| lines(response, "x-request-id")),
        [vec!["one", "two"], vec![]]
    );
    assert!(late.iter().all(|response| lines(response, "x-trace").is_empty()));
}

#[tokio::test]
async fn who_follows_by_vary_gets_its_own_as_well() {
    let mut bench = Bench::with(policy());
    let request = |kind, id| get("/a", &[("x-kind", kind), ("x-request-id", id)]);
    let mut calls = [("a", "one"), ("b", "two"), ("b", "three")]
        .map(|(kind, id)| bench.send(request(kind, id)));
    bench.answer(reply(200, &[("vary", "x-kind"), ("x-request-id", "one")], "")).await;
    assert!(calls[1].waits() && calls[2].waits());
    bench.answer(reply(200, &[("vary", "x-kind"), ("x-request-id", "two")], "")).await;
    let ids = calls.each_mut().map(|call| call.response().headers()["x-request-id"].clone());
    assert_eq!(ids, ["one", "two", "three"]);
    assert_eq!(bench.calls(), 2);
}

#[tokio::test]
async fn a_429_that_followers_get_has_their_own_headers_too() {
    let mut bench = Bench::with(policy().refusals(1));
    let mut calls = ["leader", "one"].map(|id| bench.send(get("/a", &[("x-request-id", id)])));
    bench.answer(reply(429, &[("x-request-id", "leader")], "")).await;
    let ids = calls.each_mut().map(|call| call.response().headers()["x-request-id"].clone());
    assert_eq!(ids, ["leader", "one"]);
}

#[test]
fn a_leader_whose_flight_was_led_anew_gets_no_other_requests_header() {
    let mut bench = Bench::with(policy());
    let [mut leader, mut follower] = paused().block_on(async {
        let mut calls = ["leader", "one"].map(|id| bench.send(get("/a", &[("x-request-id", id)])));
        assert!(calls.iter_mut().all(|call| call.waits()));
        settle().await;
        calls
    });
    assert!(bench.upstream.next().is_cancelled());
    paused().block_on(async {
        assert!(follower.waits());
        settle().await;
        bench.answer(reply(200, &[("x-request-id", "one")], "")).await;
        let (led, got) = (follower.response(), leader.response());
        assert_eq!((role(&led), lines(&led, "x-request-id")), (Some(Role::Leader), vec!["one"]));
        assert_eq!((role(&got), lines(&got, "x-request-id")), (Some(Role::Follower), vec![]));
    });
}
