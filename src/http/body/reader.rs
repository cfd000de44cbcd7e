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
    broadcast::{Broadcast, Turn},
    error::BodyError,
    state::Position,
    upstream::{BoxUpstream, Item},
};
use crate::{error::SharedError, sync::now};

type Timer = Pin<Box<Sleep>>;

pub(super) struct Reader {
    broadcast: Arc<Broadcast>,
    position: Position,
    /// Set while this reader waits for a slower one. Each reader has its own timer, so that it does not depend on the
    /// task or the runtime of another.
    timer: Option<Timer>,
    failed: bool,
    /// Set if upstream panicked while this reader polled it, or dropped it at its end. The result of that poll is lost.
    panicked: bool,
}

impl Reader {
    /// Makes the first reader of a body that streams, or that has failed.
    pub(super) fn new(upstream: Result<BoxUpstream, SharedError>, hint: SizeHint, config: BodyConfig) -> Self {
        let (broadcast, position) = Broadcast::new(upstream, hint, config);
        Self::at(position, broadcast)
    }

    /// Makes the reader of a body that has failed, after this reader got the error.
    pub(super) fn failed(error: SharedError, hint: SizeHint, config: BodyConfig) -> Self {
        let mut reader = Self::new(Err(error), hint, config);
        reader.failed = true;
        reader
    }

    fn at(position: Position, broadcast: Arc<Broadcast>) -> Self {
        Self { broadcast, position, timer: None, failed: false, panicked: false }
    }

    /// Makes a reader at the first frame, if that is held.
    pub(super) fn at_start(broadcast: Arc<Broadcast>) -> Option<Self> {
        let position = broadcast.enter_at_start()?;
        Some(Self::at(position, broadcast))
    }

    pub(super) fn newcomers(&self, until: Option<Instant>) -> Weak<Broadcast> {
        self.broadcast.keep_start(until);
        Arc::downgrade(&self.broadcast)
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
        if self.panicked && self.broadcast.is_end_stream(&self.position) {
            // Nothing comes but an error, which is not nothing.
            return SizeHint::default();
        }
        self.broadcast.size_hint(&self.position)
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.failed || (!self.panicked && self.broadcast.is_end_stream(&self.position))
    }

    fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Item> {
        self.timer = None;
        loop {
            if let Poll::Ready(item) = self.broadcast.read(&mut self.position) {
                return Poll::Ready(item);
            }
            match self.broadcast.turn(&self.position, cx.waker().clone()) {
                Turn::Again => {}
                Turn::Wait => return Poll::Pending,
                Turn::Pause(deadline) => ready!(self.poll_pause(deadline, cx)),
                Turn::Evict => self.broadcast.evict_full(&self.position),
                Turn::Poll(upstream, lease) => {
                    self.panicked = true;
                    let polled = lease.poll(upstream, &mut self.position);
                    self.panicked = false;
                    return polled;
                }
            }
        }
    }

    /// Waits for slower readers until `deadline`, then evicts some of them. Without tokio's clock it does not wait.
    fn poll_pause(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        if Handle::try_current().is_err() {
            self.broadcast.evict_full(&self.position);
            return Poll::Ready(());
        }
        if deadline > now() {
            // A new timer for each poll, because the last one may belong to another runtime.
            let timer = self.timer.insert(Box::pin(time::sleep_until(deadline)));
            ready!(timer.as_mut().poll(cx));
        }
        self.broadcast.evict_stopped(&self.position);
        Poll::Ready(())
    }
}

/// The clone goes on from the same position. After an error it gets the error again, because its owner has not seen
/// it.
impl Clone for Reader {
    fn clone(&self) -> Self {
        let mut clone = Self::at(self.broadcast.enter(&self.position), Arc::clone(&self.broadcast));
        clone.panicked = self.panicked;
        clone
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.broadcast.leave(&self.position);
    }
}
