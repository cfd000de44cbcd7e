//! An upstream that answers when it is told to, and calls and bodies that are stepped by hand.

pub(crate) use crate::shared::{panic_payload, panics, paused, settle, text_of};

use bytes::Bytes;
use futures_util::{future::BoxFuture, stream, task::noop_waker};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use std::{
    collections::VecDeque,
    fmt, future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::sync::{mpsc, oneshot};
use tokio_test::task::{Spawn, spawn};
use tower::{Layer, Service};
use tower_singleflight::{
    BoxError, Handle, HttpPolicy, Role, SharedBody, Singleflight, SingleflightLayer, Stats,
    mode::{Http, OwnErrors},
};

pub(crate) type Ask = Request<Full<Bytes>>;
pub(crate) type Body = UnsyncBoxBody<Bytes, BoxError>;
pub(crate) type Answer = Result<Response<SharedBody>, Failure>;
pub(crate) type Layered = Singleflight<Upstream, Http<String>, OwnErrors>;

/// Two requests share only if they are equal in these.
pub(crate) const LISTED: [&str; 9] = [
    "accept",
    "accept-encoding",
    "accept-language",
    "origin",
    "authorization",
    "proxy-authorization",
    "cookie",
    "if-none-match",
    "if-modified-since",
];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure(pub(crate) &'static str);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Failure {}

/// Keeps every call open until the test answers it.
#[derive(Clone, Default)]
pub(crate) struct Upstream(Arc<Desk>);

#[derive(Default)]
struct Desk {
    calls: AtomicUsize,
    open: Mutex<VecDeque<Open>>,
}

/// A call of the upstream that has no answer yet.
pub(crate) struct Open {
    pub(crate) head: Request<()>,
    reply: oneshot::Sender<Result<Response<Body>, Failure>>,
}

impl Upstream {
    /// How often it was called so far.
    pub(crate) fn calls(&self) -> usize {
        self.0.calls.load(SeqCst)
    }

    /// How many calls wait for an answer, and for whom somebody waits.
    pub(crate) fn open(&self) -> usize {
        let mut open = self.0.open.lock().unwrap();
        open.retain(|call| !call.is_cancelled());
        open.len()
    }

    /// The oldest call without an answer.
    #[track_caller]
    pub(crate) fn next(&self) -> Open {
        let next = self.0.open.lock().unwrap().pop_front();
        next.expect("the upstream was not called")
    }

    pub(crate) fn try_next(&self) -> Option<Open> {
        self.0.open.lock().unwrap().pop_front()
    }
}

impl Open {
    pub(crate) fn answer(self, response: Response<Body>) {
        drop(self.reply.send(Ok(response)));
    }

    pub(crate) fn fail(self, text: &'static str) {
        drop(self.reply.send(Err(Failure(text))));
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.reply.is_closed()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.headers().get(name).map(|value| value.to_str().unwrap())
    }
}

impl Service<Ask> for Upstream {
    type Response = Response<Body>;
    type Error = Failure;
    type Future = BoxFuture<'static, Result<Response<Body>, Failure>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Ask) -> Self::Future {
        let (reply, answer) = oneshot::channel();
        let head = request.map(drop);
        self.0.calls.fetch_add(1, SeqCst);
        self.0.open.lock().unwrap().push_back(Open { head, reply });
        Box::pin(async { answer.await.unwrap_or(Err(Failure("the test dropped the call"))) })
    }
}

/// An upstream, the layer over it, and what the layer counts.
pub(crate) struct Bench {
    pub(crate) upstream: Upstream,
    pub(crate) handle: Handle<String>,
    service: Layered,
}

/// The layer as the README has it.
pub(crate) fn by_uri() -> SingleflightLayer<Http<String>> {
    SingleflightLayer::new(|req| req.uri().to_string())
}

/// All requests have one key, so that the partition alone tells them apart.
pub(crate) fn by_nothing() -> SingleflightLayer<Http<String>> {
    SingleflightLayer::new(|_| "key".to_owned())
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::of(&by_uri())
    }

    pub(crate) fn with(policy: HttpPolicy) -> Self {
        Self::of(&by_uri().policy(policy))
    }

    pub(crate) fn of(layer: &SingleflightLayer<Http<String>>) -> Self {
        let upstream = Upstream::default();
        Self { service: layer.layer(upstream.clone()), handle: layer.handle(), upstream }
    }

    /// Calls, and polls the call once.
    pub(crate) fn send(&mut self, request: Ask) -> Call {
        let mut call = Call(spawn(Box::pin(self.service.call(request))));
        call.waits();
        call
    }

    pub(crate) fn get(&mut self, uri: &str) -> Call {
        self.send(get(uri, &[]))
    }

    pub(crate) fn calls(&self) -> usize {
        self.upstream.calls()
    }

    pub(crate) fn stats(&self) -> Stats {
        self.handle.stats()
    }

    /// Answers the oldest call, and lets everybody know.
    #[track_caller]
    pub(crate) fn answer(&self, response: Response<Body>) -> impl Future<Output = ()> + use<> {
        self.upstream.next().answer(response);
        settle()
    }
}

