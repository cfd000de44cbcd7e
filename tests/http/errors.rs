//! Failures are shared, so that a failing upstream sees one request; and what clients are told.

use crate::{
    net::{Connection, Gate, Got, Origin, burst, gateway, rest, until, up_to},
    support::{
        Bench, ask, by_uri, flow, get, ok, panics, reply, role, settle, text_of, with_body, within,
    },
};
use http::{Method, Response, StatusCode};
use std::{error::Error, io, time::Duration};
use tower::{Layer, ServiceExt, service_fn};
use tower_singleflight::{
    BoxError, HttpPolicy, LateJoin, Role, SharedBody, SharedError, SingleflightLayer,
};

#[tokio::test]
async fn a_server_error_is_for_all() {
    for status in [500, 502, 503, 504] {
        let mut bench = Bench::new();
        let mut calls: Vec<_> = (0..10).map(|_| bench.get("/a")).collect();
        settle().await;
        bench.answer(reply(status, &[("retry-after", "1")], "sorry")).await;
        for call in &mut calls {
            let response = call.response();
            assert_eq!(
                (response.status().as_u16(), &response.headers()["retry-after"]),
                (status, &"1".parse().unwrap())
            );
            assert_eq!(crate::support::text(response), "sorry");
        }
        assert_eq!(bench.calls(), 1);
    }
}

#[tokio::test]
async fn an_error_is_for_all_and_the_key_is_free_after_it() {
    let mut bench = Bench::new();
    let mut calls: Vec<_> = (0..10).map(|_| bench.get("/a")).collect();
    settle().await;
    bench.upstream.next().fail("refused");
    settle().await;
    for call in &mut calls {
        assert_eq!(call.result().unwrap_err().0, "refused");
    }
    assert_eq!((bench.calls(), bench.handle.in_flight()), (1, 0));
    let _anew = bench.get("/a");
    assert_eq!(bench.calls(), 2);
}

#[tokio::test]
async fn a_shared_error_is_the_inner_one_for_every_waiter() {
    let inner = service_fn(|_: crate::support::Ask| async {
        tokio::task::yield_now().await;
        Err::<Response<crate::support::Body>, BoxError>(
            io::Error::new(io::ErrorKind::ConnectionReset, "gone").into(),
        )
    });
    let service = by_uri().shared_errors().layer(inner);
    let ask = || service.clone().oneshot(get("/a", &[]));
    let (one, other) = tokio::join!(ask(), ask());
    for result in [one, other] {
        let error: SharedError = result.unwrap_err();
        assert_eq!(error.to_string(), "gone");
        assert_eq!(
            error.downcast_ref::<io::Error>().unwrap().kind(),
            io::ErrorKind::ConnectionReset
        );
        let source = error.source().unwrap().downcast_ref::<io::Error>();
        assert_eq!(source.unwrap().kind(), io::ErrorKind::ConnectionReset);
    }
}

#[tokio::test]
async fn the_error_of_a_refetch_is_its_own() {
    let mut bench = Bench::new();
    let (mut leader, mut one, mut other) = (bench.get("/a"), bench.get("/a"), bench.get("/a"));
    bench.answer(reply(200, &[("cache-control", "private")], "the leader's")).await;
    assert!(one.waits() && other.waits());
    bench.upstream.next().fail("refused");
    bench.answer(ok("own")).await;
    assert_eq!(leader.text(), "the leader's");
    assert_eq!(one.result().unwrap_err().0, "refused");
    assert_eq!(other.text(), "own");
}

/// An origin that waits for the gate, and then does `what`.
async fn origin(
    gate: &Gate,
    what: fn(crate::net::Exchange) -> futures_util::future::BoxFuture<'static, ()>,
) -> Origin {
    let gate = gate.clone();
    Origin::new(move |exchange| {
        let gate = gate.clone();
        async move {
            gate.passed().await;
            what(exchange).await;
        }
    })
    .await
}

#[tokio::test]
async fn a_burst_over_as_many_connections_costs_one_hit() {
    let count = up_to(500);
    let gate = Gate::new();
    let origin = origin(&gate, |mut exchange| {
        Box::pin(async move { exchange.whole("200 OK", "", "hot").await })
    })
    .await;
    let gateway = gateway(by_uri(), &origin).await;
    let clients = burst(count, gateway.address, "/a").await;
    until("all wait", || gateway.handle.waiting() == count).await;
    gate.open();
    for client in clients {
        assert_eq!(within(client).await.unwrap(), (StatusCode::OK, Got::Whole("hot".to_owned())));
    }
    assert_eq!((origin.hits(), gateway.handle.in_flight()), (1, 0));
}

#[tokio::test]
async fn a_burst_at_a_failing_origin_costs_one_hit() {
    let count = up_to(500);
    let gate = Gate::new();
    let origin = origin(&gate, |mut exchange| {
        Box::pin(async move { exchange.whole("500 Internal Server Error", "", "sorry").await })
    })
    .await;
    let gateway = gateway(by_uri(), &origin).await;
    let clients = burst(count, gateway.address, "/a").await;
    until("all wait", || gateway.handle.waiting() == count).await;
    gate.open();
    for client in clients {
        let got = within(client).await.unwrap();
        assert_eq!(got, (StatusCode::INTERNAL_SERVER_ERROR, Got::Whole("sorry".to_owned())));
    }
    assert_eq!(origin.hits(), 1);
}

