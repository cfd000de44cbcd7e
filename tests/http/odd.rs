//! What somebody tried who knew the promises and not the code.

use crate::{
    net::{Connection, Gate, Got, rest, serve, until},
    support::{
        Bench, Call, Failure, Read, Upstream, ask, by_uri, flow, get, name, ok, panics, read,
        reply, settle, text, with_body,
    },
};
use axum::{Router, extract::OriginalUri};
use bytes::Bytes;
use http::{Method, Request};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use std::{
    error::Error,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::advance,
};
use tokio_test::task::spawn;
use tower::{Layer, Service, ServiceExt};
use tower_singleflight::{
    BoxError, Handle, HttpPolicy, PassReason, SharedError, SingleflightLayer,
};

/// The flights in progress, and those who wait for them.
fn left(bench: &Bench) -> (usize, usize) {
    (bench.handle.in_flight(), bench.handle.waiting())
}

/// A leader that was refused, and followers that nobody has polled since.
async fn refused(bench: &mut Bench, followers: usize) -> Vec<Call> {
    let mut leader = bench.get("/a");
    let followers = (0..followers).map(|_| bench.get("/a")).collect();
    settle().await;
    bench.answer(reply(403, &[], "no")).await;
    assert_eq!(leader.text(), "no");
    followers
}

#[tokio::test]
async fn whoever_arrives_after_a_refusal_is_answered_though_no_follower_is_polled() {
    let mut bench = Bench::new();
    let mut quiet = refused(&mut bench, 3).await;
    let mut newcomer = bench.get("/a");
    settle().await;
    bench.answer(ok("yes")).await;
    assert_eq!(newcomer.text(), "yes");
    for call in &mut quiet {
        assert!(call.is_woken());
        assert_eq!(call.text(), "yes");
    }
    assert_eq!((bench.calls(), left(&bench)), (2, (0, 0)));
}

#[tokio::test]
async fn followers_of_a_refusal_that_leave_unpolled_leave_nothing() {
    for run in [false, true] {
        let mut bench = Bench::of(&by_uri().run_to_completion(run));
        drop(refused(&mut bench, 3).await);
        settle().await;
        assert_eq!((bench.calls(), left(&bench)), (1, (0, 0)));
        let mut next = bench.get("/a");
        bench.answer(ok("yes")).await;
        assert_eq!(next.text(), "yes");
    }
}

#[tokio::test]
async fn the_follower_that_leads_after_a_refusal_may_leave() {
    let mut bench = Bench::new();
    let mut followers = refused(&mut bench, 4).await;
    assert!(followers[0].waits());
    settle().await;
    drop(followers.remove(0));
    bench.answer(reply(429, &[], "slow down")).await;
    for call in &mut followers {
        assert_eq!(call.text(), "slow down");
    }
    assert_eq!((bench.calls(), left(&bench)), (2, (0, 0)));
}

#[tokio::test]
async fn a_leader_that_never_takes_its_refusal_delays_nobody() {
    let mut bench = Bench::new();
    let (leader, mut followers) = (bench.get("/a"), [bench.get("/a"), bench.get("/a")]);
    settle().await;
    let (flow, body) = flow();
    bench.answer(with_body(403, &[], body)).await;
    assert!(followers.iter_mut().all(Call::waits));
    settle().await;
    bench.answer(ok("yes")).await;
    assert_eq!(followers.each_mut().map(Call::text), ["yes", "yes"]);
    assert!(!flow.is_dropped());
    drop(leader);
    assert!(flow.is_dropped());
    assert_eq!(left(&bench), (0, 0));
}

#[test]
fn followers_go_on_where_there_is_no_runtime() {
    let mut bench = Bench::new();
    let (mut leader, mut followers) =
        (bench.get("/a"), vec![bench.get("/a"), bench.get("/a"), bench.get("/a")]);
    bench.upstream.next().answer(reply(403, &[], "no"));
    assert!(leader.is_woken());
    assert_eq!(leader.text(), "no");
    assert!(followers.iter().all(Call::is_woken));
    assert!(followers.iter_mut().all(Call::waits));
    drop(followers.remove(0));
    bench.upstream.next().answer(ok("yes"));
    while followers.iter().any(Call::is_woken)
        && followers.iter_mut().filter_map(|call| call.waits().then_some(())).count() > 0
    {}
    for call in &mut followers {
        assert_eq!(call.text(), "yes");
    }
    assert_eq!((bench.calls(), left(&bench)), (2, (0, 0)));
}

