//! Readers of one body at different speeds, through the layer.

use crate::{
    net::{Connection, Gate, Origin, gateway, until},
    support::{Bench, Flow, Read, by_uri, flow, read, settle, with_body, within},
};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::{net::SocketAddr, time::Duration};
use tokio::task::JoinHandle;
use tower_singleflight::{HttpPolicy, SharedBody};

/// A quick reader and a slow one of an open body, with a window of 20 bytes. More than that is
/// there to be read.
async fn two(policy: HttpPolicy) -> (Bench, SharedBody, SharedBody, Flow) {
    let mut bench = Bench::with(policy.body_limit(20));
    let mut calls = [bench.get("/a"), bench.get("/a")];
    settle().await;
    let (flow, body) = flow();
    bench.answer(with_body(200, &[("cache-control", "max-age=600")], body)).await;
    let [quick, slow] = calls.each_mut().map(|call| call.response().into_body());
    flood(&flow);
    (bench, quick, slow, flow)
}

fn flood(flow: &Flow) {
    for _ in 0..100 {
        flow.data("x");
    }
}

fn len(read: Read) -> usize {
    let Read::Open(text) = read else { panic!("it is over: {read:?}") };
    text.len()
}

/// The next byte, or whether it is over.
fn one(body: &mut SharedBody) -> bool {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let polled = http_body::Body::poll_frame(std::pin::Pin::new(body), &mut cx);
    matches!(polled, std::task::Poll::Ready(Some(Ok(_))))
}

/// How long the slow reader, which takes a byte every half a second, holds the quick one back
/// before it ends.
async fn held_back(policy: HttpPolicy) -> Duration {
    let (_bench, mut quick, mut slow, flow) = two(policy).await;
    let began = tokio::time::Instant::now();
    let mut all = len(read(&mut quick));
    loop {
        tokio::time::advance(Duration::from_millis(500)).await;
        flood(&flow);
        match len(read(&mut quick)) {
            more if more > 20 => break,
            more => all += more,
        }
        assert!(one(&mut slow), "it moves, and is not cut off");
        all += len(read(&mut quick));
    }
    assert!(!one(&mut slow), "it held the other back for too long, after {all} bytes");
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn slow_readers_hold_the_others_back_for_thirty_seconds_in_all() {
    assert_eq!(held_back(HttpPolicy::default()).await, Duration::from_secs(30));
}

#[tokio::test(start_paused = true)]
async fn slow_readers_can_hold_the_others_back_for_longer_or_less() {
    for seconds in [2, 100] {
        let time = Duration::from_secs(seconds);
        assert_eq!(held_back(HttpPolicy::default().hold_back_at_most(time)).await, time);
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_joins_late_while_upstream_is_paused() {
    let (mut bench, mut quick, _slow, _flow) = two(HttpPolicy::default()).await;
    assert!(!bench.get("/a").waits(), "the start is held, and upstream goes on");
    assert_eq!(len(read(&mut quick)), 20);
    assert!(bench.get("/a").waits(), "it leads a flight of its own");
    assert_eq!(bench.calls(), 2);
}

// Over real sockets.

const CHUNK: usize = 64 << 10;
const CHUNKS: usize = 512;

/// An origin with 32 MiB that announces no length.
async fn flooding(begin: Gate) -> Origin {
    Origin::new(move |mut exchange| {
        let begin = begin.clone();
        async move {
            begin.passed().await;
            exchange.head("200 OK", "transfer-encoding: chunked\r\n").await;
            let chunk = "x".repeat(CHUNK);
            for _ in 0..CHUNKS {
                exchange.chunk(&chunk).await;
            }
            exchange.write("0\r\n\r\n").await;
        }
    })
    .await
}

/// Reads to the end, no quicker than a piece of `bytes` every ten milliseconds. `Err`: what came
/// before it broke.
async fn drain(mut body: Incoming, bytes: usize) -> Result<usize, usize> {
    let (mut all, mut piece) = (0, 0);
    while let Some(frame) = within(body.frame()).await {
        let len = frame.map_err(|_| all)?.into_data().map_or(0, |data| data.len());
        (all, piece) = (all + len, piece + len);
        if piece >= bytes {
            piece = 0;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    Ok(all)
}

fn client(mut connection: Connection, bytes: usize) -> JoinHandle<Result<usize, usize>> {
    tokio::spawn(async move {
        let response = connection.get("/a", &[]).await.expect("an answer");
        drain(response.into_body(), bytes).await
    })
}

/// Seven at full speed, and one that reads some 8 MB a second.
async fn seven_beside_a_slow_one(connect: impl AsyncFn(SocketAddr) -> Connection) {
    let begin = Gate::new();
    let origin = flooding(begin.clone()).await;
    let gateway =
        gateway(by_uri().policy(HttpPolicy::default().body_limit(1 << 20)), &origin).await;
    let mut clients = vec![client(connect(gateway.address).await, 96 << 10)];
    for _ in 0..7 {
        clients.push(client(connect(gateway.address).await, usize::MAX));
    }
    until("all wait", || gateway.handle.waiting() == 8).await;
    begin.open();
    for client in clients {
        assert_eq!(client.await.unwrap(), Ok(CHUNK * CHUNKS));
    }
    assert_eq!(origin.hits(), 1);
}

#[tokio::test]
async fn seven_quick_clients_and_a_slow_one_get_all() {
    seven_beside_a_slow_one(Connection::h1).await;
}

#[tokio::test]
async fn seven_quick_http2_clients_and_a_slow_one_get_all() {
    seven_beside_a_slow_one(Connection::h2).await;
}
