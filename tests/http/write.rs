//! A read that comes after a write never gets an answer from before it.

use crate::support::{
    Bench, Call, Flow, Read, ask, by_nothing, by_uri, flow, get, ok, read, reply, role, seals,
    settle, with_body,
};
use http::Method;
use tower_singleflight::{HttpPolicy, LateJoin, Role};

fn write(bench: &mut Bench) -> Call {
    bench.send(ask(Method::POST, "/a", &[]))
}

/// The write's call, behind the one that waits before it.
#[track_caller]
fn second_of(bench: &Bench) -> (crate::support::Open, crate::support::Open) {
    (bench.upstream.next(), bench.upstream.next())
}

#[tokio::test]
async fn a_read_after_the_write_was_sent_leads_anew() {
    for method in ["POST", "PUT", "DELETE", "PATCH", "PROPPATCH", "get"] {
        let mut bench = Bench::new();
        let mut before = [bench.get("/a"), bench.get("/a")];
        let _write = bench.send(ask(Method::from_bytes(method.as_bytes()).unwrap(), "/a", &[]));
        let mut after = [bench.get("/a"), bench.get("/a")];
        assert_eq!(bench.calls(), 3, "{method}: a read, the write, a read");
        settle().await;
        bench.answer(ok("from before")).await;
        assert_eq!(
            (before[0].text(), before[1].text()),
            ("from before".to_owned(), "from before".to_owned())
        );
        assert!(after.iter_mut().all(Call::waits));
        bench.upstream.next();
        bench.answer(ok("from after")).await;
        assert_eq!(
            (after[0].text(), after[1].text()),
            ("from after".to_owned(), "from after".to_owned())
        );
        assert_eq!(bench.handle.in_flight(), 0);
    }
}

#[tokio::test]
async fn a_read_after_the_write_was_answered_leads_anew() {
    let mut bench = Bench::new();
    let mut write = write(&mut bench);
    // It may have been answered by the upstream before the write took effect.
    let _during = bench.get("/a");
    let (sent, _during_call) = second_of(&bench);
    let _joins = bench.get("/a");
    assert_eq!(bench.calls(), 2);
    sent.answer(ok("done"));
    assert!(!write.waits());
    let _after = bench.get("/a");
    assert_eq!(bench.calls(), 3);
}

#[tokio::test]
async fn the_flights_are_sealed_before_the_writer_has_its_answer() {
    let mut bench = Bench::new();
    let mut write = write(&mut bench);
    let mut during = bench.get("/a");
    let (sent, read) = second_of(&bench);
    sent.answer(reply(500, &[], "failed, perhaps"));
    let answer = write.response();
    let mut after = bench.get("/a");
    assert_eq!(bench.calls(), 3);
    drop(answer);
    read.answer(ok("during"));
    bench.answer(ok("after")).await;
    assert_eq!((during.text(), after.text()), ("during".to_owned(), "after".to_owned()));
}

#[tokio::test]
async fn a_write_that_fails_seals() {
    let mut bench = Bench::new();
    let mut write = write(&mut bench);
    let _during = bench.get("/a");
    bench.upstream.next().fail("reset, but the upstream may have done it");
    assert!(write.result().is_err());
    let _after = bench.get("/a");
    assert_eq!(bench.calls(), 3);
}

#[tokio::test]
async fn a_write_that_is_cancelled_seals() {
    let mut bench = Bench::new();
    let write = write(&mut bench);
    let _during = bench.get("/a");
    let _joins = bench.get("/a");
    assert_eq!(bench.calls(), 2);
    drop(write);
    let _after = bench.get("/a");
    assert_eq!(bench.calls(), 3);
}

#[tokio::test]
async fn a_read_that_joined_before_the_write_keeps_its_flight() {
    let mut bench = Bench::new();
    let mut before = [bench.get("/a"), bench.get("/a")];
    let _write = write(&mut bench);
    settle().await;
    bench.answer(ok("from before")).await;
    let roles = before.each_mut().map(|call| role(&call.response()));
    assert_eq!(roles, [Some(Role::Leader), Some(Role::Follower)]);
}

#[tokio::test]
async fn the_methods_that_iana_registers_as_safe_do_not_seal() {
    for method in ["HEAD", "OPTIONS", "TRACE", "PROPFIND", "REPORT", "SEARCH", "QUERY", "PRI"] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let mut bench = Bench::new();
        let _before = bench.get("/a");
        drop(bench.send(ask(method.clone(), "/a", &[])));
        let _after = bench.get("/a");
        assert_eq!(bench.calls(), 2, "{method}");
    }
}

