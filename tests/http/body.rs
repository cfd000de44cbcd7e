//! One body, many readers, through the layer.

use crate::{
    net::{Connection, Gate, Got, Origin, gateway, piece, rest, until},
    support::{Bench, Flow, Read, by_uri, flow, ok, read, reply, role, settle, with_body, within},
};
use http_body::Body as _;
use std::{sync::Arc, time::Duration};
use tower_singleflight::{HttpPolicy, PassReason, Role, SharedBody, SharedError, SlowReader};

/// As many readers of one open body, the leader's first.
async fn readers(bench: &mut Bench, path: &str, count: usize) -> (Vec<SharedBody>, Flow) {
    let mut calls: Vec<_> = (0..count).map(|_| bench.get(path)).collect();
    settle().await;
    let (flow, body) = flow();
    bench.answer(with_body(200, &[], body)).await;
    (calls.iter_mut().map(|call| call.response().into_body()).collect(), flow)
}

fn open(text: &str) -> Read {
    Read::Open(text.to_owned())
}

fn ended(text: &str) -> Read {
    Read::Ended(text.to_owned())
}

#[tokio::test]
async fn each_frame_reaches_every_reader_when_it_comes() {
    let mut bench = Bench::new();
    let (mut bodies, flow) = readers(&mut bench, "/a", 5).await;
    for frame in ["one", "two", "three"] {
        flow.data(frame);
        // Followers first: nobody depends on the leader.
        for body in bodies.iter_mut().rev() {
            assert_eq!(read(body), open(frame));
        }
    }
    drop(flow);
    for body in &mut bodies {
        assert_eq!(read(body), ended(""));
    }
}

#[tokio::test]
async fn data_is_never_copied() {
    let mut bench = Bench::new();
    let (bodies, flow) = readers(&mut bench, "/a", 3).await;
    let data = bytes::Bytes::from("some data");
    flow.data(data.clone());
    for mut body in bodies {
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        let std::task::Poll::Ready(Some(Ok(frame))) =
            std::pin::Pin::new(&mut body).poll_frame(&mut cx)
        else {
            panic!("no frame")
        };
        assert_eq!(frame.into_data().unwrap().as_ptr(), data.as_ptr());
    }
}

#[tokio::test]
async fn trailers_reach_every_reader() {
    let mut bench = Bench::new();
    let (mut bodies, flow) = readers(&mut bench, "/a", 3).await;
    flow.data("data");
    flow.trailer("x-sum", "1");
    drop(flow);
    for body in &mut bodies {
        assert_eq!(read(body), ended("data<x-sum: 1>"));
    }
}

#[tokio::test]
async fn an_error_reaches_every_reader_after_the_same_prefix() {
    let mut bench = Bench::new();
    let (mut bodies, flow) = readers(&mut bench, "/a", 3).await;
    flow.data("a");
    assert_eq!(read(&mut bodies[1]), open("a"));
    flow.data("b");
    flow.fail("reset");
    assert_eq!(read(&mut bodies[0]), Read::Broken("ab".to_owned(), "reset".to_owned()));
    assert_eq!(read(&mut bodies[1]), Read::Broken("b".to_owned(), "reset".to_owned()));
    assert_eq!(read(&mut bodies[2]), Read::Broken("ab".to_owned(), "reset".to_owned()));
}

#[tokio::test]
async fn the_errors_of_all_readers_are_the_upstreams_own() {
    use http_body_util::BodyExt;
    let mut bench = Bench::new();
    let (bodies, flow) = readers(&mut bench, "/a", 2).await;
    flow.fail("reset");
    for body in bodies {
        let error: SharedError = body.collect().await.unwrap_err();
        assert!(error.is::<crate::support::Failure>());
    }
}