/// One call of the layer's service.
pub(crate) struct Call(Spawn<BoxFuture<'static, Answer>>);

impl Call {
    /// Whether it has no answer yet.
    pub(crate) fn waits(&mut self) -> bool {
        match self.0.poll() {
            Poll::Ready(answer) => {
                self.0 = spawn(Box::pin(future::ready(answer)));
                false
            }
            Poll::Pending => true,
        }
    }

    pub(crate) fn is_woken(&self) -> bool {
        self.0.is_woken()
    }

    #[track_caller]
    pub(crate) fn result(&mut self) -> Answer {
        match self.0.poll() {
            Poll::Ready(answer) => answer,
            Poll::Pending => panic!("the call has no answer yet"),
        }
    }

    #[track_caller]
    pub(crate) fn response(&mut self) -> Response<SharedBody> {
        self.result().expect("the call failed")
    }

    #[track_caller]
    pub(crate) fn text(&mut self) -> String {
        text(self.response())
    }
}

/// A watchdog, not a wait.
pub(crate) async fn within<F: Future>(what: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(30), what).await.expect("it hangs")
}

pub(crate) fn get(uri: &str, headers: &[(&str, &str)]) -> Ask {
    ask(Method::GET, uri, headers)
}

pub(crate) fn ask(method: Method, uri: &str, headers: &[(&str, &str)]) -> Ask {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::default()).unwrap()
}

pub(crate) fn ok(text: &'static str) -> Response<Body> {
    reply(200, &[], text)
}

pub(crate) fn reply(
    status: u16,
    headers: &[(&str, &str)],
    text: impl Into<String>,
) -> Response<Body> {
    let body = Full::from(text.into()).map_err(|never| match never {}).boxed_unsync();
    with_body(status, headers, body)
}

pub(crate) fn with_body(status: u16, headers: &[(&str, &str)], body: Body) -> Response<Body> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(body).unwrap()
}

pub(crate) fn name(name: &'static str) -> HeaderName {
    HeaderName::from_static(name)
}

/// What feeds a body. Dropped, the body ends cleanly.
pub(crate) struct Flow(mpsc::UnboundedSender<Result<Frame<Bytes>, BoxError>>);

pub(crate) fn flow() -> (Flow, Body) {
    let (sender, mut frames) = mpsc::unbounded_channel();
    let body = StreamBody::new(stream::poll_fn(move |cx| frames.poll_recv(cx)));
    (Flow(sender), body.boxed_unsync())
}

impl Flow {
    #[track_caller]
    pub(crate) fn data(&self, data: impl Into<Bytes>) {
        self.0.send(Ok(Frame::data(data.into()))).expect("nobody reads the body");
    }

    pub(crate) fn trailer(&self, name: &'static str, value: &'static str) {
        let trailers = HeaderMap::from_iter([(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )]);
        self.0.send(Ok(Frame::trailers(trailers))).expect("nobody reads the body");
    }