#[tokio::test]
async fn a_write_to_another_key_does_not_seal() {
    let mut bench = Bench::new();
    let _before = bench.get("/a");
    let _write = bench.send(ask(Method::POST, "/b", &[]));
    let _after = bench.get("/a");
    assert_eq!(bench.calls(), 2);
}

#[tokio::test]
async fn a_write_seals_the_flights_of_its_key_in_every_partition() {
    let mut bench = Bench::of(&by_nothing());
    let partitions = || {
        [
            get("/a", &[]),
            get("/b", &[]),
            ask(Method::HEAD, "/a", &[]),
            get("/a", &[("cookie", "user")]),
            get("/a", &[("host", "b.example")]),
        ]
    };
    let _before = partitions().map(|request| bench.send(request));
    let _write = bench.send(ask(Method::DELETE, "/a", &[("cookie", "another")]));
    assert_eq!(bench.calls(), 6);
    let _after = partitions().map(|request| bench.send(request));
    assert_eq!(bench.calls(), 11);
}

#[tokio::test]
async fn a_write_seals_flights_by_vary_too() {
    let mut bench = Bench::new();
    let ask = |kind| get("/a", &[("x-kind", kind)]);
    let _leader = bench.send(ask("a"));
    let mut before = bench.send(ask("b"));
    bench.answer(reply(200, &[("vary", "x-kind")], "")).await;
    assert!(before.waits());
    let _write = write(&mut bench);
    // This one is sent on as well, to where the one before the write waits.
    let _another = bench.send(ask("a"));
    let mut after = bench.send(ask("b"));
    let (old, _write) = second_of(&bench);
    bench.answer(reply(200, &[("vary", "x-kind")], "")).await;
    assert!(after.waits());
    assert_eq!(bench.upstream.open(), 1, "it leads anew");
    old.answer(ok("from before"));
    bench.answer(ok("from after")).await;
    assert_eq!((before.text(), after.text()), ("from before".to_owned(), "from after".to_owned()));
}

#[tokio::test]
async fn a_write_that_the_filter_refuses_seals_all_the_same() {
    let mut bench = Bench::of(&by_uri().filter(|req| req.method() == Method::GET));
    let _before = bench.get("/a");
    let _write = write(&mut bench);
    let _after = bench.get("/a");
    assert_eq!(bench.calls(), 3);
}

#[tokio::test]
async fn a_write_through_a_clone_of_the_service_seals() {
    use crate::support::Upstream;
    use tower::Layer;
    let upstream = Upstream::default();
    let layer = by_uri();
    // As axum does it: a service for each connection.
    let (mut one, mut two) = (layer.layer(upstream.clone()), layer.clone().layer(upstream.clone()));
    assert!(seals(&mut two, &mut one, &upstream));
}

#[tokio::test]
async fn a_method_that_the_user_lets_share_is_no_write() {
    let query = Method::from_bytes(b"QUERY").unwrap();
    let policy = HttpPolicy::default().methods([Method::GET, query.clone()]);
    let mut bench = Bench::with(policy);
    let _before = bench.get("/a");
    let _query = bench.send(ask(query, "/a", &[]));
    let _after = bench.get("/a");
    assert_eq!(bench.calls(), 2);
}

#[tokio::test]
async fn forget_seals_like_a_write() {
    let mut bench = Bench::new();
    let mut before = bench.get("/a");
    bench.handle.forget("/a");
    let mut after = [bench.get("/a"), bench.get("/a")];
    assert_eq!((bench.calls(), bench.handle.in_flight()), (2, 2));
    settle().await;
    bench.answer(ok("before")).await;
    bench.answer(ok("after")).await;
    assert_eq!(
        (before.text(), after[0].text(), after[1].text()),
        ("before".into(), "after".into(), "after".into())
    );
}

// After the head.

const FRESH: [(&str, &str); 1] = [("cache-control", "max-age=60")];

/// The leader's body is open, and its response fresh.
async fn streaming(bench: &mut Bench) -> (tower_singleflight::SharedBody, Flow) {
    let mut leader = bench.get("/a");
    let (flow, body) = flow();
    bench.answer(with_body(200, &FRESH, body)).await;
    (leader.response().into_body(), flow)
}

