//! Requests that share by their bodies: `SingleflightLayer::with_body`.

use crate::{
    net::Gate,
    support::{self, Body, Flow, flow, settle, within},
};
use bytes::Bytes;
use futures_util::{future::BoxFuture, stream};
use http::{Method, Request, Response};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::BoxBody};
use std::{
    convert::Infallible,
    fmt::Display,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
};
use tokio_test::task::{Spawn, spawn};
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_singleflight::{
    BoxError, Handle, HttpPolicy, PassReason, ReadBody, RequestBody, SharedBody, Singleflight,
    SingleflightLayer, mode::HttpBody,
};

const LIMIT: usize = 64 * 1024;

/// A body that is answered though the gate is closed.
const AT_ONCE: &str = "at once";

type Layered = SingleflightLayer<HttpBody<String>>;
type Call = Spawn<<Singleflight<Echo, HttpBody<String>> as Service<Request<Body>>>::Future>;

/// Reads the request's body, and answers with it once the gate is open.
#[derive(Clone)]
struct Echo {
    seen: Arc<Mutex<Vec<String>>>,
    gate: Gate,
    answer: fn(String) -> Response<Full<Bytes>>,
}

impl Echo {
    fn new() -> Self {
        Self {
            seen: Arc::default(),
            gate: Gate::new(),
            answer: |text| Response::new(Full::from(text)),
        }
    }

    /// The bodies of the calls so far, in order.
    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

impl<B> Service<Request<B>> for Echo
where
    B: http_body::Body<Data = Bytes, Error: Display> + Send + Unpin + 'static,
{
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Full<Bytes>>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Self { seen, gate, answer } = self.clone();
        let call = seen.lock().unwrap().len();
        seen.lock().unwrap().push(String::new());
        Box::pin(async move {
            let mut body = request.into_body();
            while let Some(frame) = body.frame().await {
                let text = match frame {
                    Err(error) => format!("<error: {error}>"),
                    Ok(frame) => match frame.into_data() {
                        Ok(data) => String::from_utf8(data.into()).unwrap(),
                        Err(frame) => {
                            format!("<trailers: {}>", frame.into_trailers().unwrap().len())
                        }
                    },
                };
                let is_error = text.starts_with("<error");
                seen.lock().unwrap()[call] += &text;
                if is_error {
                    break;
                }
            }
            let text = seen.lock().unwrap()[call].clone();
            if text != AT_ONCE {
                gate.passed().await;
                // So that a call whose flight has just landed finds the next one in progress.
                settle().await;
            }
            Ok(answer(text))
        })
    }
}

struct Gateway {
    echo: Echo,
    handle: Handle<String>,
    service: Singleflight<Echo, HttpBody<String>>,
}

/// The body is the key, unless it begins with an exclamation mark.
fn layer() -> Layered {
    SingleflightLayer::with_body(LIMIT, |request| {
        let body = String::from_utf8(request.body().to_vec()).unwrap();
        (!body.starts_with('!')).then_some(body)
    })
}

impl Gateway {
    fn new() -> Self {
        Self::of(layer())
    }

    fn of(layer: Layered) -> Self {
        Self::answering(layer, Echo::new().answer)
    }

    fn answering(layer: Layered, answer: fn(String) -> Response<Full<Bytes>>) -> Self {
        let echo = Echo { answer, ..Echo::new() };
        Self { service: layer.layer(echo.clone()), handle: layer.handle(), echo }
    }

    /// Calls, and polls the call once.
    fn send(&mut self, request: Request<Body>) -> Call {
        let mut call = spawn(self.service.call(request));
        assert!(call.poll().is_pending());
        call
    }

    fn post(&mut self, body: impl Into<String>) -> Call {
        self.send(post(whole(body)))
    }

    /// The call of a client that has only sent the head.
    fn begin(&mut self) -> (Flow, Call) {
        let (flow, body) = flow();
        (flow, self.send(post(body)))
    }

    fn passed_by(&self, reason: PassReason) -> u64 {
        self.handle.stats().passed_by(reason)
    }

    /// Lets the upstream answer, and returns the answer to a call.
    async fn text(&self, call: Call) -> String {
        self.echo.gate.open();
        support::text(within(call).await.unwrap())
    }
}

fn post(body: Body) -> Request<Body> {
    request(Method::POST, &[], body)
}

fn request(method: Method, headers: &[(&str, &str)], body: Body) -> Request<Body> {
    let mut request = Request::builder().method(method).uri("/graphql");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body).unwrap()
}

fn whole(body: impl Into<String>) -> Body {
    Full::from(body.into()).map_err(|never| match never {}).boxed_unsync()
}

fn query() -> Method {
    Method::from_bytes(b"QUERY").unwrap()
}

