//! Calls one after the other, each of them alone.

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Request, Response,
    header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, DATE, ETAG},
};
use http_body::Body;
use http_body_util::Full;
use std::{
    convert::Infallible,
    fmt::Debug,
    future::poll_fn,
    hint::black_box,
    mem,
    pin::{Pin, pin},
    sync::LazyLock,
    task::{Context, Poll, Waker},
};
use tokio::runtime::{Builder, Runtime};
use tower::{Layer, Service, service_fn};
use tower_singleflight::SingleflightLayer;

/// How many calls, and what is done with each.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) calls: u64,
    /// Whether the body of the response is read to its end, or dropped with its head.
    pub(crate) reads: bool,
}

pub(crate) fn by_key<W, F>(plan: Plan, work: W)
where
    W: Fn() -> F + Copy + Send + 'static,
    F: Future + Send,
{
    let inner = service_fn(move |number: u64| async move {
        work().await;
        Ok::<_, Infallible>(number)
    });
    let mut service = SingleflightLayer::by_key(|number: &u64| *number).layer(inner);
    for number in 0..plan.calls {
        let _ = black_box(drive(service.call(number)));
    }
}

pub(crate) fn http<L, B>(plan: Plan, layer: L)
where
    L: Layer<Bare, Service: Service<Request<Full<Bytes>>, Response = Response<B>, Error: Debug>>,
    B: Body<Error: Debug>,
{
    http_around(plan, layer, Bare::default());
}

/// Calls whose responses newcomers may join until the end of the body, which is read.
pub(crate) fn http_fresh<L, B>(plan: Plan, layer: L)
where
    L: Layer<Bare, Service: Service<Request<Full<Bytes>>, Response = Response<B>, Error: Debug>>,
    B: Body<Error: Debug>,
{
    http_around(Plan { reads: true, ..plan }, layer, Bare { is_fresh: true });
}

fn http_around<L, B>(plan: Plan, layer: L, bare: Bare)
where
    L: Layer<Bare, Service: Service<Request<Full<Bytes>>, Response = Response<B>, Error: Debug>>,
    B: Body<Error: Debug>,
{
    let runtime = runtime();
    let _in = runtime.enter();
    let mut service = layer.layer(bare);
    for _ in 0..plan.calls {
        let response =
            black_box(drive(service.call(request("http://example.com/items/7?fields=name"))))
                .unwrap();
        if plan.reads {
            read(response.into_body());
        }
    }
}

/// Calls with different paths, of which [`AT_ONCE`] are in progress at the same time.
pub(crate) fn http_beside_others<L, B>(plan: Plan, layer: L)
where
    L: Layer<Bare, Service: Service<Request<Full<Bytes>>, Response = Response<B>, Error: Debug>>,
{
    let runtime = runtime();
    let _in = runtime.enter();
    let mut service = layer.layer(Bare::default());
    for _ in 0..plan.calls / AT_ONCE {
        let call = |nth| Box::pin(service.call(request(&PATHS[nth as usize])));
        drive_all((0..AT_ONCE).map(call).collect());
    }
}

/// A layer for timeouts asks for its timer.
fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().unwrap()
}

const AT_ONCE: u64 = 50;

static PATHS: LazyLock<Vec<String>> = LazyLock::new(|| {
    (0..AT_ONCE).map(|nth| format!("http://example.com/items/{nth}?fields=name")).collect()
});

/// With five headers.
fn request(uri: &str) -> Request<Full<Bytes>> {
    let request = Request::get(uri).header("host", "example.com");
    let request = request
        .header("accept", "*/*")
        .header("accept-encoding", "gzip")
        .header("user-agent", "curl/8");
    request.header("x-request-id", "1234567890").body(Full::default()).unwrap()
}

/// Yields once.
#[derive(Clone, Default)]
pub(crate) struct Bare {
    is_fresh: bool,
}

impl Service<Request<Full<Bytes>>> for Bare {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Full<Bytes>>) -> Answer {
        Answer { yielded: false, is_fresh: self.is_fresh }
    }
}

const FRESH_HEADERS: [(HeaderName, &str); 5] = [
    (CACHE_CONTROL, "max-age=60"),
    (CONTENT_TYPE, "text/plain"),
    (CONTENT_LENGTH, "5"),
    (DATE, "Sat, 28 Nov 2026 12:00:00 GMT"),
    (ETAG, "\"7\""),
];

pub(crate) struct Answer {
    yielded: bool,
    is_fresh: bool,
}

impl Future for Answer {
    type Output = Result<Response<Full<Bytes>>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        if !mem::replace(&mut self.yielded, true) {
            return Poll::Pending;
        }
        let mut response = Response::new(Full::from("hello"));
        if self.is_fresh {
            for (name, value) in FRESH_HEADERS {
                response.headers_mut().insert(name, HeaderValue::from_static(value));
            }
        }
        Poll::Ready(Ok(response))
    }
}

pub(crate) async fn yield_once() {
    let mut yielded = false;
    poll_fn(|_| if mem::replace(&mut yielded, true) { Poll::Ready(()) } else { Poll::Pending })
        .await;
}

fn read(body: impl Body<Error: Debug>) {
    let mut body = pin!(body);
    while let Some(frame) = drive(poll_fn(|cx| body.as_mut().poll_frame(cx))) {
        let _ = black_box(frame.unwrap());
    }
}

fn drive<F: Future>(future: F) -> F::Output {
    let (mut future, mut cx) = (pin!(future), Context::from_waker(Waker::noop()));
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
    }
}

/// Polls all of them, by turns.
fn drive_all<F: Future>(mut futures: Vec<Pin<Box<F>>>) {
    let mut cx = Context::from_waker(Waker::noop());
    while !futures.is_empty() {
        futures.retain_mut(|future| future.as_mut().poll(&mut cx).map(black_box).is_pending());
    }
}