#[tokio::test]
async fn a_streaming_body_takes_late_arrivals_without_a_write() {
    // What the tests after this one rely on.
    let mut bench = Bench::new();
    let (_body, _flow) = streaming(&mut bench).await;
    let mut late = bench.get("/a");
    assert_eq!((role(&late.response()), bench.calls()), (Some(Role::Follower), 1));
}

#[tokio::test]
async fn a_write_seals_a_streaming_body_when_it_is_sent() {
    let mut bench = Bench::new();
    let (mut body, flow) = streaming(&mut bench).await;
    let mut before = bench.get("/a").response().into_body();
    let _write = write(&mut bench);
    let mut after = bench.get("/a");
    assert!(after.waits());
    assert_eq!(bench.calls(), 3);
    flow.data("old");
    drop(flow);
    for body in [&mut body, &mut before] {
        assert_eq!(read(body), Read::Ended("old".to_owned()), "who was there before reads on");
    }
}

#[tokio::test]
async fn a_write_seals_a_streaming_body_when_it_is_answered() {
    let mut bench = Bench::new();
    let mut write = write(&mut bench);
    let sent = bench.upstream.next();
    let (_body, _flow) = streaming(&mut bench).await;
    assert_eq!(
        role(&bench.get("/a").response()),
        Some(Role::Follower),
        "while the write is under way"
    );
    sent.answer(ok("done"));
    assert!(!write.waits());
    assert!(bench.get("/a").waits());
    assert_eq!(bench.calls(), 3);
}

#[tokio::test]
async fn forget_seals_a_streaming_body() {
    let mut bench = Bench::new();
    let (_body, _flow) = streaming(&mut bench).await;
    bench.handle.forget("/a");
    assert!(bench.get("/a").waits());
}

#[tokio::test]
async fn a_flight_sealed_before_its_head_takes_nobody_after_it() {
    let mut bench = Bench::new();
    let mut before = bench.get("/a");
    let mut write = write(&mut bench);
    let (old, sent) = second_of(&bench);
    sent.answer(ok("done"));
    assert!(!write.waits());
    let (_flow, body) = flow();
    old.answer(with_body(200, &FRESH, body));
    settle().await;
    let _body = before.response().into_body();
    let mut after = bench.get("/a");
    assert!(after.waits());
    assert_eq!(bench.calls(), 3);
}

#[tokio::test]
async fn a_forgotten_flights_head_does_not_push_a_newer_stream_aside() {
    let mut bench = Bench::new();
    let mut old = bench.get("/a");
    bench.handle.forget("/a");
    let forgotten = bench.upstream.next();
    let (_body, _flow) = streaming(&mut bench).await;
    let (_old_flow, body) = flow();
    forgotten.answer(with_body(200, &[("x-age", "old"), FRESH[0]], body));
    settle().await;
    let _old = old.response();
    let mut late = bench.get("/a");
    assert!(!late.response().headers().contains_key("x-age"));
}

#[tokio::test]
async fn a_sealed_body_takes_nobody_even_if_anybody_may_come_late() {
    let mut bench = Bench::with(HttpPolicy::default().late_joins(LateJoin::Always));
    let mut leader = bench.get("/a");
    let (_flow, body) = flow();
    bench.answer(with_body(200, &[], body)).await;
    let _body = leader.response().into_body();
    assert_eq!(role(&bench.get("/a").response()), Some(Role::Follower));
    let _write = write(&mut bench);
    assert!(bench.get("/a").waits());
}

/// A newcomer that finds its flight too old replaces it, so that a write later on cannot find the
/// old one.
#[tokio::test(start_paused = true)]
async fn a_flight_that_was_too_old_for_newcomers_takes_nobody_after_a_write() {
    use std::time::Duration;
    let layer = by_uri().join_within(Duration::from_secs(1));
    let mut bench = Bench::of(&layer);
    let mut old = bench.get("/a");
    tokio::time::advance(Duration::from_secs(1)).await;
    let _newer = bench.get("/a");
    assert_eq!(bench.calls(), 2);
    let mut write = write(&mut bench);
    let _old_and_newer = second_of(&bench);
    bench.answer(ok("done")).await;
    assert!(!write.waits());
    let (_flow, body) = flow();
    _old_and_newer.0.answer(with_body(200, &FRESH, body));
    settle().await;
    let _body = old.response().into_body();
    assert!(bench.get("/a").waits());
}

