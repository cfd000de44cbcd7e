//! Where a reader gets its frames from: straight from upstream while it is the only one, else from what all share.

use std::{
    sync::Weak,
    task::{Context, Poll, Waker, ready},
};

use http_body::SizeHint;
use tokio::time::Instant;

use super::{
    BodyConfig,
    error::BodyError,
    reader::Reader,
    shared::Shared,
    upstream::{BoxUpstream, Item},
};
use crate::{error::SharedError, panics::wake_all, sync::Mutex};

/// Under a lock only because a clone, which has no more than a reference, makes a sole reader one of several. Whoever
/// reads has the source to itself, and locks nothing.
pub(super) struct Source(Mutex<State>);

enum State {
    Sole(Sole),
    Shared(Reader),
}

/// Nothing is kept, and upstream wakes the reader's own task.
struct Sole {
    /// Not there while it is polled: so it is missing for good when that panicked.
    upstream: Option<BoxUpstream>,
    hint: SizeHint,
    /// The waker that upstream has.
    parked: Option<Waker>,
    config: BodyConfig,
}

/// What a poll gave.
pub(super) enum Step {
    Item(Item),
    /// The last item: upstream is dropped already.
    Last(Item),
}

impl Source {
    pub(super) fn new(upstream: BoxUpstream, config: BodyConfig) -> Self {
        let hint = upstream.size_hint();
        Self(Mutex::new(State::Sole(Sole { upstream: Some(upstream), hint, parked: None, config })))
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        let state = self.0.get_mut();
        let sole = match state {
            State::Shared(reader) => return reader.poll_frame(cx).map(Step::Item),
            State::Sole(sole) => sole,
        };
        let item = ready!(sole.poll(cx));
        Poll::Ready(match item {
            // A clone of this reader gets the error as well.
            Some(Err(error)) => {
                *state = State::Shared(Reader::failed(error.clone(), sole.hint, sole.config.clone()));
                Step::Item(Some(Err(error)))
            }
            item if sole.upstream.is_none() => Step::Last(item),
            item => Step::Item(item),
        })
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        match &*self.0.lock() {
            State::Sole(sole) => sole.hint,
            State::Shared(reader) => reader.size_hint(),
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        match &*self.0.lock() {
            State::Sole(_) => false,
            State::Shared(reader) => reader.is_end_stream(),
        }
    }

    pub(super) fn newcomers(&self, until: Option<Instant>) -> Weak<Shared> {
        self.share(|reader| reader.newcomers(until))
    }

    /// Makes the reader one of several, if it is not.
    fn share<R>(&self, then: impl FnOnce(&Reader) -> R) -> R {
        let mut state = self.0.lock();
        let mut parked = None;
        if let State::Sole(sole) = &mut *state {
            parked = sole.parked.take();
            let upstream = sole.upstream.take().ok_or_else(|| SharedError::new(BodyError::Panicked));
            let reader = Reader::new(upstream, sole.hint, sole.config.clone());
            *state = State::Shared(reader);
        }
        let State::Shared(reader) = &*state else { unreachable!("it was made one") };
        let result = then(reader);
        drop(state);
        // Whoever polls next gives upstream another waker.
        wake_all(parked);
        result
    }
}

impl From<Reader> for Source {
    fn from(reader: Reader) -> Self {
        Self(Mutex::new(State::Shared(reader)))
    }
}

impl Clone for Source {
    fn clone(&self) -> Self {
        self.share(Reader::clone).into()
    }
}

impl Sole {
    /// When it is over, upstream is dropped before anybody learns that it is.
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
            // Here, so that a panic of that is not taken for the end.
            drop(self.parked.take());
        }
        if polled.is_pending() && !self.parked.as_ref().is_some_and(|parked| parked.will_wake(cx.waker())) {
            self.parked = Some(cx.waker().clone());
        }
        polled
    }
}