    pub(crate) fn fail(&self, text: &'static str) {
        self.0.send(Err(Failure(text).into())).expect("nobody reads the body");
    }

    /// Whether the upstream's body was dropped.
    pub(crate) fn is_dropped(&self) -> bool {
        self.0.is_closed()
    }
}

/// What a reader finds when it reads as far as it can without waiting.
#[derive(Debug, PartialEq)]
pub(crate) enum Read {
    Open(String),
    Ended(String),
    Broken(String, String),
}

pub(crate) fn read(body: &mut SharedBody) -> Read {
    let mut text = String::new();
    loop {
        match Pin::new(&mut *body).poll_frame(&mut Context::from_waker(&noop_waker())) {
            Poll::Pending => return Read::Open(text),
            Poll::Ready(None) => return Read::Ended(text),
            Poll::Ready(Some(Err(error))) => return Read::Broken(text, error.to_string()),
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => text.push_str(std::str::from_utf8(&data).unwrap()),
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap();
                    for (name, value) in &trailers {
                        text.push_str(&format!("<{name}: {}>", value.to_str().unwrap()));
                    }
                }
            },
        }
    }
}

/// All of a body that is complete.
#[track_caller]
pub(crate) fn text(response: Response<SharedBody>) -> String {
    match read(&mut response.into_body()) {
        Read::Ended(text) => text,
        other => panic!("the body has not ended: {other:?}"),
    }
}

pub(crate) fn role<B>(response: &Response<B>) -> Option<Role> {
    response.extensions().get().copied()
}

/// Whether two requests share a flight whose head is not known yet. Both get an answer in the end.
pub(crate) async fn share(layer: &SingleflightLayer<Http<String>>, one: Ask, other: Ask) -> bool {
    let mut bench = Bench::of(layer);
    let (mut first, mut second) = (bench.send(one), bench.send(other));
    settle().await;
    let calls = bench.calls();
    while let Some(open) = bench.upstream.try_next() {
        open.answer(ok("answer"));
    }
    settle().await;
    assert_eq!((first.text(), second.text()), ("answer".to_owned(), "answer".to_owned()));
    assert_eq!(bench.handle.in_flight(), 0, "nothing is left");
    match calls {
        1 => true,
        2 => false,
        calls => panic!("{calls} calls for two requests"),
    }
}

/// A write through one service seals what was in progress through the other. Both have `upstream`.
pub(crate) fn seals(write: &mut Layered, read: &mut Layered, upstream: &Upstream) -> bool {
    let send = |service: &mut Layered, request| {
        let mut call = spawn(service.call(request));
        assert!(call.poll().is_pending());
        call
    };
    let before = send(read, get("/a", &[]));
    let written = send(write, ask(Method::POST, "/a", &[]));
    let after = send(read, get("/a", &[]));
    let calls = upstream.calls();
    drop((before, written, after));
    calls == 3
}

/// Whether a follower gets its leader's response. If not, it gets its own; the leader gets its in
/// any case.
pub(crate) async fn follower_gets(
    policy: HttpPolicy,
    request: impl Fn() -> Ask,
    response: Response<Body>,
) -> bool {
    let mut bench = Bench::with(policy);
    let (mut leader, mut follower) = (bench.send(request()), bench.send(request()));
    settle().await;
    assert_eq!(bench.calls(), 1, "the second joined");
    bench.answer(response).await;
    let led = leader.response();
    assert_eq!(role(&led), Some(Role::Leader));
    if !follower.waits() {
        let got = follower.response();
        assert_eq!((role(&got), bench.calls()), (Some(Role::Follower), 1));
        return true;
    }
    assert_eq!(bench.calls(), 2, "the follower sends its own request at once");
    bench.answer(ok("its own")).await;
    let got = follower.response();
    assert_ne!(role(&got), Some(Role::Follower), "it passes, or leads after a refusal");
    assert_eq!(text(got), "its own");
    false
}
