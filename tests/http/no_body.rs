//! Requests whose body does not say whether it has data, and is looked into before they join.

use crate::{
    net::Gate,
    support::{self, Body, Failure, Flow, by_uri, flow, ok, panics, settle, within},
};
use bytes::Bytes;
use futures_util::{future::BoxFuture, stream};
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
};
use tokio_test::task::{Spawn, spawn};
use tower::{Layer, Service};
use tower_singleflight::{Handle, HttpPolicy, PassReason, Singleflight, mode::Http};

type Call = Spawn<<Singleflight<Echo, Http<String>> as Service<Request<Body>>>::Future>;

/// Answers with the request's body, and counts the calls; it fails if the body does.
#[derive(Clone, Default)]
struct Echo {
    calls: Arc<AtomicUsize>,
    gate: Option<Gate>,
}

impl Service<Request<Body>> for Echo {
    type Response = Response<Full<Bytes>>;
    type Error = Failure;
    type Future = BoxFuture<'static, Result<Response<Full<Bytes>>, Failure>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.calls.fetch_add(1, SeqCst);
        let gate = self.gate.clone();
        Box::pin(async move {
            if let Some(gate) = gate {
                gate.passed().await;
            }
            let body =
                request.into_body().collect().await.map_err(|_| Failure("the body broke"))?;
            Ok(Response::new(Full::from(body.to_bytes())))
        })
    }
}

struct Gateway {
    echo: Echo,
    handle: Handle<String>,
    service: Singleflight<Echo, Http<String>>,
}

fn gateway(policy: HttpPolicy) -> Gateway {
    let layer = by_uri().policy(policy);
    let echo = Echo { gate: Some(Gate::new()), ..Echo::default() };
    Gateway { service: layer.layer(echo.clone()), handle: layer.handle(), echo }
}

impl Gateway {
    fn call(&mut self, request: Request<Body>) -> Call {
        spawn(self.service.call(request))
    }

    /// Calls, and polls the call once.
    fn send(&mut self, body: Body) -> Call {
        let mut call = self.call(get(body));
        assert!(call.poll().is_pending());
        call
    }

    /// The call of a client that has only sent the head.
    fn begin(&mut self) -> (Flow, Call) {
        let (flow, body) = flow();
        (flow, self.send(body))
    }

    fn calls(&self) -> usize {
        self.echo.calls.load(SeqCst)
    }

    fn open(&self) {
        self.echo.gate.as_ref().unwrap().open();
    }
}

fn get(body: Body) -> Request<Body> {
    Request::get("/a").body(body).unwrap()
}

/// The body of a response that is there.
#[track_caller]
fn text(call: &mut Call) -> String {
    match call.poll() {
        Poll::Ready(Ok(response)) => support::text(response),
        other => panic!("no answer: {other:?}"),
    }
}

#[tokio::test]
async fn a_get_joins_when_its_body_has_ended_without_data() {
    let mut gateway = gateway(HttpPolicy::default());
    let (mut flows, mut calls): (Vec<_>, Vec<_>) = (0..10).map(|_| gateway.begin()).unzip();
    let waiting = gateway.handle.waiting();
    assert_eq!(
        (gateway.calls(), waiting, gateway.handle.in_flight()),
        (0, 0, 0),
        "they wait for their clients"
    );
    // The last ends first, and without a frame.
    drop(flows.pop());
    let last = calls.last_mut().unwrap();
    assert!(last.is_woken() && last.poll().is_pending());
    for flow in flows {
        flow.data("");
        drop(flow);
    }
    assert!(calls[..9].iter().all(|call| call.is_woken()));
    calls.iter_mut().for_each(|call| assert!(call.poll().is_pending()));
    settle().await;
    let stats = gateway.handle.stats();
    assert_eq!((gateway.calls(), stats.waiting, stats.led, stats.joined), (1, 10, 1, 9));
    gateway.open();
    for call in calls {
        assert_eq!(support::text(within(call).await.unwrap()), "");
    }
}