#[tokio::test]
async fn a_body_shorter_than_its_length_is_never_a_clean_end() {
    struct Short(bool);
    impl http_body::Body for Short {
        type Data = bytes::Bytes;
        type Error = tower_singleflight::BoxError;
        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>, Self::Error>>> {
            let first = !std::mem::replace(&mut self.0, true);
            std::task::Poll::Ready(first.then(|| Ok(http_body::Frame::data("only".into()))))
        }
        fn size_hint(&self) -> http_body::SizeHint {
            http_body::SizeHint::with_exact(if self.0 { 6 } else { 10 })
        }
    }
    let mut bench = Bench::new();
    let mut calls = [bench.get("/a"), bench.get("/a")];
    let body = http_body_util::BodyExt::boxed_unsync(Short(false));
    bench.answer(with_body(200, &[], body)).await;
    for call in &mut calls {
        let Read::Broken(text, _) = read(&mut call.response().into_body()) else {
            panic!("a clean end")
        };
        assert_eq!(text, "only");
    }
}

#[tokio::test]
async fn the_size_hint_is_the_upstreams_for_each_reader() {
    let mut bench = Bench::new();
    let mut calls = [bench.get("/a"), bench.get("/a")];
    bench.answer(reply(200, &[], "12345")).await;
    let [mut one, other] = calls.each_mut().map(|call| call.response().into_body());
    assert_eq!((one.size_hint().exact(), other.size_hint().exact()), (Some(5), Some(5)));
    assert_eq!(read(&mut one), ended("12345"));
    assert_eq!((one.size_hint().exact(), other.size_hint().exact()), (Some(0), Some(5)));
    assert!(one.is_end_stream() && !other.is_end_stream());
}

#[tokio::test]
async fn the_leader_may_go_before_the_head() {
    let mut bench = Bench::new();
    let (leader, mut follower) = (bench.get("/a"), bench.get("/a"));
    settle().await;
    drop(leader);
    settle().await;
    assert_eq!((bench.upstream.open(), bench.calls()), (1, 1), "the same call goes on");
    bench.answer(ok("answer")).await;
    let response = follower.response();
    assert_eq!(role(&response), Some(Role::Follower));
    assert_eq!(crate::support::text(response), "answer");
}

#[tokio::test]
async fn the_leader_may_go_in_the_middle_of_the_body() {
    let mut bench = Bench::new();
    let (mut bodies, flow) = readers(&mut bench, "/a", 3).await;
    flow.data("a");
    assert_eq!(read(&mut bodies[0]), open("a"));
    drop(bodies.remove(0));
    flow.data("b");
    for body in &mut bodies {
        assert_eq!(read(body), open("ab"));
    }
    assert!(!flow.is_dropped());
}

#[tokio::test]
async fn a_leader_that_goes_between_head_and_first_poll_takes_nothing_along() {
    let mut bench = Bench::new();
    let (leader, mut follower) = (bench.get("/a"), bench.get("/a"));
    settle().await;
    let (flow, body) = flow();
    bench.answer(with_body(200, &[], body)).await;
    drop(leader);
    flow.data("a");
    assert_eq!(read(&mut follower.response().into_body()), open("a"));
}

#[tokio::test]
async fn the_upstreams_body_goes_with_the_last_reader_then_and_there() {
    let mut bench = Bench::new();
    let (mut bodies, flow) = readers(&mut bench, "/a", 3).await;
    flow.data("a");
    assert_eq!(read(&mut bodies[1]), open("a"));
    drop(bodies.remove(2));
    drop(bodies.remove(0));
    assert!(!flow.is_dropped());
    drop(bodies);
    assert!(flow.is_dropped());
}

#[tokio::test]
async fn the_inner_call_goes_with_the_last_waiter_then_and_there() {
    let mut bench = Bench::new();
    let calls = [bench.get("/a"), bench.get("/a")];
    settle().await;
    drop(calls);
    assert_eq!((bench.upstream.open(), bench.handle.in_flight()), (0, 0));
    assert_eq!(bench.stats().cancelled, 1);
}

#[tokio::test]
async fn a_response_that_nobody_takes_is_dropped_with_its_body() {
    let mut bench = Bench::new();
    let calls = [bench.get("/a"), bench.get("/a")];
    settle().await;
    let (flow, body) = flow();
    bench.answer(with_body(200, &[("cache-control", "max-age=60")], body)).await;
    assert!(!flow.is_dropped());
    drop(calls);
    assert!(flow.is_dropped());
    assert!(bench.get("/a").waits());
}