#[tokio::test]
async fn twenty_posts_with_two_bodies_are_two_calls_and_each_gets_its_own_answer() {
    let mut gateway = Gateway::new();
    let calls: Vec<_> = (0..20).map(|n| gateway.post(["users", "orders"][n % 2])).collect();
    assert_eq!((gateway.handle.waiting(), gateway.handle.in_flight()), (20, 2));
    for (n, call) in calls.into_iter().enumerate() {
        assert_eq!(gateway.text(call).await, ["users", "orders"][n % 2]);
    }
    let stats = gateway.handle.stats();
    assert_eq!((gateway.echo.seen().len(), stats.led, stats.joined, stats.passed), (2, 2, 18, 0));
}

#[tokio::test]
async fn a_call_joins_when_its_body_is_complete_and_waits_for_no_other_upload() {
    let mut gateway = Gateway::new();
    let (slow, mut slow_call) = gateway.begin();
    slow.data("us");
    assert!(slow_call.poll().is_pending());
    assert_eq!(gateway.handle.waiting(), 0);
    let quick = gateway.post("users");
    assert_eq!(gateway.echo.seen(), ["users"]);
    slow.data("ers");
    drop(slow);
    assert!(slow_call.is_woken() && slow_call.poll().is_pending());
    assert_eq!((gateway.handle.waiting(), gateway.handle.stats().joined), (2, 1));
    assert_eq!(gateway.text(quick).await, "users");
    assert_eq!(gateway.text(slow_call).await, "users");
}

#[tokio::test]
async fn a_body_of_the_limit_shares_and_one_byte_more_passes_whole() {
    for (length, announced) in
        [(LIMIT, true), (LIMIT, false), (LIMIT + 1, true), (LIMIT + 1, false)]
    {
        let mut gateway = Gateway::new();
        let text = "x".repeat(length);
        let mut send = || match announced {
            true => gateway.post(&text),
            false => {
                let (flow, call) = gateway.begin();
                flow.data(text[..length - 1].to_owned());
                flow.data(text[length - 1..].to_owned());
                call
            }
        };
        let mut calls = [send(), send()];
        calls.iter_mut().for_each(|call| assert!(call.poll().is_pending()));
        for call in calls {
            assert!(gateway.text(call).await == text, "every byte");
        }
        let expected = if length > LIMIT { (0, 2) } else { (1, 0) };
        assert_eq!((gateway.handle.stats().led, gateway.passed_by(PassReason::Body)), expected);
    }
}

/// Counts the bytes that the layer took and has not handed on.
struct Counted {
    left: usize,
    frame: usize,
    held: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let length = self.frame.min(self.left);
        self.left -= length;
        let held = self.held.fetch_add(length, SeqCst) + length;
        self.most.fetch_max(held, SeqCst);
        let byte = |at: usize| (at % 251) as u8;
        let data: Vec<_> = (0..length).map(|at| byte(self.left + length - at)).collect();
        Poll::Ready((length > 0).then(|| Ok(Frame::data(data.into()))))
    }
}

#[tokio::test]
async fn five_mebibytes_through_a_small_limit_arrive_whole_and_are_never_held() {
    const LENGTH: usize = 5 << 20;
    for frame in [1000, 16 * 1024, LIMIT] {
        let (held, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let body = Counted { left: LENGTH, frame, held: held.clone(), most: most.clone() };
        let inner = tower::service_fn(move |request: Request<Body>| {
            let held = held.clone();
            async move {
                let (mut body, mut left) = (request.into_body(), LENGTH);
                while let Some(data) = body.frame().await {
                    let data = data.unwrap().into_data().unwrap();
                    held.fetch_sub(data.len(), SeqCst);
                    for byte in data {
                        assert_eq!(byte, (left % 251) as u8);
                        left -= 1;
                    }
                }
                Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(left.to_string())))
            }
        });
        let service = layer().layer(inner);
        let response = within(service.oneshot(post(body.boxed_unsync()))).await.unwrap();
        assert_eq!(support::text(response), "0");
        let most = most.load(SeqCst);
        assert!(most > LIMIT && most <= LIMIT + frame, "{most} bytes with frames of {frame}");
    }
}

#[tokio::test]
async fn a_body_that_never_ends_streams_on_beyond_the_limit() {
    let mut gateway = Gateway::new();
    let (flow, mut call) = gateway.begin();
    flow.data("x".repeat(LIMIT));
    assert!(call.poll().is_pending());
    assert_eq!(gateway.echo.seen().len(), 0, "it may still end");
    for beyond in 1..4 {
        flow.data("y");
        assert!(call.poll().is_pending());
        assert_eq!(gateway.echo.seen(), ["x".repeat(LIMIT) + &"y".repeat(beyond)]);
    }
    drop(call);
    assert!(flow.is_dropped());
}

