//! The body that is shared, of any type.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::{error::BodyError, frame::SharedFrame};
use crate::error::{BoxError, SharedError};

/// The result of a poll for the next frame. `None` is the clean end.
pub(super) type Item = Option<Result<SharedFrame, SharedError>>;

pub(super) type BoxUpstream = Pin<Box<dyn Upstream + Send>>;

/// [`Body`] with the frames and errors that readers share.
pub(super) trait Upstream {
    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Item>;
    fn size_hint(&self) -> SizeHint;
    fn is_end_stream(&self) -> bool;
}

pin_project! {
    /// Makes any body an [`Upstream`]. If the body ends before the length that it announced, the end is an error.
    pub(super) struct Adapter<B> {
        #[pin]
        body: B,
        // The remaining chunks of a buffer that had several, the last one first.
        rest: Vec<Bytes>,
        promised: Option<u64>,
        came: u64,
    }
}

impl<B: Body> Adapter<B> {
    pub(super) fn new(body: B) -> Self {
        Self { promised: body.size_hint().exact(), body, rest: Vec::new(), came: 0 }
    }

    /// Takes a frame in. `None`: it is neither data nor trailers.
    fn accept(self: Pin<&mut Self>, frame: Frame<B::Data>) -> Option<SharedFrame> {
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => return trailers(frame),
        };
        let this = self.project();
        *this.came += data.remaining() as u64;
        // The first exact hint counts, because some bodies never count theirs down.
        let left = || this.body.size_hint().exact();
        *this.promised = this.promised.or_else(|| Some(*this.came + left()?));
        Some(SharedFrame::Data(split(data, this.rest)))
    }

    fn missing(&self) -> Option<BodyError> {
        let (promised, came) = (self.promised?, self.came);
        (came < promised).then_some(BodyError::CutShort { promised, came })
    }
}

impl<B> Upstream for Adapter<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Item> {
        loop {
            let this = self.as_mut().project();
            if let Some(data) = this.rest.pop() {
                return Poll::Ready(Some(Ok(SharedFrame::Data(data))));
            }
            match ready!(this.body.poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Some(frame) = self.as_mut().accept(frame) {
                        return Poll::Ready(Some(Ok(frame)));
                    }
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(SharedError::new(error)))),
                None => return Poll::Ready(self.missing().map(|e| Err(SharedError::new(e)))),
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.iter().map(|data| data.len() as u64).sum();
        longer(&self.body.size_hint(), rest)
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream() && self.missing().is_none()
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

fn trailers<D>(frame: Frame<D>) -> Option<SharedFrame> {
    let trailers = frame.into_trailers().ok()?;
    Some(SharedFrame::Trailers(Arc::new(trailers)))
}

/// Gives the first chunk of `data` and leaves the others in `rest`. Joining the chunks would copy them.
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