#[tokio::test]
async fn a_get_with_data_passes_whole() {
    let mut gateway = gateway(HttpPolicy::default());
    let passed =
        |gateway: &Gateway| (gateway.calls(), gateway.handle.stats().passed_by(PassReason::Body));
    let (flow, body) = flow();
    ["", "one", "", "!"].into_iter().for_each(|part| flow.data(part));
    drop(flow);
    let at_once = gateway.send(body);
    assert_eq!(passed(&gateway), (1, 1));
    let (flow, mut by_and_by) = gateway.begin();
    flow.data("");
    assert!(by_and_by.poll().is_pending());
    assert_eq!(passed(&gateway), (1, 1), "it may still be none");
    flow.data("two");
    assert!(by_and_by.poll().is_pending());
    assert_eq!(passed(&gateway), (2, 2), "it is looked into no further");
    flow.data("");
    flow.data("!");
    drop(flow);
    gateway.open();
    for (call, whole) in [(at_once, "one!"), (by_and_by, "two!")] {
        assert_eq!(support::text(within(call).await.unwrap()), whole);
    }
    assert_eq!(passed(&gateway), (2, 2));
}

#[tokio::test]
async fn a_body_that_fails_concerns_its_own_client() {
    let mut gateway = gateway(HttpPolicy::default());
    let mut calls: Vec<_> = (0..3).map(|_| gateway.call(get(Body::default()))).collect();
    let (late, fails_late) = gateway.begin();
    late.fail("reset");
    let (broken, body) = flow();
    broken.fail("the client went away");
    let fails_at_once = gateway.call(get(body));
    gateway.open();
    for failed in [fails_late, fails_at_once] {
        assert_eq!(
            within(failed).await.unwrap_err(),
            Failure("the body broke"),
            "it is handed on as it came"
        );
    }
    assert_eq!((gateway.calls(), gateway.handle.in_flight()), (2, 1), "and leads nothing");
    for call in &mut calls {
        assert_eq!(within(call).await.unwrap().status(), StatusCode::OK);
    }
    assert_eq!((gateway.calls(), gateway.handle.in_flight()), (3, 0));
}

#[tokio::test]
async fn a_client_that_leaves_before_its_body_ends_leaves_nothing() {
    let mut gateway = gateway(HttpPolicy::default());
    let (flow, call) = gateway.begin();
    drop(call);
    assert!(flow.is_dropped());
    assert_eq!(
        (gateway.calls(), gateway.handle.in_flight(), gateway.handle.stats().passed),
        (0, 0, 0)
    );
}

#[tokio::test]
async fn a_body_that_never_ends_keeps_nobody_else_waiting() {
    let mut gateway = gateway(HttpPolicy::default());
    let (flow, slow) = gateway.begin();
    let (end, mut other) = gateway.begin();
    drop(end);
    gateway.open();
    assert_eq!(text(&mut other), "");
    drop(slow);
    assert!(flow.is_dropped());
    let stats = gateway.handle.stats();
    assert_eq!((stats.led, stats.in_flight, stats.waiting, stats.cancelled), (1, 0, 0, 0));
}

#[tokio::test]
async fn a_body_that_panics_reaches_its_own_caller() {
    let mut gateway = gateway(HttpPolicy::default());
    let (end, mut other) = gateway.begin();
    drop(end);
    assert!(other.poll().is_pending());
    let bomb = StreamBody::new(stream::poll_fn(|_| panic!("the body")));
    let mut call = gateway.call(get(bomb.boxed_unsync()));
    assert!(panics(|| call.poll().is_pending()));
    drop(call);
    gateway.open();
    assert_eq!(text(&mut other), "");
    assert_eq!((gateway.handle.in_flight(), gateway.handle.waiting()), (0, 0));
}

#[tokio::test]
async fn a_request_that_is_looked_into_while_a_write_is_answered_leads_after_it() {
    let mut gateway = gateway(HttpPolicy::default());
    let (before, body) = flow();
    drop(before);
    let _before = gateway.send(body);
    let (flow, mut during) = gateway.begin();
    let write = Request::put("/a")
        .body(Full::from("x").map_err(|never: Infallible| match never {}).boxed_unsync());
    let mut write = gateway.call(write.unwrap());
    assert!(write.poll().is_pending());
    drop(flow);
    assert!(during.poll().is_pending());
    assert_eq!((gateway.calls(), gateway.handle.stats().led), (3, 2));
}

#[tokio::test]
async fn a_request_that_would_pass_all_the_same_is_not_held_up_by_its_body() {
    let mut gateway = gateway(HttpPolicy::default());
    for request in [
        Request::get("/a").header("range", "bytes=0-1"),
        Request::builder().method(Method::POST).uri("/a"),
    ] {
        let (_flow, body) = flow();
        let mut call = gateway.call(request.body(body).unwrap());
        assert!(call.poll().is_pending());
    }
    assert_eq!(gateway.calls(), 2);
}

