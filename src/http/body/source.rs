//! The source of a reader's frames: upstream itself while there is one reader, else the [`Broadcast`] that all share.

use std::{
    sync::Weak,
    task::{Context, Poll, Waker, ready},
};

use http_body::SizeHint;
use tokio::time::Instant;

use super::{
    BodyConfig,
    broadcast::Broadcast,
    error::BodyError,
    reader::Reader,
    upstream::{BoxUpstream, Item},
};
use crate::{error::SharedError, panics::wake_all, sync::Mutex};

/// The lock is for clones: a clone has only a shared reference, and turns a sole reader into one of several. A reader
/// has `&mut`, and takes no lock.
pub(super) struct FrameSource(Mutex<Access>);

enum Access {
    Sole(Sole),
    Shared(Reader),
}

/// The only reader. It keeps nothing, and upstream wakes its task directly.
struct Sole {
    /// Taken out while it is polled, and therefore missing after a panic.
    upstream: Option<BoxUpstream>,
    hint: SizeHint,
    /// The waker that upstream has.
    parked: Option<Waker>,
    config: BodyConfig,
}

/// The result of a poll.
pub(super) enum SourceItem {
    Next(Item),
    /// The last item. Upstream has been dropped.
    Last(Item),
}

impl FrameSource {
    pub(super) fn new(upstream: BoxUpstream, config: BodyConfig) -> Self {
        let hint = upstream.size_hint();
        Self(Mutex::new(Access::Sole(Sole { upstream: Some(upstream), hint, parked: None, config })))
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<SourceItem> {
        let access = self.0.get_mut();
        let sole = match access {
            Access::Shared(reader) => return reader.poll_frame(cx).map(SourceItem::Next),
            Access::Sole(sole) => sole,
        };
        let item = ready!(sole.poll(cx));
        Poll::Ready(match item {
            // A clone of this reader gets the error as well.
            Some(Err(error)) => {
                *access = Access::Shared(Reader::failed(error.clone(), sole.hint, sole.config.clone()));
                SourceItem::Next(Some(Err(error)))
            }
            item if sole.upstream.is_none() => SourceItem::Last(item),
            item => SourceItem::Next(item),
        })
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        match &*self.0.lock() {
            Access::Sole(sole) => sole.hint,
            Access::Shared(reader) => reader.size_hint(),
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        match &*self.0.lock() {
            Access::Sole(_) => false,
            Access::Shared(reader) => reader.is_end_stream(),
        }
    }

    pub(super) fn newcomers(&self, until: Option<Instant>) -> Weak<Broadcast> {
        self.share(|reader| reader.newcomers(until))
    }

    /// Turns a sole reader into one of several.
    fn share<R>(&self, then: impl FnOnce(&Reader) -> R) -> R {
        let mut access = self.0.lock();
        let mut parked = None;
        if let Access::Sole(sole) = &mut *access {
            parked = sole.parked.take();
            let upstream = sole.upstream.take().ok_or_else(|| SharedError::new(BodyError::Panicked));
            let reader = Reader::new(upstream, sole.hint, sole.config.clone());
            *access = Access::Shared(reader);
        }
        let Access::Shared(reader) = &*access else { unreachable!("it was made one") };
        let result = then(reader);
        drop(access);
        // The next poll gives upstream another waker.
        wake_all(parked);
        result
    }
}

impl From<Reader> for FrameSource {
    fn from(reader: Reader) -> Self {
        Self(Mutex::new(Access::Shared(reader)))
    }
}

impl Clone for FrameSource {
    fn clone(&self) -> Self {
        self.share(Reader::clone).into()
    }
}

impl Sole {
    /// Polls upstream. At the end, upstream is dropped before the reader sees the end.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Item> {
        let Some(mut upstream) = self.upstream.take() else {
            return Poll::Ready(Some(Err(SharedError::new(BodyError::Panicked))));
        };
        let polled = upstream.as_mut().poll_frame(cx);
        self.hint = upstream.size_hint();
        let goes_on = match &polled {
            Poll::Pending => true,
            Poll::Ready(Some(Ok(_))) => !upstream.is_end_stream(),
            Poll::Ready(_) => false,
        };
        if goes_on {
            self.upstream = Some(upstream);
        } else {
            drop(upstream);
            // Dropped here, so that a panic of the waker's drop is not taken for the end.
            drop(self.parked.take());
        }
        if polled.is_pending() && !self.parked.as_ref().is_some_and(|parked| parked.will_wake(cx.waker())) {
            self.parked = Some(cx.waker().clone());
        }
        polled
    }
}
