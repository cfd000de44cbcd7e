//! The state of one body and its readers. The lock of a [`Broadcast`] guards it.

use std::{
    mem,
    sync::Arc,
    task::{Poll, Waker},
    time::Duration,
};

use http_body::SizeHint;
use slab::Slab;
use tokio::time::Instant;

use super::{
    BodyConfig,
    broadcast::{Broadcast, Deferred, Turn, UpstreamLease},
    budget::{Budget, Holder, Registration},
    error::BodyError,
    frame::SharedFrame,
    log::{Log, Next},
    pause::Pause,
    upstream::{BoxUpstream, Item, longer},
};
use crate::error::SharedError;

/// Plain data: its methods wake and drop nothing, they put that into [`Deferred`]. [`Broadcast`] lists the invariants.
pub(super) struct BodyState {
    pub(super) log: Log,
    pub(super) readers: Slab<ReaderSlot>,
    pub(super) upstream: Option<BoxUpstream>,
    /// How upstream ended.
    over: Option<Result<(), SharedError>>,
    /// Polling upstream may give something.
    ready: bool,
    hint: SizeHint,
    /// Upstream is not polled before this ends.
    pub(super) pause: Option<Pause>,
    /// How long the slow readers that are still here held the others back, in all pauses that have ended.
    pub(super) held_back: Duration,
    /// Where the slowest reader was, and since when, when the budget last asked for room.
    pub(super) still: Option<(u64, Instant)>,
    /// Set when the log first holds a frame.
    pub(super) registration: Option<Registration>,
    pub(super) config: BodyConfig,
}

/// A reader, as the others see it.
#[derive(Default)]
pub(super) struct ReaderSlot {
    waker: Option<Waker>,
    /// Its new position, if it moved since the pause watches the readers.
    pub(super) moved_to: Option<u64>,
}

/// How far a reader has come.
#[derive(Debug)]
pub(super) struct Position {
    pub(super) slot: usize,
    at: u64,
    bytes: u64,
}

impl Position {
    fn pass(&mut self, frame: &SharedFrame) {
        self.at += 1;
        self.bytes += frame.len();
    }
}

impl BodyState {
    pub(super) fn new(
        upstream: Result<BoxUpstream, SharedError>,
        hint: SizeHint,
        config: BodyConfig,
    ) -> (Self, Position) {
        let mut readers = Slab::with_capacity(2);
        let slot = readers.insert(ReaderSlot::default());
        let (upstream, over) = match upstream {
            Ok(upstream) => (Some(upstream), None),
            Err(error) => (None, Some(Err(error))),
        };
        let state = Self {
            log: Log::new(config.budget.clone()),
            readers,
            hint,
            upstream,
            over,
            ready: true,
            pause: None,
            held_back: Duration::ZERO,
            still: None,
            registration: None,
            config,
        };
        (state, Position { slot, at: 0, bytes: 0 })
    }

    pub(super) fn enter(&mut self, origin: &Position) -> Position {
        self.log.enter(origin.at);
        self.still = None;
        // It counts as moving until it has had the time to move.
        let slot = self.readers.insert(ReaderSlot { waker: None, moved_to: Some(origin.at) });
        Position { slot, ..*origin }
    }

    pub(super) fn keep_start(&mut self, until: Option<Instant>) {
        self.log.keep_start(until);
    }

    pub(super) fn release_start(&mut self, deferred: &mut Deferred) {
        self.log.release_start(&mut deferred.frames);
        self.relax(deferred);
    }

    pub(super) fn enter_at_start(&mut self) -> Option<Position> {
        let is_gone = self.log.is_deserted() || matches!(self.over, Some(Err(_)));
        if is_gone || self.pause.is_some() || !self.log.has_start() {
            return None;
        }
        let (slot, at, bytes) = (self.readers.insert(ReaderSlot::default()), 0, 0);
        self.log.enter(at);
        self.still = None;
        Some(Position { slot, at, bytes })
    }

    pub(super) fn leave(&mut self, position: &Position, deferred: &mut Deferred) {
        deferred.waker = self.readers.remove(position.slot).waker;
        if self.readers.len() <= 1 {
            self.log.release_start(&mut deferred.frames);
        }
        self.log.leave(position.at, &mut deferred.frames);
        self.drop_if_deserted(deferred);
        self.relax(deferred);
    }

    /// Drops upstream when all readers have left or are evicted.
    pub(super) fn drop_if_deserted(&mut self, deferred: &mut Deferred) {
        if self.log.is_deserted() {
            deferred.upstream = self.upstream.take();
        }
    }