#[tokio::test(start_paused = true)]
async fn a_stalled_reader_is_evicted_after_the_pause_and_the_others_go_on() {
    let mut bench = Bench::with(HttpPolicy::default().body_limit(10));
    let (mut bodies, flow) = readers(&mut bench, "/a", 3).await;
    for _ in 0..4 {
        flow.data("12345");
    }
    assert_eq!(read(&mut bodies[0]), open("1234512345"), "its window is full");
    assert_eq!(read(&mut bodies[1]), open("1234512345"));
    tokio::time::advance(Duration::from_millis(999)).await;
    assert_eq!(read(&mut bodies[0]), open(""));
    tokio::time::advance(Duration::from_millis(2)).await;
    assert_eq!(read(&mut bodies[0]), open("1234512345"));
    assert_eq!(read(&mut bodies[1]), open("1234512345"));
    let Read::Broken(text, error) = read(&mut bodies[2]) else { panic!("it was not evicted") };
    assert_eq!(text, "", "never a part of what it missed");
    assert!(error.contains("10 bytes behind"), "{error}");
    drop(flow);
    assert_eq!(read(&mut bodies[0]), ended(""));
    assert_eq!(read(&mut bodies[1]), ended(""));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_never_polled_is_such_a_reader() {
    let mut bench = Bench::with(HttpPolicy::default().body_limit(10));
    let (mut leader, mut never) = (bench.get("/a"), bench.get("/a"));
    settle().await;
    let (flow, body) = flow();
    bench.answer(with_body(200, &[], body)).await;
    let mut body = leader.response().into_body();
    for _ in 0..4 {
        flow.data("12345");
    }
    assert_eq!(read(&mut body), open("1234512345"));
    tokio::time::advance(Duration::from_millis(1001)).await;
    assert_eq!(read(&mut body), open("1234512345"));
    let late = never.response();
    assert_eq!(late.status(), 200, "the head is there");
    assert!(
        matches!(read(&mut late.into_body()), Read::Broken(..)),
        "the body is not, and it is no clean end"
    );
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_catches_up_within_the_pause_misses_nothing() {
    let mut bench = Bench::with(HttpPolicy::default().body_limit(10));
    let (mut bodies, flow) = readers(&mut bench, "/a", 2).await;
    for _ in 0..4 {
        flow.data("12345");
    }
    assert_eq!(read(&mut bodies[0]), open("1234512345"));
    tokio::time::advance(Duration::from_millis(999)).await;
    assert_eq!(read(&mut bodies[1]), open("12345123451234512345"));
    drop(flow);
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(read(&mut bodies[0]), ended("1234512345"));
    assert_eq!(read(&mut bodies[1]), ended(""));
}

/// The first of two readers with a window of 10 bytes reads as far as it can of 20.
async fn stalled(slow: SlowReader) -> (Read, Vec<SharedBody>, Flow) {
    let mut bench = Bench::with(HttpPolicy::default().body_limit(10).slow_reader(slow));
    let (mut bodies, flow) = readers(&mut bench, "/a", 2).await;
    for _ in 0..4 {
        flow.data("12345");
    }
    (read(&mut bodies[0]), bodies, flow)
}

#[tokio::test(start_paused = true)]
async fn slow_readers_can_be_evicted_at_once() {
    let (all, mut bodies, _flow) = stalled(SlowReader::Evict).await;
    assert_eq!(all, open("12345123451234512345"));
    assert!(matches!(read(&mut bodies[1]), Read::Broken(..)));
}

#[tokio::test(start_paused = true)]
async fn slow_readers_can_hold_up_the_others() {
    let (some, mut bodies, _flow) = stalled(SlowReader::BackPressure).await;
    assert_eq!(some, open("1234512345"));
    tokio::time::advance(Duration::from_secs(3600)).await;
    assert_eq!(read(&mut bodies[0]), open(""));
    assert_eq!(read(&mut bodies[1]), open("12345123451234512345"));
    assert_eq!(read(&mut bodies[0]), open("1234512345"));
}

#[tokio::test(start_paused = true)]
async fn slow_readers_can_be_waited_for_without_bound() {
    let (all, mut bodies, _flow) = stalled(SlowReader::Unbounded).await;
    assert_eq!(all, open("12345123451234512345"));
    tokio::time::advance(Duration::from_secs(3600)).await;
    assert_eq!(read(&mut bodies[1]), open("12345123451234512345"));
}

#[tokio::test(start_paused = true)]
async fn slow_readers_can_have_a_longer_pause() {
    let (some, mut bodies, _flow) =
        stalled(SlowReader::PauseThenEvict(Duration::from_secs(5))).await;
    assert_eq!(some, open("1234512345"));
    tokio::time::advance(Duration::from_millis(4_999)).await;
    assert_eq!(read(&mut bodies[0]), open(""));
    tokio::time::advance(Duration::from_millis(2)).await;
    assert_eq!(read(&mut bodies[0]), open("1234512345"));
}

#[tokio::test]
async fn a_reader_in_its_window_is_never_evicted() {
    let mut bench = Bench::new();
    let (mut bodies, flow) = readers(&mut bench, "/a", 2).await;
    // 15 MiB of the 16.
    for _ in 0..15 {
        flow.data(vec![b'x'; 1 << 20]);
    }
    drop(flow);
    for body in &mut bodies {
        let Read::Ended(text) = read(body) else { panic!("it did not end") };
        assert_eq!(text.len(), 15 << 20);
    }
}

// The budget of all bodies together.

fn joins(bench: &mut Bench, path: &str) -> bool {
    let before = bench.calls();
    let calls = [bench.get(path), bench.get(path)];
    let new = bench.calls() - before;
    drop(calls);
    while bench.upstream.try_next().is_some() {}
    new == 1
}

#[tokio::test]
async fn nobody_joins_while_the_budget_is_spent() {
    let mut bench = Bench::with(HttpPolicy::default().body_budget(10));
    let (mut bodies, flow) = readers(&mut bench, "/a", 2).await;
    let waiting = bench.get("/before");
    flow.data("123456789");
    assert_eq!(read(&mut bodies[0]), open("123456789"));
    assert!(joins(&mut bench, "/b"), "nine are held for the one that lags");
    bench.upstream.try_next();
    flow.data("0");
    assert_eq!(read(&mut bodies[0]), open("0"));
    assert!(!joins(&mut bench, "/b"), "ten are");
    assert_eq!(bench.stats().passed_by(PassReason::BodyBudget), 2);
    drop(waiting);
    assert_eq!(read(&mut bodies[1]), open("1234567890"));
    assert!(joins(&mut bench, "/b"), "it is freed when all have passed it");
}

#[tokio::test]
async fn what_one_group_holds_does_not_spend_the_budget_of_another() {
    let layer = by_uri().policy(HttpPolicy::default().body_budget(10)).separate_groups();
    let (mut one, mut other) = (Bench::of(&layer), Bench::of(&layer));
    let (mut bodies, flow) = readers(&mut one, "/a", 2).await;
    flow.data("1234567890");
    assert_eq!(read(&mut bodies[0]), open("1234567890"));
    assert!(!joins(&mut one, "/b"));
    assert!(joins(&mut other, "/b"));
}

#[tokio::test]
async fn nobody_joins_late_while_the_budget_is_spent() {
    let mut bench = Bench::with(HttpPolicy::default().body_budget(10));
    let mut calls = [bench.get("/a"), bench.get("/a")];
    let (flow, body) = flow();
    bench.answer(with_body(200, &[("cache-control", "max-age=60")], body)).await;
    let mut bodies = calls.each_mut().map(|call| call.response().into_body());
    flow.data("1234567890");
    assert_eq!(read(&mut bodies[0]), open("1234567890"));
    assert!(bench.get("/a").waits());
    assert_eq!(bench.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn clients_that_stopped_reading_keep_nobody_out_for_longer_than_the_pause() {
    let mut bench = Bench::with(HttpPolicy::default().body_budget(10));
    let (mut bodies, flow) = readers(&mut bench, "/a", 2).await;
    flow.data("1234567890");
    assert_eq!(read(&mut bodies[0]), open("1234567890"));
    tokio::time::advance(Duration::from_secs(60)).await;
    assert!(!joins(&mut bench, "/b"), "nobody was kept out until now");
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(joins(&mut bench, "/b"));
    assert!(matches!(read(&mut bodies[1]), Read::Broken(text, _) if text.is_empty()));
    drop(flow);
    assert_eq!(read(&mut bodies[0]), ended(""));
}

#[tokio::test(start_paused = true)]
async fn the_count_of_held_bytes_is_zero_after_any_end() {
    let mut bench = Bench::with(HttpPolicy::default().body_budget(1 << 10).body_limit(1 << 9));
    for end in 0..6 {
        let mut calls = [bench.get("/a"), bench.get("/a"), bench.get("/a")];
        let (flow, body) = flow();
        settle().await;
        bench.answer(with_body(200, &[("cache-control", "max-age=60")], body)).await;
        let mut bodies: Vec<_> = calls.iter_mut().map(|call| call.response().into_body()).collect();
        bodies.push(bench.get("/a").response().into_body());
        flow.data(vec![b'x'; 300]);
        flow.data(vec![b'y'; 300]);
        let _ = read(&mut bodies[0]);
        match end {
            0 => drop(flow),
            1 => flow.fail("reset"),
            2 => flow.trailer("x-a", "1"),
            // One is evicted.
            3 => {
                flow.data("more");
                let _ = read(&mut bodies[0]);
                tokio::time::advance(Duration::from_secs(2)).await;
            }
            4 => bodies.truncate(1),
            _ => bodies.clear(),
        }
        for body in &mut bodies {
            let _ = read(body);
        }
        drop((bodies, calls));
    }
    let (mut bodies, flow) = readers(&mut bench, "/b", 2).await;
    flow.data(vec![b'x'; 1023]);
    let _ = read(&mut bodies[0]);
    assert!(joins(&mut bench, "/c"), "1023 of 1024 are held, if nothing is left from before");
    flow.data("x");
    let _ = read(&mut bodies[0]);
    assert!(!joins(&mut bench, "/c"), "and not less than nothing was");
}

// Over real sockets.

/// An origin that follows the gates: its head, then a piece of its body, then the end as it is
/// told.
#[derive(Clone)]
struct Steps {
    head: Gate,
    first: Gate,
    end: Gate,
}

impl Steps {
    fn new() -> Self {
        Self { head: Gate::new(), first: Gate::new(), end: Gate::new() }
    }
}

#[derive(Clone, Copy, Debug)]
enum End {
    Clean,
    Trailers,
    CutChunk,
    NoLastChunk,
    ShortOfLength,
    Reset,
}

const ENDS: [End; 6] =
    [End::Clean, End::Trailers, End::CutChunk, End::NoLastChunk, End::ShortOfLength, End::Reset];

async fn origin(steps: Steps, end: End) -> Origin {
    Origin::new(move |mut exchange| {
        let steps = steps.clone();
        async move {
            steps.head.passed().await;
            let long = matches!(end, End::ShortOfLength);
            let framing = if long {
                "content-length: 20\r\n"
            } else {
                "transfer-encoding: chunked\r\ntrailer: x-sum\r\n"
            };
            exchange.head("200 OK", framing).await;
            steps.first.passed().await;
            if long {
                exchange.write("first ").await
            } else {
                exchange.chunk("first ").await
            }
            steps.end.passed().await;
            match end {
                End::Clean => exchange.write("4\r\nlast\r\n0\r\n\r\n").await,
                End::Trailers => exchange.write("4\r\nlast\r\n0\r\nx-sum: 10\r\n\r\n").await,
                End::CutChunk => exchange.write("ff\r\nlast").await,
                End::NoLastChunk | End::ShortOfLength => {}
                End::Reset => exchange.reset(),
            }
        }
    })
    .await
}

async fn connections(address: std::net::SocketAddr, h1: usize, h2: usize) -> Vec<Connection> {
    let mut all = Vec::new();
    for _ in 0..h1 {
        all.push(Connection::h1(address).await);
    }
    for _ in 0..h2 {
        all.push(Connection::h2(address).await);
    }
    all
}

/// Six clients, over both versions, and a body that ends in each way there is.
#[tokio::test]
async fn every_client_gets_the_end_that_the_origin_gave() {
    for end in ENDS {
        let steps = Steps::new();
        let origin = origin(steps.clone(), end).await;
        // A key of the path alone, and the authority made one: so the versions share.
        let layer = by_uri().policy(HttpPolicy::default().ignore_authority(true));
        let gateway = gateway(layer, &origin).await;
        let mut tasks = Vec::new();
        let all_have_the_first = Arc::new(tokio::sync::Barrier::new(6));
        for (i, mut client) in connections(gateway.address, 3, 3).await.into_iter().enumerate() {
            let (steps, barrier) = (steps.clone(), all_have_the_first.clone());
            tasks.push(tokio::spawn(async move {
                let mut response = client.get("/a", &[("te", "trailers")]).await.unwrap();
                let first = piece(response.body_mut()).await;
                assert_eq!(first, "first ");
                barrier.wait().await;
                steps.end.open();
                (rest(response.body_mut()).await, i)
            }));
        }
        until("all wait", || gateway.handle.waiting() == 6).await;
        steps.head.open();
        steps.first.open();
        for task in tasks {
            let (got, i) = within(task).await.unwrap();
            match end {
                End::Clean => assert_eq!(got, Got::Whole("last".to_owned()), "{i}"),
                End::Trailers => assert_eq!(got, Got::Whole("last<x-sum: 10>".to_owned()), "{i}"),
                _ => assert!(matches!(got, Got::Broken(_)), "{end:?}, client {i}: {got:?}"),
            }
        }
        assert_eq!(origin.hits(), 1, "{end:?}");
    }
}

#[tokio::test]
async fn the_first_byte_reaches_every_client_while_the_origin_holds_back_the_rest() {
    let steps = Steps::new();
    let origin = origin(steps.clone(), End::Clean).await;
    let gateway = gateway(by_uri(), &origin).await;
    let clients = connections(gateway.address, 10, 0).await;
    let tasks: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            tokio::spawn(async move {
                let mut response = client.get("/a", &[]).await.unwrap();
                let first = piece(response.body_mut()).await;
                (client, response, first)
            })
        })
        .collect();
    until("all wait", || gateway.handle.waiting() == 10).await;
    steps.head.open();
    steps.first.open();
    let mut readers = Vec::new();
    for task in tasks {
        let (client, response, first) = within(task).await.unwrap();
        assert_eq!(first, "first ");
        readers.push((client, response));
    }
    // Only now may it end.
    steps.end.open();
    for (_client, mut response) in readers {
        assert_eq!(rest(response.body_mut()).await, Got::Whole("last".to_owned()));
    }
}

#[tokio::test]
async fn the_leaders_client_may_go_before_the_head() {
    let steps = Steps::new();
    let origin = origin(steps.clone(), End::Clean).await;
    let gateway = gateway(by_uri(), &origin).await;
    let mut leader = Connection::h1(gateway.address).await;
    let led = tokio::spawn(async move { leader.get("/a", &[]).await.map(|_| ()) });
    until("it leads", || origin.hits() == 1).await;
    let clients = connections(gateway.address, 20, 0).await;
    let tasks: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            tokio::spawn(async move {
                let mut response = client.get("/a", &[]).await.unwrap();
                rest(response.body_mut()).await
            })
        })
        .collect();
    until("all wait", || gateway.handle.waiting() == 21).await;
    led.abort();
    until("the leader is gone", || gateway.handle.waiting() == 20).await;
    for gate in [&steps.head, &steps.first, &steps.end] {
        gate.open();
    }
    for task in tasks {
        assert_eq!(within(task).await.unwrap(), Got::Whole("first last".to_owned()));
    }
    assert_eq!((origin.hits(), gateway.handle.in_flight()), (1, 0));
}

