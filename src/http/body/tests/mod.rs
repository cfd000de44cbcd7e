//! Readers stepped by hand: a body that is fed, and readers that are polled, one step at a time.

mod budget;
mod completion;
mod fail;
mod hint;
mod model;
mod newcomers;
mod reentry;
mod sole;
mod speeds;
#[cfg(feature = "spill")]
mod spill;
mod stream;
mod stress;
mod window;

use std::{
    collections::VecDeque,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tokio_test::{assert_pending, assert_ready, task};

use tokio::time::Instant;

use super::{BodyConfig, Budget, HeldBody, Newcomers, SharedBody, SlowReader};
use crate::{error::SharedError, sync::Mutex};

type Reader = task::Spawn<SharedBody>;
type Item = Option<Result<Frame<Bytes>, SharedError>>;

const KIB: usize = 1024;
const PAUSE: SlowReader = SlowReader::PauseThenEvict(Duration::from_secs(1));

enum Event {
    Data(Bytes),
    Trailers,
    Fail,
    End,
    Panic,
    /// Wakes its own waker, and is pending.
    Yield,
    /// Runs in the middle of `poll_frame`, which then goes on with the next event.
    Run(Box<dyn FnOnce() + Send>),
}

/// The remote control of a [`FedBody`].
#[derive(Clone, Default)]
struct Feed(Arc<Mutex<FeedState>>);

#[derive(Default)]
struct FeedState {
    events: VecDeque<Event>,
    waker: Option<Waker>,
    polls: usize,
    dropped: bool,
    on_drop: Option<Box<dyn FnOnce() + Send>>,
    hint: SizeHint,
    ends_after_last: bool,
}

impl Feed {
    fn body(&self) -> FedBody {
        FedBody(self.clone())
    }

    fn push(&self, event: Event) {
        self.0.lock().events.push_back(event);
        self.wake();
    }

    fn data(&self, data: &'static str) {
        self.push(Event::Data(data.into()));
    }

    fn wake(&self) {
        let waker = self.0.lock().waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn announce(&self, len: u64) {
        self.0.lock().hint = SizeHint::with_exact(len);
    }

    fn polls(&self) -> usize {
        self.0.lock().polls
    }

    fn is_dropped(&self) -> bool {
        self.0.lock().dropped
    }
}

/// Gives what its feed is told; its length counts down if it was announced.
struct FedBody(Feed);

impl Body for FedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let mut state = self.0.0.lock();
        state.polls += 1;
        let event = state.events.pop_front();
        if event.is_none() {
            state.waker = Some(cx.waker().clone());
        }
        if let (Some(Event::Data(data)), Some(left)) = (&event, state.hint.exact()) {
            state.hint = SizeHint::with_exact(left.saturating_sub(data.len() as u64));
        }
        drop(state);
        match event {
            None => Poll::Pending,
            Some(Event::Data(data)) => Poll::Ready(Some(Ok(Frame::data(data)))),
            Some(Event::Trailers) => Poll::Ready(Some(Ok(Frame::trailers(trailers())))),
            Some(Event::Fail) => Poll::Ready(Some(Err(io::Error::other("upstream failed")))),
            Some(Event::End) => Poll::Ready(None),
            Some(Event::Panic) => panic!("upstream panicked"),
            Some(Event::Yield) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Some(Event::Run(run)) => {
                run();
                self.poll_frame(cx)
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.0.0.lock().hint
    }

    fn is_end_stream(&self) -> bool {
        let state = self.0.0.lock();
        state.ends_after_last && state.events.is_empty()
    }
}

impl Drop for FedBody {
    fn drop(&mut self) {
        self.0.0.lock().dropped = true;
        let on_drop = self.0.0.lock().on_drop.take();
        if let Some(on_drop) = on_drop {
            on_drop();
        }
    }
}

/// Counts its wake-ups.
#[derive(Default)]
struct Count(AtomicUsize);

impl Count {
    fn get(&self) -> usize {
        self.0.load(SeqCst)
    }
}

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

fn config(limit: usize, slow: SlowReader) -> BodyConfig {
    let budget = Budget::new(u64::MAX);
    BodyConfig {
        limit,
        slow,
        keep_start: 0,
        hold_back: Duration::from_secs(30),
        budget,
        #[cfg(feature = "spill")]
        spill: None,
    }
}

fn trailers() -> HeaderMap {
    HeaderMap::from_iter([(http::header::ETAG, "\"tag\"".parse().unwrap())])
}

/// A feed, and `N` readers that all begin at the start of its body.
fn readers<const N: usize>(config: BodyConfig) -> (Feed, [Reader; N]) {
    let feed = Feed::default();
    let body = SharedBody::new(feed.body(), config);
    let readers = std::array::from_fn(|_| task::spawn(body.clone()));
    (feed, readers)
}

/// `readers` with a window that no test fills by accident.
fn shared<const N: usize>() -> (Feed, [Reader; N]) {
    readers(config(KIB, SlowReader::BackPressure))
}

fn poll(reader: &mut Reader) -> Poll<Item> {
    reader.enter(|cx, body| body.poll_frame(cx))
}

fn poll_with(body: &mut SharedBody, waker: &Arc<Count>) -> Poll<Item> {
    let waker = Waker::from(Arc::clone(waker));
    Pin::new(body).poll_frame(&mut Context::from_waker(&waker))
}

#[track_caller]
fn next(reader: &mut Reader) -> Bytes {
    let frame = assert_ready!(poll(reader)).expect("a frame, not the end");
    frame.expect("no error").into_data().expect("data")
}

#[track_caller]
fn next_trailers(reader: &mut Reader) -> HeaderMap {
    let frame = assert_ready!(poll(reader)).expect("a frame, not the end");
    frame.expect("no error").into_trailers().expect("trailers")
}

#[track_caller]
fn end(reader: &mut Reader) {
    assert!(assert_ready!(poll(reader)).is_none(), "not the end");
}

fn panics(reader: &mut Reader) -> String {
    let panic = catch_unwind(AssertUnwindSafe(|| poll(reader))).expect_err("no panic");
    panic.downcast_ref::<&str>().unwrap().to_string()
}

#[track_caller]
fn error(reader: &mut Reader) -> SharedError {
    let item = assert_ready!(poll(reader)).expect("an error, not the end");
    item.expect_err("an error, not a frame")
}

#[track_caller]
fn pending(reader: &mut Reader) {
    assert_pending!(poll(reader));
}

async fn advance(millis: u64) {
    tokio::time::advance(Duration::from_millis(millis)).await;
}

/// One reader ahead of the others by `data`.
fn ahead<const N: usize>(
    config: BodyConfig,
    data: impl IntoIterator<Item = &'static str>,
) -> (Feed, Reader, [Reader; N]) {
    let (feed, [mut first]) = readers(config);
    let others = std::array::from_fn(|_| task::spawn(first.clone()));
    for data in data {
        feed.data(data);
        assert_eq!(next(&mut first), data);
    }
    (feed, first, others)
}

#[track_caller]
fn evicted(reader: &mut Reader) {
    assert!(!reader.is_end_stream());
    let error = error(reader).to_string();
    assert!(error.starts_with("tower-singleflight: this reader fell more than"), "{error}");
    assert!(reader.is_end_stream());
    end(reader);
}

/// Those of `config`, where slow readers may hold the others back for three seconds.
fn patient(config: BodyConfig) -> BodyConfig {
    BodyConfig { hold_back: Duration::from_secs(3), ..config }
}
