//! Model checks of the locks and wakers of HTTP. Each model runs its threads in every order within
//! a bound on preemptions.
//!
//! ```text
//! RUSTFLAGS="--cfg tower_singleflight_loom" cargo test --release --no-default-features --features spill --lib models
//! ```
//!
//! | | Covered | By |
//! |---|---|---|
//! | `FrameSource` | a sole reader becomes one of several, parked or not, cloned by one or by two | `source` |
//! | `Broadcast` | readers that poll, park, clone, leave and come; upstream taken out, woken from elsewhere, ended, failed; the window | `broadcast` |
//! | `Budget` | bodies that wait for it are woken; stalled readers give way while they move, leave or are asked twice | `budget` |
//! | `Driver` | the last reader leaves, alone or with another, while newcomers come, the body is closed and upstream is fed | `completion` |
//! | `SpilledLog`, `WriteJob`, `ChunkRead` | readers at two speeds, while jobs of the disk write, fail and read back (feature `spill`) | `spill` |
//! | `LateTable`, `UnshareableKeys` | a stream is never joined after its seal; nothing stays listed; the counts are right | `tables` |
//!
//! Not covered: time (a pause is over at once, as outside a runtime; the clock moves when a model
//! says so), an upstream that panics (loom's locks do not stand being locked while another of its
//! threads unwinds), the `OnceLock` of a listing, which is `std`'s and so a single step, and more
//! than four threads. The core has its own model, in `tests/loom.rs`. No model goes through both.

mod broadcast;
mod budget;
mod completion;
mod source;
#[cfg(feature = "spill")]
mod spill;
mod tables;

use crate::http::body::{BodyConfig, Budget, SharedBody, SlowReader};
use crate::sync::model;
use bytes::Bytes;
use http_body::{Body, Frame};
use loom::{
    future::block_on,
    model::Builder,
    sync::Mutex,
    thread::{self, JoinHandle},
};
use std::{
    collections::VecDeque,
    future::poll_fn,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

const END: &str = ".";
const FAIL: &str = "!";

/// Runs `scenario` in every order, with bodies of this window.
fn check(preemptions: usize, slow: SlowReader, limit: usize, budget: u64, scenario: fn(&World)) {
    check_with(preemptions, move |world| {
        world.config =
            BodyConfig { slow, limit, budget: Budget::new(budget), ..world.config.clone() };
        scenario(world);
    });
}

/// Runs `scenario` in every order, and checks after each that nothing is left.
fn check_with(preemptions: usize, scenario: impl Fn(&mut World) + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound.get_or_insert(preemptions);
    builder.check(move || {
        model::reset();
        let config = BodyConfig {
            limit: 0,
            slow: SlowReader::Unbounded,
            keep_start: 0,
            hold_back: Duration::ZERO,
            budget: Budget::new(u64::MAX),
            #[cfg(feature = "spill")]
            spill: None,
        };
        let mut world = World { config, alive: Arc::default() };
        scenario(&mut world);
        assert_eq!(world.config.budget.held(), 0, "no bytes are held");
        assert_eq!(world.alive.load(SeqCst), 0, "every upstream was dropped");
    });
}

/// Of bodies without a bound.
fn check_unbounded(preemptions: usize, scenario: fn(&World)) {
    check(preemptions, SlowReader::Unbounded, 0, u64::MAX, scenario);
}

struct World {
    config: BodyConfig,
    alive: Arc<AtomicUsize>,
}

impl World {
    /// A body whose upstream gives the frames that it is fed.
    fn body(&self, fed: &[&'static str]) -> (Feed, SharedBody) {
        let feed = Feed(Arc::new(Mutex::new((fed.iter().copied().collect(), None))));
        let body = SharedBody::new(self.upstream(&feed), self.config.clone());
        (feed, body)
    }

    fn upstream(&self, feed: &Feed) -> Upstream {
        self.alive.fetch_add(1, SeqCst);
        Upstream(feed.clone(), self.alive.clone())
    }
}

#[derive(Clone)]
struct Feed(Arc<Mutex<(VecDeque<&'static str>, Option<Waker>)>>);

impl Feed {
    fn feed(&self, frames: &[&'static str]) {
        let waker = {
            let mut state = self.0.lock().unwrap();
            state.0.extend(frames);
            state.1.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// True if upstream has given all frames.
    fn is_read(&self) -> bool {
        self.0.lock().unwrap().0.is_empty()
    }

    fn feed_from_elsewhere(&self, frames: &'static [&'static str]) -> JoinHandle<()> {
        let feed = self.clone();
        thread::spawn(move || feed.feed(frames))
    }
}

struct Upstream(Feed, Arc<AtomicUsize>);

impl Drop for Upstream {
    fn drop(&mut self) {
        self.1.fetch_sub(1, SeqCst);
    }
}

impl Body for Upstream {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let frame = {
            let mut state = self.0.0.lock().unwrap();
            let frame = state.0.pop_front();
            if frame.is_none() {
                state.1 = Some(cx.waker().clone());
            }
            frame
        };
        match frame {
            None => Poll::Pending,
            Some(END) => Poll::Ready(None),
            Some(FAIL) => Poll::Ready(Some(Err(io::Error::other("upstream")))),
            Some(data) => Poll::Ready(Some(Ok(Frame::data(data.into())))),
        }
    }
}

type Item = Option<Result<String, ()>>;

fn poll(body: &mut SharedBody, cx: &mut Context<'_>) -> Poll<Item> {
    let text = |frame: Frame<Bytes>| String::from_utf8(frame.into_data().unwrap().into()).unwrap();
    Pin::new(body).poll_frame(cx).map(|item| item.map(|frame| frame.map(text).map_err(drop)))
}

/// The next frame.
fn next(body: &mut SharedBody) -> String {
    block_on(poll_fn(|cx| poll(body, cx)))
        .expect("a frame, not the end")
        .expect("a frame, not an error")
}

/// The frame that is there without waiting.
fn poll_once(body: &mut SharedBody) -> Poll<Item> {
    block_on(poll_fn(|cx| Poll::Ready(poll(body, cx))))
}

/// All to the end, with that: the end or an error.
fn read(mut body: SharedBody) -> String {
    read_with(|cx| poll(&mut body, cx))
}

fn read_with(mut poll: impl FnMut(&mut Context<'_>) -> Poll<Item>) -> String {
    let mut all = String::new();
    loop {
        match block_on(poll_fn(&mut poll)) {
            Some(Ok(data)) => all += &data,
            Some(Err(())) => return all + FAIL,
            None => return all + END,
        }
    }
}

fn read_elsewhere(body: SharedBody) -> JoinHandle<String> {
    thread::spawn(move || read(body))
}