#[tokio::test]
async fn nothing_is_read_of_a_body_that_says_it_is_too_long() {
    let mut gateway = Gateway::new();
    let (flow, body) = flow();
    let length = (LIMIT + 1).to_string();
    let _call = gateway.send(request(Method::POST, &[("content-length", &length)], body));
    assert_eq!(gateway.echo.seen(), [""], "the inner service reads it");
    flow.data("x");
    let (malformed, body) = support::flow();
    let _call = gateway.send(request(Method::POST, &[("content-length", "many")], body));
    assert_eq!((gateway.echo.seen().len(), gateway.passed_by(PassReason::Body)), (2, 2));
    drop(malformed);
}

#[tokio::test]
async fn frames_of_one_byte_are_joined() {
    let mut gateway = Gateway::new();
    let text = "x".repeat(LIMIT);
    let leader = gateway.post(&text);
    let bytes: Vec<_> = text
        .bytes()
        .map(|byte| Ok::<_, BoxError>(Frame::data(Bytes::copy_from_slice(&[byte]))))
        .collect();
    let mut follower = gateway.send(post(StreamBody::new(stream::iter(bytes)).boxed_unsync()));
    while gateway.handle.stats().joined == 0 {
        assert!(follower.is_woken() && follower.poll().is_pending(), "it gives way now and then");
    }
    assert!(gateway.text(leader).await == text && gateway.text(follower).await == text);
    assert_eq!(gateway.echo.seen().len(), 1);
}

#[tokio::test]
async fn a_body_of_another_length_than_announced_passes_as_it_came() {
    let mut gateway = Gateway::new();
    let mut calls = Vec::new();
    for said in ["4", "6", "0"] {
        let (flow, body) = flow();
        calls.push((
            gateway.send(request(Method::POST, &[("content-length", said)], body)),
            "users",
        ));
        flow.data("users");
    }
    calls.push((gateway.send(request(Method::POST, &[("content-length", "6")], whole(""))), ""));
    calls.push((
        gateway.send(request(Method::POST, &[("content-length", "5")], whole("users"))),
        "users",
    ));
    for (call, text) in calls {
        assert_eq!(gateway.text(call).await, text);
    }
    assert_eq!((gateway.passed_by(PassReason::Body), gateway.handle.stats().led), (4, 1));
}

#[tokio::test]
async fn a_body_that_ends_before_its_size_hint_passes_as_it_came() {
    struct Short(Option<Bytes>);
    impl http_body::Body for Short {
        type Data = Bytes;
        type Error = BoxError;
        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            Poll::Ready(self.0.take().map(|data| Ok(Frame::data(data))))
        }
        fn size_hint(&self) -> SizeHint {
            SizeHint::with_exact(self.0.as_ref().map_or(0, |_| 10))
        }
    }
    let mut gateway = Gateway::new();
    let call = gateway.send(post(Short(Some("users".into())).boxed_unsync()));
    assert_eq!(gateway.text(call).await, "users");
    assert_eq!((gateway.passed_by(PassReason::Body), gateway.handle.stats().led), (1, 0));
}

#[tokio::test]
async fn a_body_that_fails_is_handed_on_as_it_came_and_concerns_its_own_client() {
    let mut gateway = Gateway::new();
    let other = gateway.post("users");
    let (flow, mut call) = gateway.begin();
    flow.data("use");
    flow.fail("reset");
    assert!(call.poll().is_pending());
    assert_eq!(gateway.text(call).await, "use<error: reset>");
    assert_eq!(gateway.text(other).await, "users");
    assert_eq!((gateway.handle.stats().led, gateway.handle.stats().joined), (1, 0));
    assert_eq!(gateway.passed_by(PassReason::Body), 1);
}

#[tokio::test]
async fn a_body_with_trailers_passes_with_them() {
    let mut gateway = Gateway::new();
    let (flow, mut call) = gateway.begin();
    flow.data("use");
    flow.data("rs");
    flow.trailer("digest", "1");
    drop(flow);
    assert!(call.poll().is_pending());
    assert_eq!(gateway.text(call).await, "users<trailers: 1>");
    assert_eq!(gateway.passed_by(PassReason::Body), 1);
}

#[tokio::test]
async fn a_body_that_panics_reaches_its_own_caller() {
    let mut gateway = Gateway::new();
    let other = gateway.post("users");
    let bomb = StreamBody::new(stream::poll_fn(|_| panic!("the body")));
    let mut call = spawn(gateway.service.call(post(bomb.boxed_unsync())));
    assert!(catch_unwind(AssertUnwindSafe(|| call.poll().is_pending())).is_err());
    drop(call);
    assert_eq!(gateway.text(other).await, "users");
    assert_eq!((gateway.handle.in_flight(), gateway.handle.waiting()), (0, 0));
}

#[tokio::test]
async fn a_panic_in_the_closure_reaches_its_own_caller() {
    let mut gateway = Gateway::of(SingleflightLayer::with_body(LIMIT, |request| {
        assert_ne!(request.body(), "bomb");
        Some("key".to_owned())
    }));
    let other = gateway.post("users");
    let mut call = spawn(gateway.service.call(post(whole("bomb"))));
    assert!(catch_unwind(AssertUnwindSafe(|| call.poll().is_pending())).is_err());
    drop(call);
    let joins = gateway.post("users");
    for call in [other, joins] {
        assert_eq!(gateway.text(call).await, "users");
    }
    assert_eq!((gateway.echo.seen().len(), gateway.handle.in_flight()), (1, 0));
}

