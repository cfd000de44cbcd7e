//! The body that is shared, of any type.

use std::{
    any::Any,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::error::BodyError;
use crate::error::{BoxError, SharedError};

/// The result of a poll for the next frame. `None` is the clean end.
pub(super) type Item = Option<Result<Frame<Bytes>, SharedError>>;

pub(super) type BoxUpstream = Pin<Box<dyn Upstream + Send>>;

/// [`Body`] with the data and errors that readers share.
pub(super) trait Upstream {
    /// Polls for the next frame, and fills in `report`.
    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>, report: &mut Report) -> Poll<Item>;
}

/// What a poll tells of a body, beside the frame.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) hint: SizeHint,
    pub(super) phase: Phase,
    /// It is being polled. Still true after a panic.
    is_polled: bool,
    /// The waker that the body has, if it has one reader.
    pub(super) parked: Option<Waker>,
    /// Many readers share the body. Then it is theirs to park, and to drop the body.
    is_shared: bool,
}

#[derive(Debug)]
pub(super) enum Phase {
    Streams,
    Ended,
    Failed(SharedError),
}

impl Report {
    pub(super) fn sole(hint: SizeHint) -> Self {
        Self { hint, phase: Phase::Streams, is_polled: false, parked: None, is_shared: false }
    }

    pub(super) fn shared() -> Self {
        Self { is_shared: true, ..Self::sole(SizeHint::default()) }
    }

    #[inline]
    pub(super) fn streams(&self) -> bool {
        matches!(self.phase, Phase::Streams) && !self.is_polled
    }

    pub(super) fn panicked(&self) -> bool {
        self.is_polled
    }

    fn park(&mut self, waker: &Waker) {
        if !self.is_shared && !self.parked.as_ref().is_some_and(|parked| parked.will_wake(waker)) {
            self.parked = Some(waker.clone());
        }
    }
}

pin_project! {
    /// Makes any body an [`Upstream`]. If the body ends before the length that it announced, the
    /// end is an error.
    pub(super) struct Adapter<B> {
        #[pin]
        body: Option<B>,
        // The remaining chunks of a buffer that had several, the last one first.
        rest: Vec<Bytes>,
        promised: Option<u64>,
        came: u64,
    }
}

/// A poll in progress. If it panics, the body is dropped.
struct Poller<'a, B> {
    adapter: Pin<&'a mut Adapter<B>>,
    report: &'a mut Report,
}

impl<B> Upstream for Adapter<B>
where
    B: Body + 'static,
    B::Error: Into<BoxError>,
{
    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>, report: &mut Report) -> Poll<Item> {
        report.is_polled = true;
        Poller { adapter: self, report }.poll(cx)
    }
}

impl<B> Adapter<B> {
    pub(super) fn new(body: B) -> Self
    where
        B: Body,
    {
        Self { promised: body.size_hint().exact(), body: Some(body), rest: Vec::new(), came: 0 }
    }
}

