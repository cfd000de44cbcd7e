//! Requests whose body does not say whether it has data, and is looked into before they join.

use crate::support::{Failure, by_uri, flow, settle};
use futures_util::{future::BoxFuture, stream};
use http::{Request, Response};
use http_body_util::{BodyExt, Full, StreamBody};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::Poll,
};
use tokio::sync::Semaphore;
use tokio_test::task::{Spawn, spawn};
use tower::{Layer, Service, service_fn};
use tower_singleflight::{Handle, PassReason, SharedBody};

type Body = crate::support::Body;
type Answer = Result<Response<SharedBody>, Failure>;

/// An upstream that answers with what it read, once there is a permit.
struct Bench {
    calls: Arc<AtomicUsize>,
    permits: Arc<Semaphore>,
    handle: Handle<String>,
    call: Box<dyn FnMut(Request<Body>) -> BoxFuture<'static, Answer>>,
}

impl Bench {
    fn new() -> Self {
        let (calls, permits, layer) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)), by_uri());
        let (counted, waited) = (calls.clone(), permits.clone());
        let mut service = layer.layer(service_fn(move |request: Request<Body>| {
            counted.fetch_add(1, SeqCst);
            let waited = waited.clone();
            async move {
                waited.acquire().await.unwrap().forget();
                let read = request.into_body().collect().await.map_err(|_| Failure("a broken body"))?;
                Ok(Response::new(Full::new(read.to_bytes())))
            }
        }));
        Self { calls, permits, handle: layer.handle(), call: Box::new(move |request| Box::pin(service.call(request))) }
    }

    fn send(&mut self, body: Body) -> Spawn<BoxFuture<'static, Answer>> {
        let mut call = spawn((self.call)(Request::get("/").body(body).unwrap()));
        assert!(call.poll().is_pending());
        call
    }

    fn calls(&self) -> usize {
        self.calls.load(SeqCst)
    }
}

fn text(answer: Poll<Answer>) -> String {
    match answer {
        Poll::Ready(Ok(response)) => crate::support::text(response),
        other => panic!("no answer: {other:?}"),
    }
}

#[tokio::test]
async fn a_request_whose_body_ends_without_data_joins_when_that_is_known() {
    let mut bench = Bench::new();
    let ((one, first), (two, second)) = (flow(), flow());
    let (mut first, mut second) = (bench.send(first), bench.send(second));
    assert_eq!((bench.calls(), bench.handle.in_flight()), (0, 0));
    drop(two);
    assert!(second.is_woken() && second.poll().is_pending());
    one.data("");
    drop(one);
    assert!(first.is_woken() && first.poll().is_pending());
    settle().await;
    let stats = bench.handle.stats();
    assert_eq!((bench.calls(), stats.led, stats.joined), (1, 1, 1));
    bench.permits.add_permits(1);
    settle().await;
    assert_eq!((text(first.poll()), text(second.poll())), (String::new(), String::new()));
}

#[tokio::test]
async fn a_request_that_turns_out_to_have_data_passes_whole() {
    let mut bench = Bench::new();
    let (flow, body) = flow();
    let mut call = bench.send(body);
    flow.data("one ");
    assert!(call.poll().is_pending());
    assert_eq!((bench.calls(), bench.handle.stats().passed_by(PassReason::Body)), (1, 1));
    flow.data("two");
    drop(flow);
    bench.permits.add_permits(1);
    assert_eq!(text(call.poll()), "one two");
}

#[tokio::test]
async fn a_body_that_never_ends_keeps_nobody_else_waiting_and_can_be_dropped() {
    let mut bench = Bench::new();
    let (flow, body) = flow();
    let slow = bench.send(body);
    let (end, other) = crate::support::flow();
    drop(end);
    let mut other = bench.send(other);
    bench.permits.add_permits(1);
    assert_eq!(text(other.poll()), "");
    drop(slow);
    assert!(flow.is_dropped());
    let stats = bench.handle.stats();
    assert_eq!((stats.led, stats.in_flight, stats.waiting, stats.cancelled), (1, 0, 0, 0));
}

#[tokio::test]
async fn a_body_that_fails_is_handed_on_as_it_came() {
    let mut bench = Bench::new();
    let (flow, body) = flow();
    let mut call = bench.send(body);
    flow.fail("reset");
    bench.permits.add_permits(1);
    assert!(matches!(call.poll(), Poll::Ready(Err(Failure("a broken body")))));
    assert_eq!((bench.calls(), bench.handle.in_flight()), (1, 0));
}

#[tokio::test]
async fn a_body_that_panics_reaches_its_own_caller() {
    let mut bench = Bench::new();
    let (end, other) = flow();
    let mut other = bench.send(other);
    drop(end);
    assert!(other.poll().is_pending());
    let bomb = StreamBody::new(stream::poll_fn(|_| panic!("the body")));
    let mut call = spawn((bench.call)(Request::get("/").body(bomb.boxed_unsync()).unwrap()));
    assert!(catch_unwind(AssertUnwindSafe(|| call.poll().is_pending())).is_err());
    drop(call);
    bench.permits.add_permits(1);
    assert_eq!(text(other.poll()), "");
    assert_eq!((bench.handle.in_flight(), bench.handle.waiting()), (0, 0));
}

#[tokio::test]
async fn a_request_that_is_looked_into_while_a_write_is_answered_leads_after_it() {
    let mut bench = Bench::new();
    let (before, body) = flow();
    drop(before);
    let _before = bench.send(body);
    let (flow, body) = flow();
    let mut during = bench.send(body);
    let write = Request::put("/")
        .body(Full::from("x").map_err(|never: std::convert::Infallible| match never {}).boxed_unsync());
    let mut write = spawn((bench.call)(write.unwrap()));
    assert!(write.poll().is_pending());
    drop(flow);
    assert!(during.poll().is_pending());
    assert_eq!((bench.calls(), bench.handle.stats().led), (3, 2));
}