#[tokio::test]
async fn a_client_that_leaves_during_its_upload_leaves_nothing() {
    let mut gateway = Gateway::new();
    let (flow, mut call) = gateway.begin();
    flow.data("use");
    assert!(call.poll().is_pending());
    drop(call);
    assert!(flow.is_dropped());
    let stats = gateway.handle.stats();
    assert_eq!(
        (gateway.echo.seen().len(), stats.in_flight, stats.waiting, stats.passed),
        (0, 0, 0, 0)
    );
}

#[tokio::test]
async fn a_post_that_passes_seals_the_queries_in_flight() {
    let too_long = "x".repeat(LIMIT + 1);
    for (write, seals) in [
        (post(whole("!mutation")), true),
        (post(whole(too_long.clone())), true),
        (request(Method::PUT, &[], whole("users")), true),
        (request(query(), &[], whole("!query")), false),
        (request(Method::GET, &[], whole("!get")), false),
        (post(whole("orders")), false),
    ] {
        let mut gateway = Gateway::new();
        let _before = gateway.post("users");
        let _write = gateway.send(write);
        let calls = gateway.echo.seen().len();
        let _after = gateway.post("users");
        assert_eq!(gateway.echo.seen().len() - calls, usize::from(seals));
    }
}

#[tokio::test]
async fn a_mutation_seals_again_when_it_is_answered() {
    let mut gateway = Gateway::new();
    let mutation = gateway.post("!mutation");
    let _during = gateway.post("users");
    let waiting = gateway.handle.waiting();
    drop(mutation);
    let _after = gateway.post("users");
    assert_eq!((waiting, gateway.handle.stats().led, gateway.handle.stats().joined), (1, 2, 0));
}

#[tokio::test]
async fn a_mutation_of_another_path_or_without_sealing_seals_nothing() {
    for (path, policy) in [
        ("/other", HttpPolicy::default()),
        ("/graphql", HttpPolicy::default().seal_on_write(false)),
    ] {
        let mut gateway = Gateway::of(layer().policy(policy));
        let _before = gateway.post("users");
        let _write = gateway.send(Request::post(path).body(whole("!mutation")).unwrap());
        let _after = gateway.post("users");
        assert_eq!((gateway.handle.stats().led, gateway.handle.stats().joined), (1, 1));
    }
}

#[tokio::test]
async fn a_query_that_passes_because_its_answer_was_not_shared_is_no_write() {
    let no_store = |text: String| {
        Response::builder().header("cache-control", "no-store").body(Full::from(text)).unwrap()
    };
    let mut gateway = Gateway::answering(layer(), no_store);
    for passed in [0, 1] {
        let _users = gateway.post("users");
        let at_once = spawn(gateway.service.call(post(whole(AT_ONCE))));
        assert_eq!(support::text(within(at_once).await.unwrap()), AT_ONCE);
        assert_eq!(gateway.passed_by(PassReason::Unshareable), passed);
        let _joins = gateway.post("users");
    }
    assert_eq!((gateway.handle.stats().led, gateway.handle.stats().joined), (3, 2));
}

#[tokio::test]
async fn a_request_without_a_body_shares_if_the_closure_says_so() {
    let empty = || Empty::new().map_err(|never: Infallible| match never {}).boxed_unsync();
    let mut gateway = Gateway::new();
    let _calls: Vec<_> = (0..3).map(|_| gateway.send(request(Method::GET, &[], empty()))).collect();
    let (flow, mut streamed) = {
        let (flow, body) = flow();
        (flow, gateway.send(request(Method::GET, &[], body)))
    };
    drop(flow);
    assert!(streamed.poll().is_pending());
    assert_eq!((gateway.handle.stats().led, gateway.handle.stats().joined), (1, 3));
    let mut gateway = Gateway::of(SingleflightLayer::with_body(LIMIT, |request| {
        (!request.body().is_empty()).then(|| request.uri().to_string())
    }));
    let _call = gateway.send(request(Method::GET, &[], empty()));
    assert_eq!(gateway.passed_by(PassReason::NoKey), 1);
}

#[tokio::test]
async fn a_limit_of_nothing_lets_requests_without_data_share() {
    let mut gateway = Gateway::of(SingleflightLayer::with_body(0, |_| Some(String::new())));
    let _calls = [gateway.post(""), gateway.post(""), gateway.post("x")];
    assert_eq!((gateway.handle.stats().joined, gateway.passed_by(PassReason::Body)), (1, 1));
}

/// Whether two requests with the same body share.
fn share(layer: Layered, one: Request<Body>, two: Request<Body>) -> bool {
    let mut gateway = Gateway::of(layer);
    let _calls = [gateway.send(one), gateway.send(two)];
    gateway.handle.stats().joined == 1
}

