//! Replicas with one upstream, over one engine.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::{task::JoinHandle, time::sleep};
use tower::{Layer, ServiceExt, service_fn, util::BoxCloneSyncService};
use tower_singleflight::{
    BoxError, Fleet, FleetReason, FleetRole, FleetStats, Handle, SharedBody, Singleflight,
    SingleflightLayer,
    fleet::testing::{MemoryEngine, Operation},
    mode::Http,
};

pub(crate) type Ask = Request<Empty<Bytes>>;
pub(crate) type Body = UnsyncBoxBody<Bytes, BoxError>;
pub(crate) type Answer = Result<Response<SharedBody>, Failure>;
type Inner = BoxCloneSyncService<Ask, Response<Body>, Failure>;
pub(crate) type FleetLayer = SingleflightLayer<Http<String>>;

pub(crate) const SECRET: &str = "0123456789abcdef";

/// How long the upstream takes.
pub(crate) const WORK: Duration = Duration::from_millis(50);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure;

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the upstream failed")
    }
}

impl std::error::Error for Failure {}

pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// The upstream of all replicas.
#[derive(Clone)]
pub(crate) struct Upstream {
    calls: Arc<AtomicUsize>,
    dropped: Arc<AtomicUsize>,
    answer: Arc<Mutex<AnswerWith>>,
}

/// Makes the answer to the call with this number. The first call has number 1.
type AnswerWith =
    Arc<dyn Fn(usize, Ask) -> BoxFuture<'static, Result<Response<Body>, Failure>> + Send + Sync>;

/// Counts a call whose future is dropped before its answer.
struct Running(Option<Arc<AtomicUsize>>);

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(dropped) = self.0.take() {
            dropped.fetch_add(1, SeqCst);
        }
    }
}

impl Upstream {
    /// Answers each call with its number, after 50 ms.
    pub(crate) fn new() -> Self {
        Self::answering(WORK, |number| whole(&number.to_string()))
    }

    /// Answers each call with its number: a read after some time, a write at once.
    pub(crate) fn reading(for_so_long: Duration) -> Self {
        Self::with(move |number, request| {
            Box::pin(async move {
                if request.method() == Method::GET {
                    sleep(for_so_long).await;
                }
                Ok(whole(&number.to_string()))
            })
        })
    }

    /// Answers after some time.
    pub(crate) fn answering(
        after: Duration,
        answer: impl Fn(usize) -> Response<Body> + Send + Sync + Clone + 'static,
    ) -> Self {
        Self::with(move |number, _| {
            let answer = answer.clone();
            Box::pin(async move {
                sleep(after).await;
                Ok(answer(number))
            })
        })
    }

    pub(crate) fn with(
        answer: impl Fn(usize, Ask) -> BoxFuture<'static, Result<Response<Body>, Failure>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self {
            calls: Arc::default(),
            dropped: Arc::default(),
            answer: Arc::new(Mutex::new(Arc::new(answer))),
        }
    }

    /// How many calls there were.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(SeqCst)
    }

    /// How many calls were dropped before their answer.
    pub(crate) fn dropped(&self) -> usize {
        self.dropped.load(SeqCst)
    }

    pub(crate) fn service(&self) -> Inner {
        let upstream = self.clone();
        BoxCloneSyncService::new(service_fn(move |request: Ask| {
            let upstream = upstream.clone();
            async move {
                let number = upstream.calls.fetch_add(1, SeqCst) + 1;
                let mut running = Running(Some(upstream.dropped.clone()));
                let answer = upstream.answer.lock().unwrap().clone();
                let answer = answer(number, request).await;
                running.0 = None;
                answer
            }
        }))
    }
}

pub(crate) fn whole(text: &str) -> Response<Body> {
    Response::new(body(text))
}

pub(crate) fn body(text: &str) -> Body {
    Full::from(text.to_owned()).map_err(|never| match never {}).boxed_unsync()
}

/// A body of these frames, each of which takes some time.
pub(crate) fn frames(every: Duration, frames: Vec<Result<Frame<Bytes>, BoxError>>) -> Body {
    let frames = futures_util::stream::unfold(frames.into_iter(), move |mut frames| async move {
        let frame = frames.next()?;
        sleep(every).await;
        Some((frame, frames))
    });
    BodyExt::boxed_unsync(StreamBody::new(frames))
}

pub(crate) fn data(text: &str) -> Result<Frame<Bytes>, BoxError> {
    Ok(Frame::data(Bytes::from(text.to_owned())))
}

/// One replica.
#[derive(Clone)]
pub(crate) struct Replica {
    pub(crate) engine: MemoryEngine,
    pub(crate) fleet: Fleet,
    pub(crate) handle: Handle<String>,
    service: Singleflight<Inner, Http<String>>,
}

