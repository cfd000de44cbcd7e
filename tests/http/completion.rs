//! With `run_to_completion`, a body is read to its end although all readers have gone.

use crate::support::{
    Bench, Body, Flow, Read, by_uri, flow, ok, paused, read, reply, role, settle, with_body,
};
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};
use tower_singleflight::{
    BoxError, HttpPolicy, LateJoin, Role, SharedBody, SingleflightLayer, mode::Http,
};

const FRESH: (&str, &str) = ("cache-control", "max-age=60");

fn completing() -> SingleflightLayer<Http<String>> {
    by_uri().run_to_completion(true)
}

/// A lone reader that has its head, and whose body is open.
async fn alone(bench: &mut Bench, headers: &[(&str, &str)]) -> (SharedBody, Flow) {
    let (flow, body) = flow();
    (led(bench, with_body(200, headers, body)).await, flow)
}

async fn led(bench: &mut Bench, response: http::Response<Body>) -> SharedBody {
    let mut leader = bench.get("/a");
    bench.answer(response).await;
    leader.response().into_body()
}

/// The body of a newcomer that joins.
#[track_caller]
fn join(bench: &mut Bench) -> SharedBody {
    let response = bench.get("/a").response();
    assert_eq!(role(&response), Some(Role::Follower));
    response.into_body()
}

#[track_caller]
fn leads(bench: &mut Bench) {
    let mut call = bench.get("/a");
    assert!(call.waits(), "it leads a flight of its own");
    bench.upstream.next();
}

/// Data that is counted when it is pulled.
fn counted(pieces: usize, length: usize, hint: SizeHint) -> (Body, Arc<AtomicUsize>, Arc<()>) {
    let (pulled, living) = (Arc::new(AtomicUsize::new(0)), Arc::new(()));
    let body = Pieces { pieces, length, hint, pulled: pulled.clone(), _living: living.clone() };
    (body.boxed_unsync(), pulled, living)
}

struct Pieces {
    pieces: usize,
    length: usize,
    hint: SizeHint,
    pulled: Arc<AtomicUsize>,
    _living: Arc<()>,
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.pieces == 0 {
            return Poll::Ready(None);
        }
        self.pieces -= 1;
        self.pulled.fetch_add(1, SeqCst);
        Poll::Ready(Some(Ok(Frame::data(vec![b'x'; self.length].into()))))
    }

    fn size_hint(&self) -> SizeHint {
        self.hint
    }
}

#[tokio::test]
async fn a_body_that_all_readers_left_is_read_to_its_end() {
    // Also where no newcomer may join.
    for headers in [&[FRESH][..], &[]] {
        let mut bench = Bench::of(&completing());
        let (mut body, flow) = alone(&mut bench, headers).await;
        flow.data("one ");
        assert_eq!(read(&mut body), Read::Open("one ".to_owned()));
        drop(body);
        for _ in 0..5 {
            settle().await;
            assert!(!flow.is_dropped());
            flow.data("more ");
        }
        // The end of a `Flow` is seen by its readers alone, so that an error stands for it here.
        flow.fail("the end");
        settle().await;
        assert!(flow.is_dropped());
    }
}

#[tokio::test]
async fn by_default_a_body_that_all_readers_left_is_dropped_at_once() {
    for headers in [&[FRESH][..], &[]] {
        let mut bench = Bench::of(&by_uri());
        let (mut body, flow) = alone(&mut bench, headers).await;
        flow.data("one ");
        assert_eq!(read(&mut body), Read::Open("one ".to_owned()));
        drop(body);
        assert!(flow.is_dropped());
    }
}

#[tokio::test]
async fn a_body_that_nobody_has_read_is_read_to_its_end_too() {
    for headers in [&[FRESH][..], &[]] {
        let mut bench = Bench::of(&completing());
        let (pieces, pulled, living) = counted(100, 10, SizeHint::new());
        drop(led(&mut bench, with_body(200, headers, pieces)).await);
        for _ in 0..4 {
            settle().await;
        }
        assert_eq!((pulled.load(SeqCst), Arc::strong_count(&living)), (100, 1));
    }
}

#[tokio::test]
async fn the_body_of_a_flight_that_everybody_left_before_its_head_is_read_to_its_end() {
    let mut bench = Bench::of(&completing());
    drop(bench.get("/a"));
    settle().await;
    let (pieces, pulled, living) = counted(10, 10, SizeHint::new());
    bench.answer(with_body(200, &[FRESH], pieces)).await;
    settle().await;
    assert_eq!((pulled.load(SeqCst), Arc::strong_count(&living)), (10, 1));
    assert_eq!(bench.stats().in_flight, 0);
}