#[tokio::test]
async fn the_type_and_the_encoding_of_a_body_are_compared_and_its_framing_is_not() {
    let with = |name: &'static str, value: &'static str| {
        request(Method::POST, &[(name, value)], whole("users"))
    };
    for name in ["content-type", "content-encoding"] {
        assert!(share(layer(), with(name, "one"), with(name, "one")));
        assert!(!share(layer(), with(name, "one"), with(name, "two")));
        assert!(!share(layer(), with(name, "one"), post(whole("users"))));
        let ignoring = HttpPolicy::default().without_partition_header(support::name(name));
        assert!(share(layer().policy(ignoring), with(name, "one"), with(name, "two")));
        let trusting = HttpPolicy::default().trust_key();
        assert!(share(layer().policy(trusting), with(name, "one"), with(name, "two")));
    }
    assert!(share(layer(), with("content-length", "5"), with("transfer-encoding", "chunked")));
}

#[tokio::test]
async fn the_rest_of_the_partition_is_compared_as_without_a_body() {
    let with = |name: &'static str, value: &'static str| {
        request(Method::POST, &[(name, value)], whole("users"))
    };
    for name in ["authorization", "cookie", "accept"] {
        assert!(!share(layer(), with(name, "one"), with(name, "two")));
    }
    let path = |path: &str| Request::post(path).body(whole("users")).unwrap();
    assert!(!share(layer(), path("/one"), path("/two")));
    assert!(!share(layer(), path("/one"), path("/one?query")));
    for range in ["range", "expect", "if-match"] {
        assert!(!share(layer(), with(range, "x"), with(range, "x")));
    }
    assert!(!share(layer(), with("cache-control", "no-store"), with("cache-control", "no-store")));
}

#[tokio::test]
async fn four_methods_share_each_with_itself() {
    let of = |method: Method| request(method, &[], whole("users"));
    let methods = || [Method::GET, Method::HEAD, Method::POST, query()];
    for one in methods() {
        for two in methods() {
            assert_eq!(share(layer(), of(one.clone()), of(two.clone())), one == two, "{one} {two}");
        }
    }
    assert!(!share(layer(), of(Method::PUT), of(Method::PUT)));
    let posts = || layer().policy(HttpPolicy::default().methods([Method::POST]));
    assert!(share(posts(), of(Method::POST), of(Method::POST)));
    assert!(!share(posts(), of(Method::GET), of(Method::GET)));
}

#[tokio::test]
async fn a_post_that_the_policy_names_is_a_write_all_the_same_without_a_key() {
    let mut gateway = Gateway::of(layer().policy(HttpPolicy::default().methods([Method::POST])));
    let _before = gateway.post("users");
    let _write = gateway.post("!mutation");
    let _after = gateway.post("users");
    assert_eq!((gateway.handle.stats().led, gateway.handle.stats().joined), (2, 0));
}

#[tokio::test]
async fn a_request_that_passes_by_its_head_is_not_read() {
    let filtered = layer().filter(|head| head.uri().path() != "/graphql");
    let off = layer();
    off.handle().set_enabled(false);
    for (layer, request, reason) in [
        (
            layer(),
            request(Method::POST, &[("expect", "100-continue")], whole("")),
            PassReason::Header,
        ),
        (layer(), request(Method::PATCH, &[], whole("")), PassReason::Method),
        (filtered, post(whole("")), PassReason::Filter),
        (off, post(whole("")), PassReason::Disabled),
    ] {
        let mut gateway = Gateway::of(layer);
        let (_flow, body) = flow();
        let _call = gateway.send(request.map(|_| body));
        assert_eq!((gateway.echo.seen(), gateway.passed_by(reason)), (vec![String::new()], 1));
    }
}

#[tokio::test]
async fn a_layer_that_is_turned_off_during_an_upload_does_not_ask_the_closure() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    let mut gateway = Gateway::of(SingleflightLayer::with_body(LIMIT, move |_| {
        counted.fetch_add(1, SeqCst);
        Some(String::new())
    }));
    let (flow, mut call) = gateway.begin();
    gateway.handle.set_enabled(false);
    flow.data("users");
    drop(flow);
    assert!(call.poll().is_pending());
    assert_eq!(gateway.text(call).await, "users");
    assert_eq!((asked.load(SeqCst), gateway.passed_by(PassReason::Disabled)), (0, 1));
}

/// The first letter of the body is the key, so that followers have bodies of their own.
fn by_first_letter() -> Layered {
    SingleflightLayer::with_body(LIMIT, |request| Some(request.body().first()?.to_string()))
}