/// A layer whose key is the path.
pub(crate) fn by_path() -> FleetLayer {
    SingleflightLayer::new(|request| request.uri().path().to_owned())
}

impl Replica {
    pub(crate) fn new(upstream: &Upstream, engine: MemoryEngine) -> Self {
        Self::with(upstream, engine, |fleet| fleet, |layer| layer)
    }

    pub(crate) fn with(
        upstream: &Upstream,
        engine: MemoryEngine,
        fleet: impl FnOnce(Fleet) -> Fleet,
        layer: impl FnOnce(FleetLayer) -> FleetLayer,
    ) -> Self {
        let fleet = fleet(Fleet::new(engine.clone(), SECRET));
        let layer = layer(by_path().fleet(&fleet, "test"));
        Self::of(upstream, engine, fleet, layer)
    }

    pub(crate) fn of(
        upstream: &Upstream,
        engine: MemoryEngine,
        fleet: Fleet,
        layer: FleetLayer,
    ) -> Self {
        Self { engine, fleet, handle: layer.handle(), service: layer.layer(upstream.service()) }
    }

    pub(crate) fn send(&self, request: Ask) -> impl Future<Output = Answer> + Send + 'static {
        self.service.clone().oneshot(request)
    }

    pub(crate) fn get(&self, path: &str) -> impl Future<Output = Answer> + Send + 'static {
        self.send(request(Method::GET, path, &[]))
    }

    /// Starts a request in a task, and reads the whole answer.
    pub(crate) fn ask(&self, path: &str) -> JoinHandle<String> {
        tokio::spawn(text(self.get(path)))
    }

    pub(crate) async fn write(&self, path: &str) {
        self.send(request(Method::PUT, path, &[])).await.expect("the write is answered");
    }

    pub(crate) fn stats(&self) -> FleetStats {
        self.fleet.stats()
    }

    /// How often each of these operations was called.
    pub(crate) fn count(&self, operation: Operation) -> usize {
        self.engine.operations().into_iter().filter(|called| *called == operation).count()
    }

    #[track_caller]
    pub(crate) fn went_alone(&self, times: u64, reason: FleetReason) {
        let stats = self.stats();
        assert_eq!((stats.alone, stats.alone_by(reason)), (times, times), "{stats:?}");
    }
}

pub(crate) fn request(method: Method, path: &str, headers: &[(&str, &str)]) -> Ask {
    let request = headers
        .iter()
        .fold(Request::builder(), |request, (name, value)| request.header(*name, *value));
    request.method(method).uri(path).body(Empty::new()).unwrap()
}

/// Several replicas over one engine.
pub(crate) fn replicas(upstream: &Upstream, number: usize) -> Vec<Replica> {
    replicas_with(upstream, number, |fleet| fleet, |layer| layer)
}

pub(crate) fn replicas_with(
    upstream: &Upstream,
    number: usize,
    fleet: impl Fn(Fleet) -> Fleet,
    layer: impl Fn(FleetLayer) -> FleetLayer,
) -> Vec<Replica> {
    let engine = MemoryEngine::new();
    (0..number).map(|_| Replica::with(upstream, engine.another(), &fleet, &layer)).collect()
}

/// Makes the call of one replica go on for another alone: its callers here have gone. Gives the
/// answer to the other.
pub(crate) async fn goes_on_for(other: &Replica, leader: &Replica) -> JoinHandle<String> {
    let led = leader.ask("/x");
    settle().await;
    let taken = other.ask("/x");
    settle().await;
    led.abort();
    settle().await;
    taken
}

/// The whole body of an answer.
pub(crate) async fn text(answer: impl Future<Output = Answer>) -> String {
    let body = answer.await.expect("the call is answered").into_body();
    let body = body.collect().await.expect("the body is whole").to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

pub(crate) async fn whole_answer(
    answer: impl Future<Output = Answer>,
) -> (Response<()>, String, Option<HeaderMap>) {
    let (parts, body) = answer.await.expect("the call is answered").into_parts();
    let body = body.collect().await.expect("the body is whole");
    let trailers = body.trailers().cloned();
    let text = String::from_utf8(body.to_bytes().to_vec()).unwrap();
    (Response::from_parts(parts, ()), text, trailers)
}

pub(crate) async fn role(answer: impl Future<Output = Answer>) -> Option<FleetRole> {
    answer.await.expect("the call is answered").extensions().get().copied()
}

/// Lets the tasks run until they wait.
pub(crate) async fn settle() {
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
}

/// A runtime of this thread whose clock stands still.
pub(crate) fn paused() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}