#[tokio::test]
async fn the_leaders_client_may_go_in_the_middle_of_the_body() {
    let steps = Steps::new();
    let origin = origin(steps.clone(), End::Trailers).await;
    let gateway = gateway(by_uri(), &origin).await;
    let mut leader = Connection::h1(gateway.address).await;
    let led = tokio::spawn(async move {
        let mut response = leader.get("/a", &[]).await.unwrap();
        assert_eq!(piece(response.body_mut()).await, "first ");
        drop(leader);
    });
    until("it leads", || origin.hits() == 1).await;
    let mut follower = Connection::h1(gateway.address).await;
    let followed = tokio::spawn(async move {
        let mut response = follower.get("/a", &[("te", "trailers")]).await.unwrap();
        rest(response.body_mut()).await
    });
    until("both wait", || gateway.handle.waiting() == 2).await;
    steps.head.open();
    steps.first.open();
    within(led).await.unwrap();
    steps.end.open();
    assert_eq!(within(followed).await.unwrap(), Got::Whole("first last<x-sum: 10>".to_owned()));
    assert_eq!(origin.hits(), 1);
}

#[tokio::test]
async fn the_connection_to_the_origin_closes_when_all_clients_have_gone() {
    for after_the_head in [false, true] {
        let (closed, head) = (Gate::new(), Gate::new());
        let (tells, waits) = (closed.clone(), head.clone());
        let origin = Origin::new(move |mut exchange| {
            let (tells, waits) = (tells.clone(), waits.clone());
            async move {
                if after_the_head {
                    waits.passed().await;
                    exchange.head("200 OK", "transfer-encoding: chunked\r\n").await;
                    exchange.chunk("first").await;
                }
                exchange.closed().await;
                tells.open();
            }
        })
        .await;
        let gateway = gateway(by_uri(), &origin).await;
        let mut tasks = Vec::new();
        for mut client in connections(gateway.address, 3, 0).await {
            tasks.push(tokio::spawn(async move {
                let mut response = client.get("/a", &[]).await.unwrap();
                piece(response.body_mut()).await
            }));
        }
        until("all wait", || gateway.handle.waiting() == 3 && origin.hits() == 1).await;
        head.open();
        for task in tasks {
            if after_the_head {
                assert_eq!(within(task).await.unwrap(), "first");
            } else {
                task.abort();
            }
        }
        closed.passed().await;
        assert_eq!(gateway.handle.in_flight(), 0);
    }
}