#[tokio::test]
async fn a_follower_that_may_not_have_the_answer_sends_its_own_body() {
    let set_cookie: fn(String) -> Response<Full<Bytes>> =
        |text| Response::builder().header("set-cookie", "sid=1").body(Full::from(text)).unwrap();
    let refuse: fn(String) -> Response<Full<Bytes>> =
        |text| Response::builder().status(403).body(Full::from(text)).unwrap();
    for answer in [set_cookie, refuse] {
        let mut gateway = Gateway::answering(by_first_letter(), answer);
        let calls: Vec<_> = ["q1", "q2", "q3"].map(|body| gateway.post(body)).into();
        assert_eq!((gateway.echo.seen().len(), gateway.handle.stats().joined), (1, 2));
        let calls = calls.into_iter().zip(["q1", "q2", "q3"]);
        gateway.echo.gate.open();
        let tasks: Vec<_> = calls.map(|(call, body)| (tokio::spawn(call), body)).collect();
        for (task, body) in tasks {
            assert_eq!(support::text(within(task).await.unwrap().unwrap()), body);
        }
        let mut seen = gateway.echo.seen();
        seen.sort();
        assert_eq!(seen, ["q1", "q2", "q3"]);
    }
}

#[tokio::test]
async fn a_follower_that_does_not_agree_with_vary_leads_again_under_the_same_key() {
    let vary =
        |text: String| Response::builder().header("vary", "x-kind").body(Full::from(text)).unwrap();
    let mut gateway = Gateway::answering(by_first_letter(), vary);
    let kind = |kind, body: &str| request(Method::POST, &[("x-kind", kind)], whole(body));
    let leader = gateway.send(kind("a", "q1"));
    let (same, other, another) = (
        gateway.send(kind("a", "q2")),
        gateway.send(kind("b", "q3")),
        gateway.send(kind("b", "q4")),
    );
    assert_eq!(gateway.handle.stats().joined, 3);
    gateway.echo.gate.open();
    let tasks = [leader, same, other, another].map(tokio::spawn);
    let mut texts = Vec::new();
    for task in tasks {
        texts.push(support::text(within(task).await.unwrap().unwrap()));
    }
    assert_eq!(texts[..2], ["q1", "q1"]);
    assert!(texts[2] == texts[3] && ["q3", "q4"].contains(&&*texts[2]), "{texts:?}");
    assert_eq!((gateway.echo.seen().len(), gateway.handle.in_flight()), (2, 0));
}

#[test]
fn a_follower_that_lost_its_leaders_runtime_leads_anew_with_its_own_whole_body() {
    // One key, and a body for each caller.
    let layer = SingleflightLayer::with_body(LIMIT, |request| {
        let body = String::from_utf8(request.body().to_vec()).unwrap();
        body.split(' ').next().map(str::to_owned)
    });
    let mut gateway = Gateway::of(layer);
    let [mut leader, mut follower] = support::paused().block_on(async {
        let leader = gateway.post("users for the leader");
        let (flow, mut follower) = gateway.begin();
        for part in ["users ", "for the ", "follower"] {
            flow.data(part);
        }
        drop(flow);
        assert!(follower.poll().is_pending());
        settle().await;
        [leader, follower]
    });
    assert_eq!(
        (gateway.handle.stats().joined, gateway.echo.seen()),
        (1, vec!["users for the leader".to_owned()])
    );
    support::paused().block_on(async {
        assert!(follower.poll().is_pending());
        settle().await;
        assert_eq!(gateway.echo.seen()[1..], ["users for the follower"]);
        gateway.echo.gate.open();
        for call in [&mut follower, &mut leader] {
            assert_eq!(support::text(within(call).await.unwrap()), "users for the follower");
        }
    });
    let stats = gateway.handle.stats();
    assert_eq!((stats.lost, stats.in_flight, stats.waiting), (1, 0, 0));
}

#[tokio::test]
async fn a_handle_forgets_by_the_key_and_not_by_an_option_of_it() {
    let mut gateway = Gateway::new();
    let _before = gateway.post("users");
    gateway.handle.forget("users");
    let _after = gateway.post("users");
    assert_eq!(gateway.handle.stats().led, 2);
}

#[tokio::test]
async fn every_method_of_a_layer_works_on_it() {
    let layer = layer()
        .filter(|head| head.uri().path() == "/graphql")
        .policy(HttpPolicy::default())
        .run_to_completion(true)
        .join_within(std::time::Duration::from_secs(1))
        .wait_at_most(std::time::Duration::from_secs(60))
        .followers_retry(1)
        .max_waiters(2)
        .separate_groups()
        .name("graphql")
        .shared_errors();
    let echo = Echo::new();
    let (one, two) = (layer.layer(echo.clone()), layer.layer(echo.clone()));
    let calls = (one.clone().oneshot(post(whole("users"))), one.oneshot(post(whole("users"))));
    let (a, b, c, ()) = tokio::join!(calls.0, calls.1, two.oneshot(post(whole("users"))), async {
        echo.gate.open()
    });
    for response in [a, b, c] {
        assert_eq!(support::text(response.unwrap()), "users");
    }
    assert_eq!((echo.seen().len(), layer.handle().stats().joined), (2, 1));
}