#[tokio::test]
async fn a_connection_reset_before_the_head_costs_one_hit() {
    let count = up_to(500);
    let gate = Gate::new();
    let origin = origin(&gate, |exchange| Box::pin(async move { exchange.reset() })).await;
    let gateway = gateway(by_uri(), &origin).await;
    let clients = burst(count, gateway.address, "/a").await;
    until("all wait", || gateway.handle.waiting() == count).await;
    gate.open();
    for client in clients {
        assert_eq!(within(client).await.unwrap().0, StatusCode::BAD_GATEWAY);
    }
    assert_eq!(origin.hits(), 1);
}

#[tokio::test]
async fn a_connection_closed_before_the_head_costs_one_hit() {
    let gate = Gate::new();
    let origin = origin(&gate, |exchange| Box::pin(async move { drop(exchange) })).await;
    let gateway = gateway(by_uri(), &origin).await;
    let clients = burst(50, gateway.address, "/a").await;
    until("all wait", || gateway.handle.waiting() == 50).await;
    gate.open();
    for client in clients {
        assert_eq!(within(client).await.unwrap().0, StatusCode::BAD_GATEWAY);
    }
    assert_eq!(origin.hits(), 1);
}

#[tokio::test]
async fn a_connection_reset_in_the_middle_breaks_every_body_and_costs_one_hit() {
    let gate = Gate::new();
    let origin = origin(&gate, |mut exchange| {
        Box::pin(async move {
            exchange.head("200 OK", "content-length: 1000000\r\n").await;
            exchange.write(&"x".repeat(100_000)).await;
            exchange.reset();
        })
    })
    .await;
    let gateway = gateway(by_uri(), &origin).await;
    let mut tasks = Vec::new();
    for _ in 0..50 {
        let mut client = Connection::h1(gateway.address).await;
        tasks.push(tokio::spawn(async move {
            match client.get("/a", &[]).await {
                Ok(mut response) => {
                    matches!(rest(response.body_mut()).await, Got::Broken(_))
                        || response.status() == 502
                }
                Err(_) => true,
            }
        }));
    }
    until("all wait", || gateway.handle.waiting() == 50).await;
    gate.open();
    for task in tasks {
        assert!(within(task).await.unwrap(), "a clean end");
    }
    assert_eq!(origin.hits(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_hangs_owns_its_key_for_thirty_seconds() {
    let mut bench = Bench::new();
    let mut hung = [bench.get("/a"), bench.get("/a")];
    tokio::time::advance(Duration::from_millis(29_999)).await;
    let mut last = bench.get("/a");
    assert_eq!(bench.calls(), 1);
    tokio::time::advance(Duration::from_millis(1)).await;
    let mut new = [bench.get("/a"), bench.get("/a")];
    assert_eq!(bench.calls(), 2);
    settle().await;
    let _hangs = bench.upstream.next();
    bench.answer(ok("new")).await;
    assert_eq!((new[0].text(), new[1].text()), ("new".to_owned(), "new".to_owned()));
    assert!(hung.iter_mut().all(crate::support::Call::waits) && last.waits());
}

#[tokio::test]
async fn a_panic_of_the_upstream_reaches_its_waiters_and_frees_the_key() {
    let inner = service_fn(|_: crate::support::Ask| async {
        tokio::task::yield_now().await;
        if true {
            panic!("the upstream panicked");
        }
        Ok::<Response<crate::support::Body>, BoxError>(ok(""))
    });
    let layer = by_uri();
    let service = layer.clone().shared_errors().layer(inner);
    for _ in 0..2 {
        let calls = [(); 3].map(|()| tokio::spawn(service.clone().oneshot(get("/a", &[]))));
        for call in calls {
            let panic = within(call).await.unwrap_err().into_panic();
            assert!(text_of(panic).contains("the upstream panicked"));
        }
        assert_eq!(layer.handle().in_flight(), 0);
    }
}

// Cache-Status.

fn said(response: &Response<SharedBody>) -> Vec<&str> {
    response.headers().get_all("cache-status").iter().map(|value| value.to_str().unwrap()).collect()
}

fn saying(name: &str) -> Bench {
    Bench::with(HttpPolicy::default().cache_status(name))
}

#[tokio::test]
async fn nothing_is_said_unless_asked_for() {
    let mut bench = Bench::new();
    let mut calls = [bench.get("/a"), bench.get("/a")];
    bench.answer(ok("")).await;
    for call in &mut calls {
        assert!(said(&call.response()).is_empty());
    }
}

#[tokio::test]
async fn a_leader_says_miss_and_followers_collapsed() {
    let mut bench = saying("edge");
    let mut calls = [bench.get("/a"), bench.get("/a"), bench.get("/a")];
    bench.answer(ok("")).await;
    assert_eq!(said(&calls[0].response()), ["edge; fwd=miss"]);
    assert_eq!(said(&calls[1].response()), ["edge; fwd=uri-miss; collapsed"]);
    assert_eq!(said(&calls[2].response()), ["edge; fwd=uri-miss; collapsed"]);
}

#[tokio::test]
async fn a_refetch_says_that_it_was_not_collapsed() {
    let mut bench = saying("edge");
    let mut calls = [bench.get("/a"), bench.get("/a")];
    bench.answer(reply(403, &[], "")).await;
    assert!(calls[1].waits());
    bench.answer(ok("")).await;
    assert_eq!(said(&calls[0].response()), ["edge; fwd=miss"]);
    assert_eq!(said(&calls[1].response()), ["edge; fwd=uri-miss; collapsed=?0"]);
}

#[tokio::test]
async fn a_pass_says_bypass() {
    let mut bench = saying("edge");
    for request in [get("/a", &[("range", "bytes=0-1")]), ask(Method::POST, "/a", &[])] {
        let mut passed = bench.send(request);
        bench.answer(ok("")).await;
        assert_eq!(said(&passed.response()), ["edge; fwd=bypass"]);
    }
}

#[tokio::test]
async fn who_comes_late_is_collapsed_as_well() {
    let mut bench =
        Bench::with(HttpPolicy::default().cache_status("edge").late_joins(LateJoin::Always));
    let mut leader = bench.get("/a");
    let (_flow, body) = flow();
    bench.answer(with_body(200, &[("cache-status", "origin; hit")], body)).await;
    let led = leader.response();
    let late = bench.get("/a").response();
    assert_eq!(said(&led), ["origin; hit", "edge; fwd=miss"]);
    assert_eq!(said(&late), ["origin; hit", "edge; fwd=uri-miss; collapsed"]);
}

#[tokio::test]
async fn who_leads_by_vary_refetches() {
    let mut bench = saying("edge");
    let mut calls = ["a", "b", "b"].map(|kind| bench.send(get("/a", &[("x-kind", kind)])));
    bench.answer(reply(200, &[("vary", "x-kind")], "")).await;
    assert!(calls[1].waits() && calls[2].waits());
    bench.answer(reply(200, &[("vary", "x-kind")], "")).await;
    assert_eq!(said(&calls[0].response()), ["edge; fwd=miss"]);
    assert_eq!(said(&calls[1].response()), ["edge; fwd=uri-miss; collapsed=?0"]);
    assert_eq!(said(&calls[2].response()), ["edge; fwd=uri-miss; collapsed"]);
}

#[tokio::test]
async fn a_name_that_is_no_token_is_quoted() {
    for (name, says) in [
        ("ExampleCache", "ExampleCache"),
        ("a.b:c/d", "a.b:c/d"),
        ("my cache", "\"my cache\""),
        ("1st", "\"1st\""),
        ("a\"b\\c", "\"a\\\"b\\\\c\""),
        ("a;b", "\"a;b\""),
    ] {
        let mut bench = saying(name);
        let mut call = bench.get("/a");
        bench.answer(ok("")).await;
        assert_eq!(said(&call.response()), [format!("{says}; fwd=miss")]);
    }
}

#[test]
#[should_panic(expected = "printable ASCII")]
fn a_name_with_a_line_break_is_refused() {
    let _ = HttpPolicy::default().cache_status("a\r\nset-cookie: x");
}

#[test]
#[should_panic(expected = "printable ASCII")]
fn an_empty_name_is_refused() {
    let _ = HttpPolicy::default().cache_status("");
}

#[tokio::test]
async fn an_extractor_that_panics_harms_its_caller_only() {
    let layer = tower_singleflight::SingleflightLayer::new(|req| {
        assert!(req.uri().path() != "/bad", "no key for this");
        req.uri().to_string()
    });
    let mut bench = Bench::of(&layer);
    let mut leader = bench.get("/a");
    for method in [Method::GET, Method::POST] {
        assert!(panics(|| drop(bench.send(ask(method, "/bad", &[])))));
    }
    let mut follower = bench.get("/a");
    bench.answer(ok("fine")).await;
    assert_eq!(
        (role(&leader.response()), role(&follower.response())),
        (Some(Role::Leader), Some(Role::Follower))
    );
    assert_eq!(bench.handle.in_flight(), 0);
}

/// Panics when it is called, and again when it is dropped after that.
#[derive(Clone)]
struct Explosive {
    was_called: bool,
}

impl Drop for Explosive {
    fn drop(&mut self) {
        if std::mem::take(&mut self.was_called) {
            panic!("dropped");
        }
    }
}

impl tower::Service<http::Request<String>> for Explosive {
    type Response = http::Response<String>;
    type Error = std::convert::Infallible;
    type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Request<String>) -> Self::Future {
        self.was_called = true;
        panic!("called");
    }
}

#[tokio::test]
async fn a_service_that_panics_in_its_call_may_panic_in_its_drop_too() {
    let service =
        SingleflightLayer::new(|req| req.uri().to_string()).layer(Explosive { was_called: false });
    let call = tokio::spawn(service.oneshot(http::Request::new(String::new())));
    assert!(call.await.unwrap_err().is_panic());
}
