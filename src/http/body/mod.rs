//! A response body that many readers share.

mod broadcast;
mod budget;
mod driver;
mod error;
mod frame;
mod log;
mod pause;
mod reader;
mod slow;
mod source;
#[cfg_attr(not(feature = "spill"), path = "no_spill.rs")]
pub(in crate::http) mod spill;
mod state;
mod upstream;

#[cfg(test)]
mod tests;

use std::{
    fmt, mem,
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

#[cfg(feature = "spill")]
pub(crate) use self::spill::Spill;
use self::{broadcast::Broadcast, reader::Reader, source::FrameSource, upstream::Adapter};
pub(crate) use self::{budget::Budget, upstream::longer};
use crate::error::{BoxError, SharedError};

/// What happens when a reader is so far behind the others that its window is full, and they ask
/// for more.
///
/// The window is [`body_limit`](crate::HttpPolicy::body_limit). While
/// [`body_budget`](crate::HttpPolicy::body_budget) is spent, a reader more than one frame behind is
/// treated as if its window were full. It is also evicted for the budget when the others ask for
/// nothing, once its bytes keep a newcomer out.
///
/// With [`HttpPolicy::spill`](crate::HttpPolicy::spill) the lag of the slow reader first goes to a
/// temporary file, which empties the window. These rules apply when nothing can be written: the
/// file is full, or the disk failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SlowReader {
    /// Upstream pauses until the slowest reader has caught up by half of its window.
    ///
    /// A reader that takes nothing for this long during a pause, and is more than half a window
    /// behind, has stopped reading: it ends with an error, and the others go on. A reader that
    /// moves holds the others back. When slow readers have done so for
    /// [`hold_back_at_most`](crate::HttpPolicy::hold_back_at_most) in all, the readers that are
    /// more than half a window behind end with an error.
    ///
    /// A pause for the budget ends when the budget is no longer spent. Readers that move are not
    /// evicted for it.
    ///
    /// This needs tokio's clock. A reader that is polled outside of a tokio runtime does not wait:
    /// it evicts the slower readers at once, as with [`Evict`](Self::Evict).
    PauseThenEvict(Duration),
    /// It ends with an error at once.
    Evict,
    /// The others wait for as long as it takes, until it has caught up by half of its window.
    BackPressure,
    /// The others never wait. All frames that it has yet to read are held, without a bound and
    /// beyond the budget.
    Unbounded,
}

impl Default for SlowReader {
    /// A pause of one second.
    fn default() -> Self {
        Self::PauseThenEvict(Duration::from_secs(1))
    }
}

/// How a body treats its readers.
#[derive(Clone, Debug)]
pub(crate) struct BodyConfig {
    /// The window: how many bytes a reader may be behind the first. The frame that fills it may
    /// exceed it.
    pub(crate) limit: usize,
    pub(crate) slow: SlowReader,
    /// How many bytes of the start one reader alone keeps for newcomers.
    pub(crate) keep_start: u64,
    /// How long slow readers may hold the others back, in all.
    pub(crate) hold_back: Duration,
    pub(crate) budget: Budget,
    #[cfg(feature = "spill")]
    pub(crate) spill: Option<Spill>,
}

/// A response body that many readers share: each clone is a reader of its own.
///
/// It streams: a reader gets every frame, data and trailers, as soon as upstream gives it to the
/// reader that asks first. Data is never copied. A frame is freed when every reader has passed it,
/// and no newcomer may need it any more. A clone goes on from the position of its origin. When the
/// last reader is dropped, so is upstream, unless the layer has
/// [`run_to_completion`](crate::SingleflightLayer::run_to_completion).
///
/// A reader that is slow, or stops reading, does not hold back the others for long: see
/// [`SlowReader`].
///
/// ```
/// use http_body_util::BodyExt;
/// use tower_singleflight::SharedBody;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tower_singleflight::SharedError> {
/// let body = SharedBody::from("the response");
/// let another = body.clone();
///
/// assert_eq!(body.collect().await?.to_bytes(), "the response");
/// assert_eq!(another.collect().await?.to_bytes(), "the response");
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// When upstream fails, every reader gets the same error after the same frames. The same happens
/// when upstream ends before the length that its size hint announced, and when it panics. A reader
/// that was evicted gets its own error. After the error a reader is at its end; a clone of it gets
/// the error again.
///
/// # Panics
///
/// A panic of upstream reaches the reader that polled it. That reader then ends with an error. If
/// upstream panics as it is dropped at its end, the same holds for the reader that polled it, and
/// the others see the normal end. A reader that has to wait for a slower one panics in a tokio
/// runtime whose time driver is disabled.
///
/// # Cancel safety
///
/// A reader may be dropped, cloned, moved to another task or left unpolled at any time. No reader
/// loses a frame by that.
pub struct SharedBody(Content);