/// The same, where the services of one group do not agree in how old a flight may be.
#[tokio::test(start_paused = true)]
async fn a_flight_too_old_for_one_service_takes_nobody_after_a_write_through_another() {
    use crate::support::Upstream;
    use std::time::Duration;
    use tower::{Layer, Service};
    let upstream = Upstream::default();
    let layer = by_uri();
    let (mut patient, mut strict) = (
        layer.layer(upstream.clone()),
        layer.clone().join_within(Duration::from_secs(1)).layer(upstream.clone()),
    );
    let mut old = tokio_test::task::spawn(patient.call(get("/a", &[])));
    assert!(old.poll().is_pending());
    tokio::time::advance(Duration::from_secs(2)).await;
    let mut newer = tokio_test::task::spawn(strict.call(get("/a", &[])));
    assert!(newer.poll().is_pending());
    let mut write = tokio_test::task::spawn(patient.call(ask(Method::POST, "/a", &[])));
    assert!(write.poll().is_pending());
    let (first, _second) = (upstream.next(), upstream.next());
    upstream.next().answer(ok("done"));
    assert!(write.poll().is_ready());
    let (_flow, body) = flow();
    first.answer(with_body(200, &FRESH, body));
    let std::task::Poll::Ready(Ok(_old)) = old.poll() else { panic!("no answer") };
    let mut after = tokio_test::task::spawn(patient.call(get("/a", &[])));
    assert!(after.poll().is_pending(), "it got the answer from before the write");
}

#[tokio::test]
async fn a_write_seals_its_path_whatever_the_query_and_the_host() {
    for spelling in [
        "/items/7?fields=name",
        "http://h/items/7",
        "https://i/items/7?x",
        "/items/%37",
        "/%69tems/7",
    ] {
        let mut bench = Bench::new();
        let mut before = bench.get(spelling);
        let mut write = bench.send(ask(Method::PUT, "/items/7", &[]));
        let (read, sent) = second_of(&bench);
        sent.answer(ok("done"));
        settle().await;
        write.text();
        let mut after = bench.get(spelling);
        assert_eq!(bench.calls(), 3, "{spelling}");
        read.answer(ok("old"));
        bench.answer(ok("new")).await;
        assert_eq!((before.text(), after.text()), ("old".to_owned(), "new".to_owned()));
    }
}

#[tokio::test]
async fn a_write_in_another_spelling_seals_as_well() {
    for spelling in ["/items/7?force=1", "http://h/items/7", "/items/%37"] {
        let mut bench = Bench::new();
        let _before = bench.get("/items/7?fields=name");
        let _write = bench.send(ask(Method::DELETE, spelling, &[]));
        let _after = bench.get("/items/7?fields=name");
        assert_eq!(bench.calls(), 3, "{spelling}");
    }
}

#[tokio::test]
async fn a_write_seals_a_streaming_body_of_its_path() {
    let mut bench = Bench::with(HttpPolicy::default().late_joins(LateJoin::Always));
    let mut before = bench.get("/a?fields=name");
    let (_flow, body) = flow();
    bench.answer(with_body(200, &[], body)).await;
    let _before = before.response();
    assert!(!bench.get("/a?fields=name").waits(), "it joins");
    let _write = bench.send(ask(Method::PATCH, "/a", &[]));
    assert!(bench.get("/a?fields=name").waits(), "it leads");
}

#[tokio::test]
async fn a_write_to_another_path_seals_nothing() {
    let mut bench = Bench::new();
    let _before = bench.get("/items/7?fields=name");
    for path in ["/items/8", "/items", "/items/7/", "/items/77"] {
        let _write = bench.send(ask(Method::PUT, path, &[]));
    }
    let _after = bench.get("/items/7?fields=name");
    assert_eq!(bench.stats().joined, 1);
}

#[tokio::test]
async fn a_write_that_was_sent_while_the_layer_was_disabled_seals_when_it_is_answered() {
    let mut bench = Bench::new();
    bench.handle.set_enabled(false);
    let mut write = write(&mut bench);
    bench.handle.set_enabled(true);
    // The upstream may answer it before the write takes effect.
    let _during = bench.get("/a");
    let (sent, _read) = second_of(&bench);
    sent.answer(ok("done"));
    assert!(!write.waits());
    let _after = bench.get("/a");
    assert_eq!(bench.calls(), 3);
}