#[tokio::test]
async fn refusals_and_errors_in_turn_come_to_an_end() {
    let policy = HttpPolicy::default().refusals(3);
    let mut bench = Bench::of(&by_uri().followers_retry(2).policy(policy));
    let mut calls: Vec<_> = (0..30).map(|_| bench.get("/a")).collect();
    for round in 0..5 {
        settle().await;
        let open = bench.upstream.next();
        if round % 2 == 0 {
            open.fail("down")
        } else {
            open.answer(reply(403, &[], "no"))
        }
        settle().await;
        calls.retain_mut(Call::waits);
    }
    assert_eq!((calls.len(), bench.calls(), left(&bench)), (0, 5, (0, 0)));
}

#[tokio::test(start_paused = true)]
async fn patience_begins_anew_with_the_flight_after_a_refusal() {
    let mut bench = Bench::of(&by_uri().wait_at_most(Duration::from_secs(1)));
    let (mut leader, mut followers) = (bench.get("/a"), vec![]);
    followers.extend((0..5).map(|_| bench.get("/a")));
    settle().await;
    bench.answer(reply(403, &[], "no")).await;
    leader.text();
    for calls in 2..7 {
        assert!(followers.iter_mut().all(Call::waits));
        settle().await;
        assert_eq!(bench.calls(), calls, "one more for each period");
        advance(Duration::from_secs(1)).await;
    }
    while let Some(open) = bench.upstream.try_next() {
        open.answer(ok("yes"));
    }
    settle().await;
    for call in &mut followers {
        assert_eq!(call.text(), "yes");
    }
    assert_eq!((bench.calls(), left(&bench)), (6, (0, 0)));
}

#[tokio::test(start_paused = true)]
async fn full_flights_that_hang_never_cost_more_than_a_call_for_each_client() {
    for most in [1, 2, 3, 12] {
        let mut bench = Bench::of(&by_uri().wait_at_most(Duration::from_secs(1)).max_waiters(most));
        let mut calls: Vec<_> = (0..12).map(|_| bench.get("/a")).collect();
        for _ in 0..12 {
            advance(Duration::from_secs(1)).await;
            assert!(calls.iter_mut().all(Call::waits));
            settle().await;
        }
        assert_eq!((bench.calls(), bench.handle.waiting()), (12, 12), "{most}");
        while let Some(open) = bench.upstream.try_next() {
            open.answer(ok("yes"));
        }
        settle().await;
        for call in &mut calls {
            assert_eq!(call.text(), "yes");
        }
        assert_eq!(left(&bench), (0, 0));
    }
}

#[tokio::test]
async fn a_429_for_all_streams_to_all_and_to_nobody_else() {
    let mut bench =
        Bench::with(HttpPolicy::default().refusals(1).own_response_header(name("x-id")));
    let mut calls = ["1", "2", "3"].map(|id| bench.send(get("/a", &[("x-id", id)])));
    settle().await;
    let (flow, body) = flow();
    let headers = [
        ("vary", "x-id"),
        ("cache-control", "max-age=60"),
        ("x-id", "1"),
        ("set-cookie", "session=1"),
    ];
    bench.answer(with_body(429, &headers, body)).await;
    let responses = calls.each_mut().map(Call::response);
    assert!(bench.get("/a").waits(), "it came after the head");
    flow.data("slow down");
    drop(flow);
    for (response, id) in responses.into_iter().zip(["1", "2", "3"]) {
        assert_eq!(response.headers()["x-id"], id);
        assert_eq!(response.headers().contains_key("set-cookie"), id == "1");
        assert_eq!(text(response), "slow down");
    }
}

#[tokio::test]
async fn every_status_does_what_the_policy_says_by_get_and_by_head() {
    let lifetimes = [
        ("x", "", false),
        ("cache-control", "max-age=60", true),
        ("cache-control", "public", true),
    ];
    let others = [
        ("expires", "Thu, 01 Jan 2099 00:00:00 GMT", false),
        ("cache-control", "max-age=9, s-maxage=0", false),
    ];
    for status in 200..=599 {
        for (field, value, storable) in lifetimes.into_iter().chain(others) {
            for method in [Method::GET, Method::HEAD] {
                let refuses =
                    matches!(status, 400..=499 | 511) && ![404, 410, 451].contains(&status);
                let is_plain = matches!(
                    status,
                    200 | 203 | 204 | 300 | 301 | 304 | 308 | 404 | 410 | 451 | 500..
                );
                let shares = !refuses && status != 206 && (is_plain || storable);
                let mut bench = Bench::new();
                let mut calls: Vec<_> =
                    (0..3).map(|_| bench.send(ask(method.clone(), "/a", &[]))).collect();
                settle().await;
                bench.answer(reply(status, &[(field, value)], "")).await;
                calls.retain_mut(Call::waits);
                settle().await;
                let expected = if shares { (0, 1) } else { (2, if refuses { 2 } else { 3 }) };
                assert_eq!(
                    (calls.len(), bench.calls()),
                    expected,
                    "{method} {status} {field}: {value}"
                );
                while let Some(open) = bench.upstream.try_next() {
                    open.answer(reply(status, &[], ""));
                    settle().await;
                    calls.retain_mut(Call::waits);
                }
                assert_eq!((calls.len(), left(&bench)), (0, (0, 0)), "{method} {status}");
            }
        }
    }
}