/// One client that does not read, on a body of some megabytes, and one that does.
#[tokio::test]
async fn a_client_that_stalls_does_not_keep_another_from_the_whole_body() {
    const CHUNKS: usize = 1024;
    let both = Gate::new();
    let wait = both.clone();
    let origin = Origin::new(move |mut exchange| {
        let wait = wait.clone();
        async move {
            wait.passed().await;
            exchange.head("200 OK", "transfer-encoding: chunked\r\n").await;
            let chunk = "x".repeat(16 << 10);
            for _ in 0..CHUNKS {
                exchange.chunk(&chunk).await;
            }
            exchange.write("0\r\n\r\n").await;
        }
    })
    .await;
    let pause = Duration::from_millis(200);
    let policy =
        HttpPolicy::default().body_limit(1 << 20).slow_reader(SlowReader::PauseThenEvict(pause));
    let gateway = gateway(by_uri().policy(policy), &origin).await;
    let end = Gate::new();
    let wait = end.clone();
    let mut stalls = Connection::h1(gateway.address).await;
    let stalled = tokio::spawn(async move {
        let mut response = stalls.get("/a", &[]).await.unwrap();
        wait.passed().await;
        rest(response.body_mut()).await
    });
    let mut reads = Connection::h1(gateway.address).await;
    let reader = tokio::spawn(async move {
        let mut response = reads.get("/a", &[]).await.unwrap();
        rest(response.body_mut()).await
    });
    until("both wait", || gateway.handle.waiting() == 2).await;
    both.open();
    let Got::Whole(text) = within(reader).await.unwrap() else { panic!("it broke") };
    assert_eq!(text.len(), CHUNKS << 14);
    end.open();
    assert!(
        matches!(within(stalled).await.unwrap(), Got::Broken(_)),
        "it was evicted, and is told so"
    );
    assert_eq!(origin.hits(), 1);
}