#[derive(Clone)]
enum Content {
    /// The rest of a body without upstream; empty at its end.
    Whole(Bytes),
    Streamed(FrameSource),
}

impl SharedBody {
    /// Makes a body shareable. A body that is at its end allocates nothing.
    pub(crate) fn new<B>(body: B, config: impl Into<Arc<BodyConfig>>) -> Self
    where
        B: Body + Send + 'static,
        B::Error: Into<BoxError>,
    {
        if body.is_end_stream() {
            return Self::default();
        }
        let (hint, body) = (body.size_hint(), Adapter::new(body));
        Self(Content::Streamed(FrameSource::new(Box::pin(body), hint, config.into())))
    }

    /// Reads the body to its end after all readers have left, up to the window. Call it before the
    /// body is cloned.
    pub(crate) fn run_to_completion(mut self) -> Self {
        if let Content::Streamed(source) = &mut self.0 {
            source.run_to_completion();
        }
        self
    }

    /// Keeps the start of the body for newcomers, until this time at most: while there are several
    /// readers as much as fits the window, with one reader up to `keep_start`. `None`: the body is
    /// complete.
    pub(crate) fn newcomers(&self, until: Option<Instant>) -> Option<Newcomers> {
        match &self.0 {
            Content::Whole(_) => None,
            Content::Streamed(source) => Some(Newcomers(source.newcomers(until))),
        }
    }
}

/// Lets newcomers read a body from its first byte, as long as that is held.
pub(crate) struct Newcomers(Weak<Broadcast>);

/// Keeps a body alive that may have no readers. As little of it is kept as newcomers need.
pub(crate) struct HeldBody(Arc<Broadcast>);

impl Newcomers {
    /// Makes a reader at the first byte. `None`: it is no longer held.
    pub(crate) fn join(&self) -> Option<SharedBody> {
        let reader = Reader::at_start(self.0.upgrade()?)?;
        Some(SharedBody(Content::Streamed(reader.into())))
    }

    /// Lets no more newcomers in, and frees the start of the body.
    pub(crate) fn close(&self) {
        if let Some(broadcast) = self.0.upgrade() {
            broadcast.release_start();
        }
    }

    /// Lets newcomers in after the end of the body as well, until it is closed, or the [`HeldBody`]
    /// is dropped.
    pub(crate) fn outlive_readers(&self) {
        if let Some(broadcast) = self.0.upgrade() {
            broadcast.outlive_readers();
        }
    }

    /// Keeps the body when it ends. Call it as upstream is dropped. `None`: that happens because
    /// all readers have left.
    pub(crate) fn hold(&self) -> Option<HeldBody> {
        self.0.upgrade().filter(|broadcast| broadcast.has_readers()).map(HeldBody)
    }
}

/// Also gives the bytes back to the budget.
impl Drop for HeldBody {
    fn drop(&mut self) {
        self.0.release_start();
    }
}

impl Body for SharedBody {
    type Data = Bytes;
    type Error = SharedError;

    #[inline]
    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, SharedError>>> {
        match &mut self.0 {
            Content::Streamed(source) => source.poll(cx),
            Content::Whole(data) if data.is_empty() => Poll::Ready(None),
            Content::Whole(data) => Poll::Ready(Some(Ok(Frame::data(mem::take(data))))),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Content::Whole(data) => SizeHint::with_exact(data.len() as u64),
            Content::Streamed(source) => source.size_hint(),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Content::Whole(data) => data.is_empty(),
            Content::Streamed(source) => source.is_end_stream(),
        }
    }
}

impl Clone for SharedBody {
    /// Makes another reader, which goes on from the position of this one.
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl Default for SharedBody {
    /// An empty body.
    fn default() -> Self {
        Bytes::new().into()
    }
}

impl From<Bytes> for SharedBody {
    fn from(data: Bytes) -> Self {
        Self(Content::Whole(data))
    }
}

impl From<&'static str> for SharedBody {
    fn from(data: &'static str) -> Self {
        Bytes::from(data).into()
    }
}

impl From<String> for SharedBody {
    fn from(data: String) -> Self {
        Bytes::from(data).into()
    }
}

impl fmt::Debug for SharedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedBody").finish_non_exhaustive()
    }
}
