//! One reader of a shared body.

use std::{
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll, ready},
};

use http_body::SizeHint;
use tokio::{
    runtime::Handle,
    time::{self, Instant, Sleep},
};

use super::{
    BodyConfig,
    error::BodyError,
    shared::{Place, Shared, Turn},
    upstream::{BoxUpstream, Item},
};
use crate::{error::SharedError, sync::now};

type Timer = Pin<Box<Sleep>>;

pub(super) struct Reader {
    shared: Arc<Shared>,
    place: Place,
    /// Set while this reader waits for a slower one. Each has a timer of its own, so that none
    /// depends on another's task, or on another's runtime.
    timer: Option<Timer>,
    failed: bool,
    /// It polled upstream, and that, or its drop at the end, panicked: what came of it is lost.
    panicked: bool,
}

impl Reader {
    /// Of a body that goes on, or failed.
    pub(super) fn new(upstream: Result<BoxUpstream, SharedError>, hint: SizeHint, config: BodyConfig) -> Self {
        let (shared, place) = Shared::new(upstream, hint, config);
        Self::at(place, shared)
    }

    /// Of a body that failed, as this reader knows already.
    pub(super) fn failed(error: SharedError, hint: SizeHint, config: BodyConfig) -> Self {
        let mut reader = Self::new(Err(error), hint, config);
        reader.failed = true;
        reader
    }

    fn at(place: Place, shared: Arc<Shared>) -> Self {
        Self { shared, place, timer: None, failed: false, panicked: false }
    }

    /// A newcomer, if the first frame is held.
    pub(super) fn at_start(shared: Arc<Shared>) -> Option<Self> {
        let place = shared.enter_at_start()?;
        Some(Self::at(place, shared))
    }

    pub(super) fn newcomers(&self, until: Option<Instant>) -> Weak<Shared> {
        self.shared.open_door(until);
        Arc::downgrade(&self.shared)
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Item> {
        if self.failed {
            return Poll::Ready(None);
        }
        let item = match self.panicked {
            true => Some(Err(SharedError::new(BodyError::Panicked))),
            false => ready!(self.poll_item(cx)),
        };
        self.failed = matches!(item, Some(Err(_)));
        Poll::Ready(item)
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        if self.failed {
            return SizeHint::with_exact(0);
        }
        if self.panicked && self.shared.is_end_stream(&self.place) {
            // Nothing comes but an error, which is not nothing.
            return SizeHint::default();
        }
        self.shared.size_hint(&self.place)
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.failed || (!self.panicked && self.shared.is_end_stream(&self.place))
    }

    fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Item> {
        self.timer = None;
        loop {
            if let Poll::Ready(item) = self.shared.read(&mut self.place) {
                return Poll::Ready(item);
            }
            match self.shared.turn(&self.place, cx.waker().clone()) {
                Turn::Again => {}
                Turn::Wait => return Poll::Pending,
                Turn::Pause(deadline) => ready!(self.poll_pause(deadline, cx)),
                Turn::Evict => self.shared.evict_full(&self.place),
                Turn::Poll(upstream, out) => {
                    self.panicked = true;
                    let polled = out.poll(upstream, &mut self.place);
                    self.panicked = false;
                    return polled;
                }
            }
        }
    }

    /// Waits for slower readers until `deadline`, when some of them are evicted. There is no waiting without a clock.
    fn poll_pause(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        if Handle::try_current().is_err() {
            self.shared.evict_full(&self.place);
            return Poll::Ready(());
        }
        if deadline > now() {
            // A new one at each poll: the last may be of another runtime.
            let timer = self.timer.insert(Box::pin(time::sleep_until(deadline)));
            ready!(timer.as_mut().poll(cx));
        }
        self.shared.evict_stopped(&self.place);
        Poll::Ready(())
    }
}

/// Goes on from where its origin stands. One that failed is not done: who has the clone has not
/// seen the error.
impl Clone for Reader {
    fn clone(&self) -> Self {
        let mut clone = Self::at(self.shared.enter(&self.place), Arc::clone(&self.shared));
        clone.panicked = self.panicked;
        clone
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.shared.leave(&self.place);
    }
}