#[tokio::test]
async fn a_write_seals_whatever_its_method_and_its_spelling() {
    let spellings = [
        "/caf%C3%A9/x-y_z",
        "/caf%c3%a9/x-y_z",
        "/%63af%C3%A9/x%2Dy%5fz",
        "http://other/caf%C3%A9/x-y_z?q=1",
        "https://u:p@h:1/caf%c3%a9%2Fx-y_z",
    ];
    let layer = || SingleflightLayer::new(|req| format!("{} {}", req.method(), req.uri()));
    for method in ["PUT", "DELETE", "PATCH", "POST", "PROPPATCH", "MKCOL", "PURGE", "get"] {
        for spelling in spellings {
            let mut bench = Bench::of(&layer());
            let read = || get("http://h/caf%C3%A9/x-y_z?page=2", &[("host", "h")]);
            let _before = bench.send(read());
            let mut write =
                bench.send(ask(Method::from_bytes(method.as_bytes()).unwrap(), spelling, &[]));
            let _meanwhile = bench.send(read());
            assert_eq!(bench.stats().led, 2, "{method} {spelling}");
            let _open = bench.upstream.next();
            bench.answer(ok("written")).await;
            assert_eq!(write.text(), "written");
            let _after = bench.send(read());
            assert_eq!(bench.stats().led, 3, "{method} {spelling}");
        }
    }
}

#[tokio::test]
async fn nobody_joins_a_flight_from_before_a_write_that_came_while_the_layer_was_disabled() {
    let mut bench = Bench::new();
    let mut before = bench.get("/a");
    let read = bench.upstream.next();
    bench.handle.set_enabled(false);
    let mut write = bench.send(ask(Method::PUT, "/a", &[]));
    bench.answer(ok("written")).await;
    assert_eq!(write.text(), "written");
    bench.handle.set_enabled(true);
    let mut after = bench.get("/a");
    read.answer(ok("old"));
    settle().await;
    assert_eq!(before.text(), "old");
    assert!(after.waits());
    bench.answer(ok("new")).await;
    assert_eq!(after.text(), "new");
}

#[tokio::test]
async fn a_request_whose_body_ends_after_the_layer_was_disabled_passes() {
    let layer = by_uri();
    let handle = layer.handle();
    let mut service = layer.layer(tower::service_fn(|_: Request<crate::support::Body>| async {
        Ok::<_, Failure>(ok("passed"))
    }));
    let (flow, body) = flow();
    let mut call = spawn(Box::pin(service.call(Request::get("/a").body(body).unwrap())));
    assert!(call.poll().is_pending());
    handle.set_enabled(false);
    drop(flow);
    assert_eq!(text(call.await.unwrap()), "passed");
    assert_eq!(handle.stats().passed_by(PassReason::Disabled), 1);
}

#[tokio::test]
async fn the_closures_of_a_layer_may_use_its_handle() {
    let handle: Arc<OnceLock<Handle<String>>> = Arc::default();
    let used = handle.clone();
    let uses = move || {
        let handle = used.get().unwrap();
        handle.forget("/a");
        handle.forget_if(|key| {
            handle.forget(key);
            handle.forget_if(|_| handle.in_flight() > 0);
            handle.forget_all();
            handle.waiting() > 0 && handle.stats().led > 0
        });
        handle.set_enabled(true);
        true
    };
    let (in_key, in_filter, in_share_if) = (uses.clone(), uses.clone(), uses);
    let layer = SingleflightLayer::new(move |req| {
        in_key();
        req.uri().path().to_owned()
    });
    let layer = layer
        .filter(move |_| in_filter())
        .policy(HttpPolicy::default().share_if(move |_| in_share_if()));
    handle.set(layer.handle()).unwrap();
    let mut bench = Bench::of(&layer);
    let mut calls = [bench.get("/a"), bench.send(ask(Method::PUT, "/a", &[])), bench.get("/a")];
    while let Some(open) = bench.upstream.try_next() {
        open.answer(reply(200, &[("cache-control", "max-age=9")], "fine"));
    }
    settle().await;
    assert_eq!(calls.each_mut().map(Call::text), ["fine"; 3]);
    assert_eq!(left(&bench), (0, 0));
}

/// One frame, then it panics.
struct Breaks(bool);

impl Body for Breaks {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        assert!(!self.0, "it breaks");
        self.0 = true;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from("one")))))
    }
}