#[tokio::test]
async fn a_newcomer_joins_meanwhile_and_gets_all_from_the_first_byte() {
    let mut bench = Bench::of(&completing());
    let (mut body, flow) = alone(&mut bench, &[FRESH]).await;
    flow.data("one ");
    assert_eq!(read(&mut body), Read::Open("one ".to_owned()));
    drop(body);
    flow.data("two ");
    settle().await;
    let mut newcomer = join(&mut bench);
    assert_eq!(read(&mut newcomer), Read::Open("one two ".to_owned()));
    flow.data("three");
    flow.trailer("x-sum", "6");
    settle().await;
    drop(flow);
    assert_eq!(read(&mut newcomer), Read::Ended("three<x-sum: 6>".to_owned()));
    assert_eq!(bench.calls(), 1);
}

#[tokio::test]
async fn a_newcomer_that_leaves_again_leaves_the_body_to_be_finished() {
    let mut bench = Bench::of(&completing());
    let (body, flow) = alone(&mut bench, &[FRESH]).await;
    drop(body);
    for text in ["one ", "two ", "three "] {
        flow.data(text);
        settle().await;
        let mut newcomer = join(&mut bench);
        assert!(matches!(read(&mut newcomer), Read::Open(_)));
        flow.data("more ");
        settle().await;
        drop(newcomer);
        settle().await;
        assert!(!flow.is_dropped());
    }
    assert_eq!(read(&mut join(&mut bench)), Read::Open("one more two more three more ".to_owned()));
}

#[tokio::test]
async fn while_there_is_a_reader_nothing_reads_ahead_of_it() {
    let mut bench = Bench::of(&completing());
    let (pieces, pulled, _living) = counted(1000, 10, SizeHint::new());
    let body = led(&mut bench, with_body(200, &[FRESH], pieces)).await;
    let (mut reader, other) = (body.clone(), body);
    settle().await;
    assert_eq!(pulled.load(SeqCst), 0);
    let frame =
        Pin::new(&mut reader).poll_frame(&mut Context::from_waker(std::task::Waker::noop()));
    assert!(frame.is_ready());
    drop(other);
    settle().await;
    assert_eq!(pulled.load(SeqCst), 1);
}

#[tokio::test]
async fn a_newcomer_ends_the_reading_ahead() {
    let mut bench = Bench::of(&completing());
    let (body, flow) = alone(&mut bench, &[FRESH]).await;
    drop(body);
    flow.data("one ");
    settle().await;
    let mut newcomer = join(&mut bench);
    flow.data("two ");
    settle().await;
    flow.data("three ");
    settle().await;
    // It reads as if it had led.
    assert_eq!(read(&mut newcomer), Read::Open("one two three ".to_owned()));
    drop(newcomer);
    settle().await;
    assert!(!flow.is_dropped());
}

#[tokio::test]
async fn a_body_that_outgrows_the_window_without_a_reader_is_dropped() {
    for headers in [&[FRESH][..], &[]] {
        let mut bench = Bench::of(&completing().policy(HttpPolicy::default().body_limit(100)));
        let (mut body, flow) = alone(&mut bench, headers).await;
        flow.data(vec![b'x'; 90]);
        assert!(matches!(read(&mut body), Read::Open(_)));
        drop(body);
        settle().await;
        flow.data(vec![b'x'; 100]);
        settle().await;
        assert!(!flow.is_dropped(), "the window counts from the last reader on");
        flow.data("x");
        settle().await;
        assert!(flow.is_dropped());
        leads(&mut bench);
    }
}

#[tokio::test]
async fn a_body_that_is_known_not_to_fit_the_window_is_dropped_at_once() {
    let policy = || HttpPolicy::default().body_limit(100).share_large_bodies(true);
    for (length, fits) in [(100, true), (101, false)] {
        let mut bench = Bench::of(&completing().policy(policy()));
        let (pieces, pulled, living) = counted(1, length, SizeHint::with_exact(length as u64));
        drop(led(&mut bench, with_body(200, &[FRESH], pieces)).await);
        settle().await;
        assert_eq!((pulled.load(SeqCst) == 1, Arc::strong_count(&living)), (fits, 1), "{length}");
    }
}

#[tokio::test]
async fn a_body_is_dropped_when_the_budget_is_spent() {
    let policy = HttpPolicy::default().body_budget(10);
    let mut bench = Bench::of(&completing().policy(policy));
    let (body, flow) = alone(&mut bench, &[FRESH]).await;
    let (mut leader, mut slow) = (bench.get("/b"), bench.get("/b"));
    settle().await;
    bench.answer(reply(200, &[], "x".repeat(10))).await;
    let (mut leader, slow) = (leader.response().into_body(), slow.response());
    drop(body);
    flow.data("one ");
    settle().await;
    assert!(!flow.is_dropped());
    assert_eq!(read(&mut leader), Read::Ended("x".repeat(10)));
    flow.data("two ");
    settle().await;
    assert!(flow.is_dropped(), "the slow reader has spent the budget");
    drop(slow);
}