impl<B> Poller<'_, B>
where
    B: Body + 'static,
    B::Error: Into<BoxError>,
{
    // Each way out writes the item in its last place: a frame is large, and each move of it counts.
    #[inline(always)]
    fn poll(mut self, cx: &mut Context<'_>) -> Poll<Item> {
        loop {
            let this = self.adapter.as_mut().project();
            if let Some(data) = this.rest.pop() {
                self.go_on();
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            let Some(body) = this.body.as_pin_mut() else { return Poll::Ready(None) };
            let frame = match body.poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => frame,
                Poll::Ready(Some(Err(error))) => {
                    return Poll::Ready(self.end(Some(SharedError::new(error))));
                }
                Poll::Ready(None) => return Poll::Ready(self.end(self.missing())),
                Poll::Pending => {
                    self.report.park(cx.waker());
                    self.wait();
                    return Poll::Pending;
                }
            };
            match frame.into_data() {
                Ok(data) => {
                    let data = self.accept(data);
                    self.go_on();
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                // A frame that is neither data nor trailers is left out.
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        self.go_on();
                        return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                    }
                }
            }
        }
    }

    /// Counts the data of a frame, and gives its first chunk.
    #[inline(always)]
    fn accept(&mut self, data: B::Data) -> Bytes {
        let this = self.adapter.as_mut().project();
        *this.came += data.remaining() as u64;
        // The first exact hint counts, because some bodies never count theirs down.
        if this.promised.is_none() {
            let left =
                this.body.as_ref().get_ref().as_ref().and_then(|body| body.size_hint().exact());
            *this.promised = left.map(|left| *this.came + left);
        }
        into_bytes(data).unwrap_or_else(|data| split(data, this.rest))
    }

    #[inline(always)]
    fn wait(&mut self) {
        self.report.hint = self.size_hint();
        self.report.is_polled = false;
    }

    /// Goes on after a frame, which may be the last.
    #[inline(always)]
    fn go_on(&mut self) {
        match self.is_end_stream() {
            true => drop(self.end(None)),
            false => self.wait(),
        }
    }

    /// Ends the body. A sole reader's body is dropped before the reader sees the last item.
    #[cold]
    fn end(&mut self, error: Option<SharedError>) -> Item {
        self.report.hint = self.size_hint();
        if !self.report.is_shared {
            self.adapter.as_mut().project().body.set(None);
            self.report.parked = None;
        }
        self.report.phase = error.clone().map_or(Phase::Ended, Phase::Failed);
        self.report.is_polled = false;
        error.map(Err)
    }

    #[inline(always)]
    fn size_hint(&self) -> SizeHint {
        let adapter = &*self.adapter;
        let hint = adapter.body.as_ref().map(|body| body.size_hint()).unwrap_or_default();
        if adapter.rest.is_empty() {
            return hint;
        }
        let rest = adapter.rest.iter().map(|data| data.len() as u64).sum();
        longer(&hint, rest)
    }

    #[inline(always)]
    fn is_end_stream(&self) -> bool {
        let adapter = &*self.adapter;
        let is_end = adapter.body.as_ref().is_none_or(|body| body.is_end_stream());
        is_end && adapter.rest.is_empty() && self.missing().is_none()
    }

    fn missing(&self) -> Option<SharedError> {
        let (promised, came) = (self.adapter.promised?, self.adapter.came);
        (came < promised).then(|| SharedError::new(BodyError::CutShort { promised, came }))
    }
}

impl<B> Drop for Poller<'_, B> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.report.is_polled {
            self.adapter.as_mut().project().body.set(None);
        }
    }
}

/// Adds `bytes` to a hint.
pub(crate) fn longer(hint: &SizeHint, bytes: u64) -> SizeHint {
    let mut longer = SizeHint::new();
    longer.set_lower(hint.lower().saturating_add(bytes));
    if let Some(upper) = hint.upper().and_then(|upper| upper.checked_add(bytes)) {
        longer.set_upper(upper);
    }
    longer
}

/// Gives `data` as it is, if it is `Bytes`.
#[inline]
fn into_bytes<D: 'static>(data: D) -> Result<Bytes, D> {
    let mut data = Some(data);
    match (&mut data as &mut dyn Any).downcast_mut::<Option<Bytes>>() {
        Some(bytes) => Ok(bytes.take().unwrap_or_default()),
        None => Err(data.expect("it was not taken")),
    }
}

/// Gives the first chunk of `data` and leaves the others in `rest`. Joining the chunks would copy
/// them.
fn split(mut data: impl Buf, rest: &mut Vec<Bytes>) -> Bytes {
    let first = chunk(&mut data);
    while data.has_remaining() {
        rest.push(chunk(&mut data));
    }
    rest.reverse();
    first
}

fn chunk(data: &mut impl Buf) -> Bytes {
    data.copy_to_bytes(data.chunk().len())
}