#[tokio::test]
async fn a_body_that_the_policy_ignores_is_not_looked_into() {
    let mut gateway = gateway(HttpPolicy::default().ignore_request_body(true));
    let (_flow, _call) = gateway.begin();
    assert_eq!((gateway.calls(), gateway.handle.waiting()), (1, 1));
}

#[tokio::test]
async fn an_exact_size_of_nothing_is_no_body() {
    struct Sized(u64);
    impl http_body::Body for Sized {
        type Data = Bytes;
        type Error = Infallible;
        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(None)
        }
        fn size_hint(&self) -> http_body::SizeHint {
            http_body::SizeHint::with_exact(self.0)
        }
    }
    for (size, passed) in [(0, 0), (1, 2)] {
        let layer = by_uri();
        let inner = tower::service_fn(|_: Request<Sized>| async { Ok::<_, Infallible>(ok("")) });
        let mut service = layer.layer(inner);
        let _calls = [(); 2].map(|()| service.call(Request::get("/a").body(Sized(size)).unwrap()));
        assert_eq!(layer.handle().stats().passed, passed);
    }
}

#[cfg(feature = "axum")]
mod sockets {
    use super::*;
    use crate::net::{serve, until};
    use axum::{Router, routing::get};
    use hyper::client::conn;
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use std::net::SocketAddr;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
        task::JoinHandle,
    };
    use tower_singleflight::SingleflightLayer;

    /// An axum server whose handler echoes the request's body, once the gate is open.
    async fn server() -> (SocketAddr, Handle<String>, Gate, Arc<AtomicUsize>) {
        let (calls, gate) = (Arc::new(AtomicUsize::new(0)), Gate::new());
        let (counted, opened) = (calls.clone(), gate.clone());
        let handler = move |body: String| async move {
            let call = counted.fetch_add(1, SeqCst) + 1;
            opened.passed().await;
            format!("call {call} {body}.")
        };
        let layer = SingleflightLayer::new(|req| req.uri().path().to_owned());
        let handle = layer.handle();
        (serve(Router::new().route("/hot", get(handler)).layer(layer)).await, handle, gate, calls)
    }

    /// What a client gets that sends this after the head of a request over HTTP/1.1.
    async fn one(address: SocketAddr, body: &'static str) -> String {
        let mut socket = TcpStream::connect(address).await.unwrap();
        let head = format!(
            "GET /hot HTTP/1.1\r\nhost: {address}\r\ntransfer-encoding: chunked\r\n\
             connection: close\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        socket.write_all(body.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// The same over HTTP/2, with these DATA frames; the last one, which is empty, ends the stream.
    async fn two(address: SocketAddr, frames: Vec<&'static str>) -> String {
        let socket = TcpStream::connect(address).await.unwrap();
        let (mut sender, driver) =
            conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.unwrap();
        tokio::spawn(driver);
        let frames: Vec<_> = frames
            .into_iter()
            .map(|data| Ok::<_, Infallible>(Frame::data(Bytes::from(data))))
            .collect();
        let body = StreamBody::new(stream::iter(frames));
        let request = Request::get(format!("http://{address}/hot")).body(body).unwrap();
        let response = sender.send_request(request).await.unwrap();
        String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().into()).unwrap()
    }

    async fn all(clients: Vec<JoinHandle<String>>, said: &str) {
        for client in clients {
            let got = within(client).await.unwrap();
            assert!(got.contains(said), "{got}");
        }
    }

    #[tokio::test]
    async fn gets_that_end_with_an_empty_chunked_body_or_an_empty_data_frame_coalesce() {
        let (address, handle, gate, calls) = server().await;
        let mut clients: Vec<_> = (0..8).map(|_| tokio::spawn(one(address, "0\r\n\r\n"))).collect();
        clients.extend((0..8).map(|_| tokio::spawn(two(address, vec![]))));
        clients.extend((0..8).map(|_| tokio::spawn(two(address, vec!["", ""]))));
        until("all wait", || handle.waiting() == 24).await;
        gate.open();
        all(clients, "call 1 .").await;
        assert_eq!(calls.load(SeqCst), 1);
    }

    #[tokio::test]
    async fn gets_with_data_reach_the_handler_whole_over_both_versions() {
        let (address, handle, gate, calls) = server().await;
        gate.open();
        all(vec![tokio::spawn(one(address, "3\r\none\r\n1\r\n!\r\n0\r\n\r\n"))], " one!.").await;
        all(vec![tokio::spawn(two(address, vec!["", "two", "!"]))], " two!.").await;
        assert_eq!((calls.load(SeqCst), handle.stats().passed_by(PassReason::Body)), (2, 2));
    }
}