#[tokio::test]
async fn a_body_that_panics_is_an_error_for_the_other_readers() {
    let mut bench = Bench::new();
    let mut calls = [bench.get("/a"), bench.get("/a"), bench.get("/a")];
    settle().await;
    bench.answer(with_body(200, &[], Breaks(false).boxed_unsync())).await;
    let [mut first, others @ ..] = calls.each_mut().map(|call| call.response().into_body());
    assert!(panics(|| read(&mut first)));
    for mut body in others {
        assert!(matches!(read(&mut body), Read::Broken(start, _) if start == "one"));
    }
}

#[tokio::test]
async fn the_upstreams_error_is_found_through_two_layers() {
    let upstream = Upstream::default();
    let inner = by_uri().shared_errors().layer(upstream.clone());
    let mut outer = by_uri().shared_errors().followers_retry(1).layer(inner);
    let mut calls = [(); 3].map(|()| spawn(Box::pin(outer.call(get("/a", &[])))));
    let [leader, followers @ ..] = &mut calls;
    assert!(leader.poll().is_pending());
    settle().await;
    upstream.next().fail("once");
    settle().await;
    let found = |error: SharedError, failure| {
        assert_eq!(
            (error.to_string().as_str(), error.downcast_ref()),
            (failure, Some(&Failure(failure)))
        );
        let (mut cause, mut found) = (error.source(), false);
        while let Some(source) = cause {
            (cause, found) = (source.source(), found || source.is::<Failure>());
        }
        found
    };
    let Poll::Ready(Err(error)) = leader.poll() else { panic!("no error") };
    assert!(found(error, "once"));
    assert!(followers.iter_mut().all(|call| call.poll().is_pending()));
    settle().await;
    upstream.next().fail("twice");
    settle().await;
    for follower in followers {
        let Poll::Ready(Err(error)) = follower.poll() else { panic!("no error") };
        assert!(found(error, "twice"));
    }
    assert_eq!(upstream.calls(), 2);
}

#[tokio::test]
async fn a_write_to_one_of_two_nested_routers_seals_that_one() {
    let (gate, layer) = (Gate::new(), SingleflightLayer::new(|req| req.uri().path().to_owned()));
    let handle = layer.handle();
    let nested = || {
        let gate = gate.clone();
        let show = async move |uri: OriginalUri| {
            gate.passed().await;
            uri.path().to_owned()
        };
        Router::new()
            .route("/{id}", axum::routing::get(show).put(async || "written"))
            .layer(layer.clone())
    };
    let app = Router::new().nest("/users", nested()).nest("/orders", nested());
    let send = |method: &str, uri: &str| {
        let request =
            Request::builder().method(method).uri(uri).body(axum::body::Body::empty()).unwrap();
        tokio::spawn(app.clone().oneshot(request))
    };
    let paths = ["/users/1", "/orders/1", "/users/1"];
    let reads = paths.map(|path| send("GET", path));
    settle().await;
    send("PUT", "/orders/%31?x").await.unwrap().unwrap();
    let more = ["/users/1", "/orders/1"].map(|path| send("GET", path));
    settle().await;
    assert_eq!((handle.stats().led, handle.stats().joined), (3, 2));
    gate.open();
    for (read, path) in
        reads.into_iter().chain(more).zip(paths.into_iter().chain(["/users/1", "/orders/1"]))
    {
        let body = read.await.unwrap().unwrap().into_body().collect().await.unwrap();
        assert_eq!(body.to_bytes(), path);
    }
}

#[tokio::test]
async fn clients_of_both_versions_and_one_that_sends_the_absolute_form_cost_one_call() {
    let (gate, layer) = (Gate::new(), SingleflightLayer::new(|req| req.uri().path().to_owned()));
    let (handle, passes) = (layer.handle(), gate.clone());
    let hot = async move || {
        passes.passed().await;
        "hot"
    };
    let address = serve(Router::new().route("/hot", axum::routing::get(hot)).layer(layer)).await;
    let (one, two) = (Connection::h1(address).await, Connection::h2(address).await);
    let clients = [one, two].map(|mut client| {
        tokio::spawn(async move { rest(client.get("/hot", &[]).await.unwrap().body_mut()).await })
    });
    let mut third = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "GET http://{address}/hot HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    );
    third.write_all(head.as_bytes()).await.unwrap();
    until("all wait", || handle.waiting() == 3).await;
    gate.open();
    for client in clients {
        assert_eq!(client.await.unwrap(), Got::Whole("hot".to_owned()));
    }
    let mut answer = String::new();
    third.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("\r\n\r\nhot"), "{answer}");
    assert_eq!((handle.stats().led, handle.stats().joined), (1, 2));
}
