//! The upstream of all replicas.

use bytes::Bytes;
use fastrand::Rng;
use futures_util::{StreamExt, stream};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, StreamBody, combinators::UnsyncBoxBody};
use std::{
    collections::HashSet,
    error::Error,
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};
use tokio::time::sleep;

use super::event::PATHS;

pub(super) type Body = UnsyncBoxBody<Bytes, Failure>;

/// The upstream made it, at a call for this path and user.
#[derive(Clone, Debug)]
pub(super) struct Failure(pub(super) String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the upstream failed for {}", self.0)
    }
}

impl Error for Failure {}

/// In the answer to a write.
#[derive(Clone, Copy)]
pub(super) struct Written {
    pub(super) version: u64,
    pub(super) at: Instant,
}

pub(super) struct Upstream {
    seed: u64,
    calls: AtomicUsize,
    /// An answer was for its client only.
    has_refused: AtomicBool,
    versions: [AtomicU64; PATHS],
    cut_short: Mutex<HashSet<usize>>,
}

impl Upstream {
    pub(super) fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self {
            seed,
            calls: AtomicUsize::default(),
            has_refused: AtomicBool::default(),
            versions: Default::default(),
            cut_short: Mutex::default(),
        })
    }

    pub(super) fn calls(&self) -> usize {
        self.calls.load(SeqCst)
    }

    /// Whether those who shared a call may have had to make their own.
    pub(super) fn has_refused(&self) -> bool {
        self.has_refused.load(SeqCst)
    }

    fn version(&self, path: usize) -> &AtomicU64 {
        &self.versions[path % PATHS]
    }

    pub(super) fn cut_short(&self, call: usize) -> bool {
        self.cut_short.lock().unwrap().contains(&call)
    }

    /// An answer says in its first line for whom it is. Some fail, some are for one client, some
    /// are large or slow.
    pub(super) async fn answer(
        self: Arc<Self>,
        request: Request<Empty<Bytes>>,
    ) -> Result<Response<Body>, Failure> {
        let call = self.calls.fetch_add(1, SeqCst);
        let mut rng = Rng::with_seed(self.seed.wrapping_add(call as u64));
        let path: usize = request.uri().path()[1..].parse().expect("a path is a number");
        if request.method() != Method::GET {
            sleep(Duration::from_millis(10)).await;
            let version = self.version(path).fetch_add(1, SeqCst) + 1;
            sleep(Duration::from_millis(10)).await;
            let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
            let mut response = Response::new(body);
            response.extensions_mut().insert(Written { version, at: Instant::now() });
            return Ok(response);
        }
        // An answer to this call can be as old as this.
        let version = self.version(path).load(SeqCst);
        let user = request
            .headers()
            .get("authorization")
            .and_then(|user| user.to_str().ok())
            .unwrap_or("-")
            .to_owned();
        sleep(Duration::from_millis([5, 50, 50, 300][rng.usize(..4)])).await;
        let name = format!("/{path} {user}");
        if rng.u8(..16) == 0 {
            return Err(Failure(name));
        }
        let mut response = Response::new(self.body(call, &name, version, &mut rng));
        let kind = rng.u8(..11);
        if matches!(kind, 1 | 2) {
            self.has_refused.store(true, SeqCst);
        }
        match kind {
            0 => *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE,
            1 => drop(
                response.headers_mut().insert("cache-control", HeaderValue::from_static("private")),
            ),
            2 => *response.status_mut() = StatusCode::FORBIDDEN,
            _ => {}
        }
        Ok(response)
    }

    fn body(self: &Arc<Self>, call: usize, name: &str, version: u64, rng: &mut Rng) -> Body {
        let length = [0, 10, 200, 20_000][rng.usize(..4)];
        let rest = "x".repeat(length);
        let mut frames = vec![Ok(format!("{name} {version} {call} {length} ")), Ok(rest)];
        if rng.u8(..16) == 0 {
            self.cut_short.lock().unwrap().insert(call);
            frames[1] = Err(Failure(name.to_owned()));
        }
        let pause = Duration::from_millis(if rng.u8(..6) == 0 { 600 } else { 5 });
        let frames = stream::iter(frames).then(move |frame| async move {
            sleep(pause).await;
            frame.map(|text| Frame::data(Bytes::from(text)))
        });
        BodyExt::boxed_unsync(StreamBody::new(frames))
    }
}
