//! The upstream of a storm.

use super::body::{TRAILER, UploadBody, WRITES, identity};
use crate::{alive::Alive, http::Pattern, world::World};
use bytes::Bytes;
use fastrand::Rng;
use futures_util::{StreamExt, stream};
use http::{HeaderName, HeaderValue, Method, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use std::{
    collections::HashSet,
    error::Error,
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::{task::yield_now, time::sleep};

pub(super) const FOR: HeaderName = HeaderName::from_static("x-for");
pub(super) const ANSWER: HeaderName = HeaderName::from_static("x-answer");
pub(super) const VERSION: HeaderName = HeaderName::from_static("x-version");
pub(super) const LENGTH: HeaderName = HeaderName::from_static("x-length");
/// In a request: the answer has this many bytes, and comes at once but for its last byte, which
/// waits for [`end_probe`](Origin::end_probe).
pub(super) const PROBE: HeaderName = HeaderName::from_static("x-probe");

pub(super) type Body = UnsyncBoxBody<Bytes, Failure>;

/// The upstream made it, at a call with this identity.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// The request's body broke off.
    Broken,
    Planned(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl Error for Failure {}

/// Before each piece but the first.
#[derive(Clone, Copy)]
enum Pause {
    Micros(u64),
    UntilProbeEnds,
}

pub(super) struct Origin {
    world: Arc<World>,
    seed: u64,
    answers: AtomicU64,
    version: AtomicU64,
    cut_short: Mutex<HashSet<u64>>,
    /// The answers to probes before this one end.
    probes_ended: AtomicU64,
}

impl Origin {
    pub(super) fn new(world: &Arc<World>, seed: u64) -> Arc<Self> {
        let (world, cut_short) = (world.clone(), Mutex::default());
        let (answers, version, probes_ended) = Default::default();
        Arc::new(Self { world, seed, answers, version, cut_short, probes_ended })
    }

    pub(super) fn calls(&self) -> u64 {
        self.answers.load(SeqCst)
    }

    pub(super) fn cut_short(&self, answer: u64) -> bool {
        self.cut_short.lock().unwrap().contains(&answer)
    }

    pub(super) fn end_probe(&self) {
        self.probes_ended.store(self.calls(), SeqCst);
    }

    pub(super) async fn answer(
        self: Arc<Self>,
        request: Request<UploadBody>,
    ) -> Result<Response<Body>, Failure> {
        let (alive, answer) = (self.world.works.one(), self.answers.fetch_add(1, SeqCst));
        let mut rng = Rng::with_seed(self.seed.wrapping_add(answer));
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| Failure::Broken)?;
        let trailers = body.trailers().cloned();
        let data = body.to_bytes();
        if trailers
            .as_ref()
            .is_some_and(|trailers| trailers.get(TRAILER) != Some(&HeaderValue::from(data.len())))
        {
            self.world
                .report
                .fail(super::PART, &format!("other trailers than were sent: {trailers:?}"));
        }
        let user =
            head.headers.get("authorization").and_then(|user| user.to_str().ok()).unwrap_or("-");
        let identity = identity(head.method.as_str(), user, &data, trailers.is_some());
        let is_write = head.method == Method::POST && data.first() == Some(&WRITES);
        let version = if is_write {
            self.version.fetch_add(1, SeqCst) + 1
        } else {
            self.version.load(SeqCst)
        };
        if let Some(length) =
            head.headers.get(PROBE).and_then(|length| length.to_str().ok()?.parse().ok())
        {
            return Ok(self.response(
                answer,
                version,
                &identity,
                (length, length - 1, Pause::UntilProbeEnds, None),
                alive,
            ));
        }
        if rng.bool() {
            sleep(Duration::from_micros(rng.u64(..3_000))).await;
        }
        if rng.u8(..20) == 0 {
            return Err(Failure::Planned(identity));
        }
        let length = match rng.u8(..8) {
            0 => 0,
            1..5 => rng.usize(..2_000),
            5 | 6 => rng.usize(..20_000),
            _ => rng.usize(..400_000),
        };
        let pause = Pause::Micros(if rng.u8(..3) == 0 { rng.u64(..1_500) } else { 0 });
        let early = (rng.u8(..16) == 0 && length > 0).then(|| rng.usize(..length));
        if early.is_some() {
            self.cut_short.lock().unwrap().insert(answer);
        }
        let piece = (length / rng.usize(1..20)).max(1);
        Ok(self.response(answer, version, &identity, (length, piece, pause, early), alive))
    }

    fn response(
        self: &Arc<Self>,
        answer: u64,
        version: u64,
        identity: &str,
        (length, piece, pause, early): (usize, usize, Pause, Option<usize>),
        alive: Alive,
    ) -> Response<Body> {
        let (pattern, failure) =
            (Pattern::new(answer, identity), Failure::Planned(identity.to_owned()));
        let (until, origin) = (early.unwrap_or(length), self.clone());
        let pieces = (0..until).step_by(piece.max(1)).map(move |from| {
            let to = (from + piece).min(until);
            Ok(Frame::data(Bytes::from(pattern.bytes(from, to))))
        });
        let pieces = pieces.chain(early.map(|_| Err(failure)));
        let frames = stream::iter(pieces.enumerate()).then(move |(nth, frame)| {
            // The body of a response, for as long as it is there.
            let _alive = &alive;
            let origin = origin.clone();
            async move {
                match pause {
                    Pause::UntilProbeEnds if nth > 0 => {
                        while origin.probes_ended.load(SeqCst) <= answer {
                            sleep(Duration::from_millis(1)).await;
                        }
                    }
                    Pause::Micros(micros) if nth > 0 && micros > 0 => {
                        sleep(Duration::from_micros(micros)).await
                    }
                    _ => yield_now().await,
                }
                frame
            }
        });
        let mut response = Response::new(BodyExt::boxed_unsync(StreamBody::new(frames)));
        let headers = response.headers_mut();
        headers.insert(FOR, HeaderValue::try_from(identity).expect("it is printable"));
        headers.insert(ANSWER, answer.into());
        headers.insert(VERSION, version.into());
        headers.insert(LENGTH, length.into());
        headers.insert("cache-control", HeaderValue::from_static("max-age=60"));
        response
    }
}