/// A body of the user's own.
struct Upload(BoxBody<Bytes, io::Error>);

impl RequestBody for Upload {
    fn from_read(read: ReadBody<Self>) -> Self {
        Self(BoxBody::new(read))
    }
}

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Pin::new(&mut self.0).poll_frame(cx)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }
}

/// Two calls with one short body are one upstream call, and a long body arrives whole.
async fn shares_and_passes<B>(body: impl Fn(String) -> B)
where
    B: RequestBody<Error: Display>,
{
    let (layer, echo) = (layer(), Echo::new());
    let service = ServiceBuilder::new().layer(layer.clone()).service(echo.clone());
    let call = |text: &str| {
        service.clone().oneshot(Request::post("/").body(body(text.to_owned())).unwrap())
    };
    let long = "x".repeat(LIMIT + 1);
    let (one, two, passed, ()) =
        tokio::join!(call("users"), call("users"), call(&long), async { echo.gate.open() });
    assert_eq!(support::text(one.unwrap()), "users");
    assert_eq!(support::text(two.unwrap()), "users");
    assert!(support::text(passed.unwrap()) == long);
    let stats = layer.handle().stats();
    assert_eq!((stats.led, stats.joined, stats.passed, echo.seen().len()), (1, 1, 1, 2));
}

#[tokio::test]
async fn every_type_of_body_is_handed_on_as_its_own_type() {
    fn full<E>(text: String) -> impl http_body::Body<Data = Bytes, Error = E> + Send + Sync {
        Full::from(text).map_err(|never| match never {})
    }
    /// In two frames, and without a length.
    fn streamed<E: Send + Sync + 'static>(
        text: String,
    ) -> impl http_body::Body<Data = Bytes, Error = E> + Send + Sync {
        let (one, two) = text.split_at(text.len() / 2);
        let frames = [one, two].map(|text| Ok(Frame::data(Bytes::from(text.to_owned()))));
        StreamBody::new(futures_util::stream::iter(
            frames.map(|frame: Result<_, Infallible>| frame),
        ))
        .map_err(|never| match never {})
    }
    shares_and_passes(Full::<Bytes>::from).await;
    shares_and_passes(SharedBody::from).await;
    shares_and_passes(|text| full::<BoxError>(text).boxed_unsync()).await;
    shares_and_passes(|text| full::<Infallible>(text).boxed()).await;
    shares_and_passes(|text| streamed::<Infallible>(text).boxed_unsync()).await;
    shares_and_passes(|text| streamed::<BoxError>(text).boxed()).await;
    shares_and_passes(|text| streamed::<tower_singleflight::SharedError>(text).boxed()).await;
    shares_and_passes(|text| Upload(streamed(text).boxed())).await;
    #[cfg(feature = "axum")]
    {
        shares_and_passes(axum::body::Body::from).await;
        shares_and_passes(|text| axum::body::Body::new(streamed::<Infallible>(text))).await;
        shares_and_passes(|text| streamed::<axum::Error>(text).boxed_unsync()).await;
    }
}

#[tokio::test]
async fn a_shared_body_of_a_request_is_handed_on_with_what_comes_after_the_limit() {
    // The response of one upstream is the request of another.
    let (flow, source) = flow();
    let source = Arc::new(Mutex::new(Some(source)));
    let inner = tower::service_fn(move |_: Request<Full<Bytes>>| {
        let source = source.lock().unwrap().take();
        async { Ok::<_, Infallible>(Response::new(source.expect("it is called once"))) }
    });
    let response = support::by_uri().layer(inner).oneshot(support::get("/", &[])).await.unwrap();
    let echo = Echo::new();
    echo.gate.open();
    let mut call = spawn(
        layer().layer(echo.clone()).oneshot(Request::post("/").body(response.into_body()).unwrap()),
    );
    flow.data("x".repeat(LIMIT));
    flow.data("y");
    assert!(call.poll().is_pending());
    flow.data("z");
    flow.fail("reset");
    let text = support::text(within(call).await.unwrap());
    assert!(text == "x".repeat(LIMIT) + "yz<error: reset>");
}

#[tokio::test]
async fn a_client_without_bodies_shares_too() {
    let (layer, echo) = (layer(), Echo::new());
    let service = layer.layer(echo.clone());
    let call = || service.clone().oneshot(Request::get("/").body(Empty::<Bytes>::new()).unwrap());
    let (one, two, ()) = tokio::join!(call(), call(), async { echo.gate.open() });
    assert_eq!(
        (support::text(one.unwrap()), support::text(two.unwrap())),
        (String::new(), String::new())
    );
    assert_eq!(echo.seen().len(), 1);
}