    pub(super) fn read(&mut self, position: &mut Position, deferred: &mut Deferred) -> Poll<Item> {
        match self.log.next(position.at) {
            Next::Frame(frame) => {
                position.pass(&frame);
                if self.pause.is_some() {
                    self.readers[position.slot].moved_to = Some(position.at);
                }
                self.relax(deferred);
                Poll::Ready(Some(Ok(frame)))
            }
            Next::Evicted => Poll::Ready(Some(Err(self.too_slow()))),
            Next::End => match &self.over {
                Some(Ok(())) => Poll::Ready(None),
                Some(Err(error)) => Poll::Ready(Some(Err(error.clone()))),
                None => Poll::Pending,
            },
        }
    }

    pub(super) fn turn(&mut self, broadcast: &Arc<Broadcast>, position: &Position, deferred: &mut Deferred) -> Turn {
        if position.at != self.log.end() || self.over.is_some() {
            return Turn::Again;
        }
        self.park(position, deferred);
        if !self.ready || self.upstream.is_none() {
            return Turn::Wait;
        }
        self.pause_if_full(deferred);
        if let Some(pause) = &self.pause {
            return self.wait(pause, deferred);
        }
        self.ready = false;
        self.upstream.take().map_or(Turn::Wait, |upstream| Turn::Poll(upstream, UpstreamLease::new(broadcast)))
    }

    /// Takes upstream back after a poll. `None`: it has ended.
    pub(super) fn upstream_returned(&mut self, upstream: Option<BoxUpstream>, hint: SizeHint) {
        (self.upstream, self.hint) = (upstream, hint);
    }

    /// Gives the readers the result of a poll of upstream. The reader at `position` polled it, and has the frame.
    pub(super) fn publish(&mut self, position: &mut Position, item: &Item, deferred: &mut Deferred) {
        self.ready = true;
        self.over = match item {
            Some(Err(error)) => Some(Err(error.clone())),
            _ if self.upstream.is_none() => Some(Ok(())),
            _ => None,
        };
        if let Some(Ok(frame)) = item {
            self.log.push(frame, &mut deferred.frames);
            position.pass(frame);
        }
        self.take_waker(position, deferred);
        self.unpark(deferred);
    }

    /// Lists this body in its budget, once it holds something.
    pub(super) fn register(&mut self, broadcast: &Arc<Broadcast>) {
        if self.registration.is_none() && !self.log.is_empty() {
            let holder: Arc<dyn Holder> = broadcast.clone();
            self.registration = Some(self.config.budget.register(Arc::downgrade(&holder)));
        }
    }

    /// Unparks the readers if upstream was woken while it was out.
    pub(super) fn pass_wake_up_on(&mut self, deferred: &mut Deferred) {
        if self.ready {
            self.unpark(deferred);
        }
    }

    /// Ends the body after upstream panicked.
    pub(super) fn fail(&mut self, deferred: &mut Deferred) {
        self.over = Some(Err(SharedError::new(BodyError::Panicked)));
        self.unpark(deferred);
    }

    /// Upstream has to be polled.
    pub(super) fn upstream_woke(&mut self, deferred: &mut Deferred) {
        let was_ready = mem::replace(&mut self.ready, true);
        if !was_ready && self.upstream.is_some() {
            self.unpark(deferred);
        }
    }

    pub(super) fn size_hint(&self, position: &Position) -> SizeHint {
        match self.is_end(position) {
            true => SizeHint::with_exact(0),
            false => longer(&self.hint, self.log.bytes() - position.bytes),
        }
    }

    pub(super) fn is_end(&self, position: &Position) -> bool {
        position.at == self.log.end() && matches!(self.over, Some(Ok(())))
    }

    /// Gives the budget if this body made it sufficient again since the last call.
    pub(super) fn take_relief(&mut self) -> Option<Budget> {
        self.log.take_relief().then(|| self.config.budget.clone())
    }

    pub(super) fn take_waker(&mut self, position: &Position, deferred: &mut Deferred) {
        deferred.waker = self.readers[position.slot].waker.take();
    }

    pub(super) fn unpark(&mut self, deferred: &mut Deferred) {
        let wakers = self.readers.iter_mut().filter_map(|(_, reader)| reader.waker.take());
        deferred.wake.extend(wakers);
    }

    fn park(&mut self, position: &Position, deferred: &mut Deferred) {
        mem::swap(&mut self.readers[position.slot].waker, &mut deferred.waker);
    }

    fn too_slow(&self) -> SharedError {
        SharedError::new(BodyError::TooSlow { limit: self.config.limit, budget: self.config.budget.limit() })
    }
}
