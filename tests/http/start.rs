//! The start of a body is kept while one reader is alone, so that the second viewer of a stream
//! joins the first.

use crate::support::{Bench, Flow, Read, by_uri, flow, get, read, role, with_body};
use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::time::{Instant, sleep};
use tower::{Layer, ServiceExt, service_fn};
use tower_singleflight::{HttpPolicy, LateJoin, PassReason, Role, SharedBody};

const FRESH: (&str, &str) = ("cache-control", "max-age=60");

fn open(text: &str) -> Read {
    Read::Open(text.to_owned())
}

/// A lone reader that has its head, and whose body is open.
async fn alone(bench: &mut Bench, headers: &[(&str, &str)]) -> (SharedBody, Flow) {
    let mut leader = bench.get("/a");
    let (flow, body) = flow();
    bench.answer(with_body(200, headers, body)).await;
    (leader.response().into_body(), flow)
}

/// The body of a newcomer that joins, if it does.
fn join(bench: &mut Bench, uri: &str) -> Option<SharedBody> {
    let mut call = bench.get(uri);
    if call.waits() {
        drop(call);
        bench.upstream.next();
        return None;
    }
    let response = call.response();
    assert_eq!(role(&response), Some(Role::Follower));
    Some(response.into_body())
}

/// Ten pieces, 100 ms apart.
fn ten_pieces() -> Response<impl http_body::Body<Data = Bytes, Error = Infallible>> {
    let pieces = stream::unfold(0, |piece| async move {
        if piece == 10 {
            return None;
        }
        if piece > 0 {
            sleep(Duration::from_millis(100)).await;
        }
        Some((Ok(Frame::data(Bytes::from(piece.to_string()))), piece + 1))
    });
    Response::builder().header(FRESH.0, FRESH.1).body(StreamBody::new(pieces)).unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_second_viewer_of_a_stream_joins_the_first() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let service = by_uri().layer(service_fn(move |_: Request<Full<Bytes>>| {
        counted.fetch_add(1, SeqCst);
        std::future::ready(Ok::<_, Infallible>(ten_pieces()))
    }));
    let first = service.clone().oneshot(get("/stream", &[])).await.unwrap().into_body();
    let first = tokio::spawn(async { (first.collect().await.unwrap().to_bytes(), Instant::now()) });
    sleep(Duration::from_millis(450)).await;
    let joined = Instant::now();
    let mut second = service.oneshot(get("/stream", &[])).await.unwrap().into_body();
    let mut pieces = Vec::new();
    while pieces.len() < 5 {
        pieces.extend(second.frame().await.unwrap().unwrap().into_data().unwrap());
    }
    assert_eq!(
        (&*pieces, Instant::now()),
        (&b"01234"[..], joined),
        "it has what came so far at once"
    );
    let rest = second.collect().await.unwrap().to_bytes();
    let ended = Instant::now();
    assert_eq!(rest, "56789");
    assert_eq!(first.await.unwrap(), ("0123456789".into(), ended), "both end together");
    assert_eq!(calls.load(SeqCst), 1);
}

#[tokio::test]
async fn a_newcomer_joins_a_lone_reader_and_both_go_on() {
    let mut bench = Bench::new();
    let (mut first, flow) = alone(&mut bench, &[FRESH]).await;
    flow.data("one ");
    assert_eq!(read(&mut first), open("one "));
    let mut second = join(&mut bench, "/a").expect("the start is kept");
    flow.data("two ");
    assert_eq!((read(&mut second), read(&mut first)), (open("one two "), open("two ")));
    drop(first);
    let mut third = join(&mut bench, "/a").expect("the start is still kept, for one reader again");
    drop(flow);
    assert_eq!(read(&mut third), Read::Ended("one two ".into()));
    assert_eq!((read(&mut second), bench.calls()), (Read::Ended(String::new()), 1));
}

#[tokio::test]
async fn a_lone_reader_that_had_more_than_the_start_takes_no_newcomer() {
    let mut bench = Bench::with(HttpPolicy::default().keep_start(6));
    let (mut first, flow) = alone(&mut bench, &[FRESH]).await;
    flow.data("123456");
    assert_eq!(read(&mut first), open("123456"));
    drop(join(&mut bench, "/a").expect("this much is kept"));
    flow.data("7");
    assert_eq!(read(&mut first), open("7"));
    assert!(join(&mut bench, "/a").is_none());
    let (_second, _flow) = alone(&mut bench, &[FRESH]).await;
}

#[tokio::test]
async fn several_readers_keep_a_longer_start_than_one() {
    let mut bench = Bench::with(HttpPolicy::default().keep_start(3));
    let (mut first, flow) = alone(&mut bench, &[FRESH]).await;
    let mut second = join(&mut bench, "/a").unwrap();
    flow.data("123456");
    assert_eq!((read(&mut first), read(&mut second)), (open("123456"), open("123456")));
    drop(join(&mut bench, "/a").expect("there are two"));
    drop(second);
    assert!(join(&mut bench, "/a").is_none(), "one reader was left, that had more than the start");
}

/// Two readers of `/b`, one of which lags by seven bytes.
async fn lag_by_seven(bench: &mut Bench) -> [SharedBody; 2] {
    let mut calls = [bench.get("/b"), bench.get("/b")];
    let (flow, body) = flow();
    bench.answer(with_body(200, &[], body)).await;
    let mut bodies = calls.each_mut().map(|call| call.response().into_body());
    flow.data("1234567");
    assert_eq!(read(&mut bodies[0]), open("1234567"));
    bodies
}

#[tokio::test]
async fn no_start_is_kept_where_no_newcomer_may_join() {
    let policy = || HttpPolicy::default().body_budget(8);
    let stale: &[(&str, &str)] = &[];
    for (layer, headers) in [
        (by_uri().policy(policy()), stale),
        (by_uri().policy(policy().late_joins(LateJoin::Never)), &[FRESH]),
        (by_uri().policy(policy()).max_waiters(10), &[FRESH]),
    ] {
        let mut bench = Bench::of(&layer);
        let (mut first, flow) = alone(&mut bench, headers).await;
        flow.data("1234");
        assert_eq!(read(&mut first), open("1234"));
        let _lagging = lag_by_seven(&mut bench).await;
        assert!(bench.get("/c").waits());
        assert_eq!(
            bench.stats().passed_by(PassReason::BodyBudget),
            0,
            "seven bytes of eight are held, not eleven"
        );
    }
}

#[tokio::test]
async fn the_start_gives_way_to_readers_that_lag() {
    let mut bench = Bench::with(HttpPolicy::default().body_budget(8));
    let (mut first, flow) = alone(&mut bench, &[FRESH]).await;
    flow.data("1234");
    assert_eq!(read(&mut first), open("1234"));
    let _lagging = lag_by_seven(&mut bench).await;
    assert!(bench.get("/c").waits());
    assert_eq!(bench.stats().passed_by(PassReason::BodyBudget), 0, "the start was freed for it");
    bench.upstream.next();
    assert!(join(&mut bench, "/a").is_none());
}