#[tokio::test]
async fn an_upstream_that_fails_without_a_reader_is_dropped() {
    let mut bench = Bench::of(&completing());
    let (body, flow) = alone(&mut bench, &[FRESH]).await;
    drop(body);
    settle().await;
    flow.fail("reset");
    settle().await;
    assert!(flow.is_dropped());
    leads(&mut bench);
}

#[tokio::test]
async fn a_newcomer_gets_the_error_of_an_upstream_that_fails_after_it_joined() {
    let mut bench = Bench::of(&completing());
    let (body, flow) = alone(&mut bench, &[FRESH]).await;
    drop(body);
    flow.data("one ");
    settle().await;
    let mut newcomer = join(&mut bench);
    flow.fail("reset");
    settle().await;
    assert_eq!(read(&mut newcomer), Read::Broken("one ".to_owned(), "reset".to_owned()));
}

#[tokio::test]
async fn the_body_of_a_response_for_its_leader_alone_is_dropped_with_its_reader() {
    let policy = HttpPolicy::default().late_joins(LateJoin::Always);
    for (status, header) in
        [(200, ("content-type", "text/event-stream")), (200, ("set-cookie", "a=b")), (403, FRESH)]
    {
        let mut bench = Bench::of(&completing().policy(policy.clone()));
        let (flow, body) = flow();
        drop(led(&mut bench, with_body(status, &[header], body)).await);
        assert!(flow.is_dropped(), "{status} {header:?}");
    }
}

#[test]
fn outside_a_runtime_a_body_is_dropped_with_its_last_reader() {
    let mut bench = Bench::of(&completing());
    let (body, flow) = paused().block_on(alone(&mut bench, &[FRESH]));
    drop(body);
    assert!(flow.is_dropped());
}

#[test]
fn a_body_is_dropped_with_the_runtime_that_reads_it() {
    let mut bench = Bench::of(&completing());
    let runtime = paused();
    let flow = runtime.block_on(async {
        let (body, flow) = alone(&mut bench, &[FRESH]).await;
        drop(body);
        settle().await;
        flow
    });
    assert!(!flow.is_dropped());
    drop(runtime);
    assert!(flow.is_dropped());
    let runtime = paused();
    runtime.block_on(async { leads(&mut bench) });
}

#[tokio::test(start_paused = true)]
async fn a_body_that_was_finished_without_a_reader_is_held() {
    let mut bench = Bench::of(&completing().hold_for(Duration::from_millis(50)));
    let (pieces, _, _) = counted(3, 1, SizeHint::new());
    drop(led(&mut bench, with_body(200, &[FRESH], pieces)).await);
    settle().await;
    assert_eq!(read(&mut join(&mut bench)), Read::Ended("xxx".to_owned()));
    tokio::time::advance(Duration::from_millis(50)).await;
    settle().await;
    leads(&mut bench);
}

#[tokio::test]
async fn an_endless_body_does_not_keep_other_tasks_from_running() {
    let mut bench = Bench::of(&completing().policy(HttpPolicy::default().body_limit(u64::MAX)));
    let (pieces, pulled, _living) = counted(usize::MAX, 1, SizeHint::new());
    drop(led(&mut bench, with_body(200, &[], pieces)).await);
    settle().await;
    assert!(pulled.load(SeqCst) > 0, "and this task runs");
    let mut other = bench.get("/b");
    bench.answer(ok("other")).await;
    assert_eq!(other.text(), "other");
}

#[tokio::test]
async fn the_body_of_a_request_that_passed_is_dropped_with_its_reader() {
    let mut bench = Bench::of(&completing());
    drop(led(&mut bench, with_body(200, &[("set-cookie", "a=b")], flow().1)).await);
    let mut passing = bench.get("/a");
    let (flow, body) = flow();
    bench.answer(with_body(200, &[FRESH], body)).await;
    let response = passing.response();
    assert_eq!(role(&response), None, "it passed, because its key is unshareable");
    drop(response);
    settle().await;
    assert!(flow.is_dropped());
}

#[tokio::test]
async fn the_body_of_a_follower_that_sent_its_own_request_is_dropped_with_its_reader() {
    let mut bench = Bench::of(&completing());
    let (mut leader, mut follower) = (bench.get("/a"), bench.get("/a"));
    assert!(follower.waits());
    bench.answer(with_body(200, &[("set-cookie", "a=b")], flow().1)).await;
    drop(leader.response());
    assert!(follower.waits(), "it sends its own request");
    let (flow, body) = flow();
    bench.answer(with_body(200, &[FRESH], body)).await;
    drop(follower.response());
    settle().await;
    assert!(flow.is_dropped());
}