#[tokio::test]
async fn a_read_body_has_the_hints_of_the_whole() {
    let (layer, seen) = (layer(), Arc::new(Mutex::new(Vec::new())));
    let noted = seen.clone();
    let inner = tower::service_fn(move |request: Request<Body>| {
        noted
            .lock()
            .unwrap()
            .push((request.body().size_hint().exact(), request.body().is_end_stream()));
        async { Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())) }
    });
    let service = layer.layer(inner);
    for text in ["users", "!mutation", ""] {
        within(service.clone().oneshot(post(whole(text)))).await.unwrap();
    }
    assert_eq!(*seen.lock().unwrap(), [(Some(5), false), (Some(9), false), (Some(0), true)]);
}

#[cfg(feature = "axum")]
mod sockets {
    use super::*;
    use crate::net::{listen, serve, until};
    use axum::{Router, routing::post};
    use hyper::body::Incoming;
    use hyper_util::{
        client::legacy::{Client, connect::HttpConnector},
        rt::{TokioExecutor, TokioIo},
        server::conn::auto,
        service::TowerToHyperService,
    };
    use std::net::SocketAddr;

    /// Sends each body on a connection of its own, and returns the answers.
    async fn send(
        address: SocketAddr,
        bodies: Vec<String>,
    ) -> Vec<tokio::task::JoinHandle<String>> {
        let send = |body: String| async move {
            let client =
                Client::builder(TokioExecutor::new()).build::<_, Full<Bytes>>(HttpConnector::new());
            let request =
                Request::post(format!("http://{address}/graphql")).body(Full::from(body)).unwrap();
            let body = client.request(request).await.unwrap().into_body();
            String::from_utf8(body.collect().await.unwrap().to_bytes().into()).unwrap()
        };
        bodies.into_iter().map(|body| tokio::spawn(send(body))).collect()
    }

    async fn coalesces(address: SocketAddr, handle: &Handle<String>, echo: &Echo) {
        let bodies: Vec<_> = (0..20).map(|n| ["users", "orders"][n % 2].to_owned()).collect();
        let clients = send(address, bodies.clone()).await;
        until("all wait", || handle.waiting() == 20).await;
        echo.gate.open();
        for (client, body) in clients.into_iter().zip(bodies) {
            assert_eq!(within(client).await.unwrap(), body);
        }
        assert_eq!(echo.seen().len(), 2);
        let long = "x".repeat(5 << 20);
        for client in send(address, vec![long.clone()]).await {
            assert!(within(client).await.unwrap() == long);
        }
        assert_eq!(handle.stats().passed_by(PassReason::Body), 1);
    }

    #[tokio::test]
    async fn twenty_clients_of_an_axum_router_cost_two_calls() {
        let (layer, echo) = (layer(), Echo::new());
        let (handle, inner) = (layer.handle(), echo.clone());
        let app = Router::new().route("/graphql", axum::routing::post_service(inner)).layer(layer);
        coalesces(serve(app).await, &handle, &echo).await;
    }

    #[tokio::test]
    async fn the_line_works_on_a_route_of_handlers() {
        let layer = SingleflightLayer::with_body(1024, |request| Some(request.body().clone()));
        let route = post(|body: Bytes| async move { body }).layer(layer);
        let app: Router = Router::new().route("/", route);
        let response = app
            .oneshot(Request::post("/").body(axum::body::Body::from("users")).unwrap())
            .await
            .unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "users");
    }

    #[tokio::test]
    async fn twenty_clients_of_a_hyper_server_cost_two_calls() {
        let (layer, echo) = (layer(), Echo::new());
        let (handle, inner) = (layer.handle(), echo.clone());
        let service = ServiceBuilder::new()
            .map_request(|request: Request<Incoming>| request.map(BodyExt::boxed_unsync))
            .layer(layer)
            .service(inner);
        let (listener, address) = listen().await;
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let service = TowerToHyperService::new(service.clone());
                tokio::spawn(async move {
                    auto::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(socket), service)
                        .await
                });
            }
        });
        coalesces(address, &handle, &echo).await;
    }

    #[tokio::test]
    async fn a_hyper_util_client_takes_the_layer_and_sends_the_bytes() {
        let echo = Echo::new();
        let app = Router::new().route("/graphql", axum::routing::post_service(echo.clone()));
        let address = serve(app).await;
        let layer = layer();
        let client =
            Client::builder(TokioExecutor::new()).build::<_, Full<Bytes>>(HttpConnector::new());
        let client = ServiceBuilder::new().layer(layer.clone().shared_errors()).service(client);
        let call = || {
            let request = Request::post(format!("http://{address}/graphql"))
                .body(Full::from("users"))
                .unwrap();
            tokio::spawn(client.clone().oneshot(request))
        };
        let calls = [call(), call(), call()];
        until("all wait", || layer.handle().waiting() == 3).await;
        echo.gate.open();
        for call in calls {
            let body = within(call).await.unwrap().unwrap().into_body();
            assert_eq!(body.collect().await.unwrap().to_bytes(), "users");
        }
        assert_eq!(echo.seen(), ["users"]);
    }
}
