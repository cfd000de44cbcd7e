//! The state of one body and its readers. The lock of a [`Broadcast`] guards it.

use std::{mem, sync::Arc, task::Waker, time::Duration};

use http_body::SizeHint;
use slab::Slab;
use tokio::time::Instant;

use super::{
    BodyConfig, SlowReader,
    broadcast::{Broadcast, Deferred, Parked, Turn},
    budget::{Budget, Holder, Registration},
    error::BodyError,
    frame::len_of,
    log::{Log, Next},
    pause::Pause,
    spill::SpillState,
    upstream::{BoxUpstream, Item, longer},
};
use crate::error::SharedError;

/// Plain data: its methods wake and drop nothing, they put that into [`Deferred`]. [`Broadcast`]
/// lists the invariants.
pub(super) struct BodyState {
    pub(super) log: Log,
    pub(super) readers: Slab<ReaderSlot>,
    /// How many of them are parked.
    parked: usize,
    /// The slot of the driver, while it counts as a reader.
    driver: Option<usize>,
    /// How many drivers no longer count, and have yet to leave.
    dismissed: usize,
    pub(super) upstream: Option<BoxUpstream>,
    /// How upstream ended.
    pub(super) over: Option<Result<(), SharedError>>,
    /// Polling upstream may give something.
    ready: bool,
    hint: SizeHint,
    /// Once the body is complete, its start is kept for newcomers when all readers have left.
    outlives_readers: bool,
    /// Upstream is not polled before this ends.
    pub(super) pause: Option<Pause>,
    /// How long the slow readers that are still here held the others back, in all pauses that have
    /// ended.
    pub(super) held_back: Duration,
    /// How far the slowest reader was, and since when, when the budget last asked for room.
    pub(super) still: Option<((u64, u64), Instant)>,
    /// Set when the log first holds a frame.
    pub(super) registration: Option<Registration>,
    pub(super) spill: SpillState,
    pub(super) config: Arc<BodyConfig>,
}

/// A reader, as the others see it.
#[derive(Default)]
pub(super) struct ReaderSlot {
    waker: Option<Waker>,
    /// Its new position, if it moved since the pause watches the readers.
    pub(super) moved_to: Option<u64>,
    /// It is a driver that no longer counts as a reader.
    is_dismissed: bool,
}

/// How far a reader has come.
#[derive(Debug)]
pub(super) struct Position {
    pub(super) slot: usize,
    pub(super) at: u64,
    pub(super) bytes: u64,
    pub(super) fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fate {
    Reads,
    /// It got an error.
    Failed,
    /// It got an error because its lag cannot be read, and is no longer counted.
    Unreadable,
    /// Upstream panicked while this reader polled it, or dropped it at its end. The result of that
    /// poll is lost.
    Panicked,
}

impl Position {
    #[inline]
    fn pass(&mut self, bytes: u64) {
        self.at += 1;
        self.bytes += bytes;
    }

    fn fail(&mut self, error: SharedError) -> Turn {
        self.fate = Fate::Failed;
        Turn::Error(error)
    }
}

impl BodyState {
    pub(super) fn new(
        upstream: BoxUpstream,
        hint: SizeHint,
        config: Arc<BodyConfig>,
    ) -> (Self, Position) {
        let mut readers = Slab::with_capacity(2);
        let slot = readers.insert(ReaderSlot::default());
        let state = Self {
            log: Log::new(config.budget.clone()),
            readers,
            parked: 0,
            driver: None,
            dismissed: 0,
            hint,
            upstream: Some(upstream),
            over: None,
            ready: true,
            outlives_readers: false,
            pause: None,
            held_back: Duration::ZERO,
            still: None,
            registration: None,
            spill: SpillState::default(),
            config,
        };
        (state, Position { slot, at: 0, bytes: 0, fate: Fate::Reads })
    }

    pub(super) fn enter(&mut self, origin: &Position) -> Position {
        self.log.enter(origin.at);
        self.still = None;
        // It counts as moving until it has had the time to move.
        let slot =
            self.readers.insert(ReaderSlot { moved_to: Some(origin.at), ..ReaderSlot::default() });
        // After an error a clone gets it again, because its owner has not seen it.
        let fate = match origin.fate {
            Fate::Failed | Fate::Unreadable => Fate::Reads,
            fate => fate,
        };
        Position { slot, fate, ..*origin }
    }

    pub(super) fn keep_start(&mut self, until: Option<Instant>) {
        self.log.keep_start(until);
    }

    pub(super) fn outlive_readers(&mut self) {
        self.outlives_readers = true;
    }

    /// True if newcomers may come although no reader is left.
    fn is_held(&self) -> bool {
        self.outlives_readers && matches!(self.over, Some(Ok(())))
    }

    pub(super) fn release_start(&mut self, deferred: &mut Deferred) {
        self.log.release_start(&mut deferred.passed);
        self.relax(deferred);
    }

    pub(super) fn enter_at_start(&mut self) -> Option<Position> {
        let is_gone =
            (self.log.is_deserted() && !self.is_held()) || matches!(self.over, Some(Err(_)));
        if is_gone || self.pause.is_some() || !self.log.has_start() {
            return None;
        }
        let (slot, at) = (self.readers.insert(ReaderSlot::default()), 0);
        self.log.enter(at);
        self.still = None;
        Some(Position { slot, at, bytes: 0, fate: Fate::Reads })
    }

    pub(super) fn leave(&mut self, position: &Position, deferred: &mut Deferred) {
        self.take_waker(position, deferred);
        let is_dismissed = self.readers.remove(position.slot).is_dismissed;
        self.dismissed -= usize::from(is_dismissed);
        self.driver = self.driver.filter(|driver| *driver != position.slot);
        if position.fate != Fate::Unreadable && !is_dismissed {
            self.leave_log(position, deferred);
        }
    }

    /// Lets the others go on without a reader that cannot read its lag.
    pub(super) fn give_up(&mut self, position: &mut Position, deferred: &mut Deferred) {
        position.fate = Fate::Unreadable;
        self.leave_log(position, deferred);
    }

    fn leave_log(&mut self, position: &Position, deferred: &mut Deferred) {
        self.log.leave(position.at, self.config.keep_start, self.is_held(), &mut deferred.passed);
        self.drop_if_deserted(deferred);
        self.relax(deferred);
    }

    /// Hands a body that streams over from its last reader to a driver, if the rest may fit the
    /// window. Returns the position of the driver, which has all frames so far, and the window.
    pub(super) fn hand_over(
        &mut self,
        position: &Position,
        deferred: &mut Deferred,
    ) -> Option<(Position, u64)> {
        let window = self.config.limit as u64;
        let streams = self.over.is_none() && self.upstream.is_some();
        let is_last =
            position.fate == Fate::Reads && position.at >= self.log.front() && self.may_drive();
        if !streams || !is_last || self.hint.lower() > window {
            return None;
        }
        self.take_waker(position, deferred);
        let mut driver = Position { ..*position };
        if driver.at != self.log.end() {
            self.log.skip_to_end(driver.at, &mut deferred.passed);
            (driver.at, driver.bytes) = (self.log.end(), self.log.bytes());
            self.relax(deferred);
        }
        self.driver = Some(driver.slot);
        Some((driver, window))
    }

    /// True if the driver at this position may read on.
    pub(super) fn goes_on(&self, position: &Position) -> bool {
        !self.is_dismissed(position) && self.may_drive()
    }

    /// True if one reader is left, and the budget is not spent.
    fn may_drive(&self) -> bool {
        self.log.has_one_reader() && !self.config.budget.is_spent()
    }

    /// No longer counts the driver when another reader reads on. The driver needs none of its
    /// frames, and its task may stand still.
    fn dismiss_driver(&mut self, reader: &Position) {
        if let Some(driver) = self.driver.take_if(|driver| *driver != reader.slot) {
            self.readers[driver].is_dismissed = true;
            self.dismissed += 1;
            self.log.leave_end();
        }
    }

    #[inline]
    fn is_dismissed(&self, position: &Position) -> bool {
        self.dismissed > 0 && self.readers[position.slot].is_dismissed
    }

    /// Drops upstream when all readers have left or are evicted.
    pub(super) fn drop_if_deserted(&mut self, deferred: &mut Deferred) {
        if self.log.is_deserted() {
            deferred.upstream = self.upstream.take();
        }
    }

    /// Takes the next frame or the end from the log, or upstream out to be polled.
    #[inline]
    pub(super) fn next(&mut self, position: &mut Position) -> Turn {
        if position.fate != Fate::Reads {
            return self.next_after_failure(position);
        }
        if self.is_dismissed(position) {
            return Turn::End;
        }
        match self.log.next(position.at, position.bytes) {
            Next::Frame(frame) => {
                position.pass(frame.len());
                if self.pause.is_some() {
                    self.readers[position.slot].moved_to = Some(position.at);
                }
                Turn::Frame(frame)
            }
            Next::End => self.pull(position),
            Next::OnDisk(chunk) => Turn::OnDisk(chunk),
            Next::Evicted => position.fail(self.too_slow()),
        }
    }

    #[cold]
    fn next_after_failure(&self, position: &mut Position) -> Turn {
        match position.fate {
            Fate::Panicked => position.fail(SharedError::new(BodyError::Panicked)),
            _ => Turn::End,
        }
    }

    /// Takes upstream out, for a reader that has all frames.
    fn pull(&mut self, position: &mut Position) -> Turn {
        match &self.over {
            Some(Ok(())) => return Turn::End,
            Some(Err(error)) => return position.fail(error.clone()),
            None => {}
        }
        if !self.ready || self.pause.is_some() || self.is_full() {
            return Turn::Park;
        }
        let Some(upstream) = self.upstream.take() else { return Turn::Park };
        self.ready = false;
        Turn::Poll(upstream)
    }

    /// True if `relax` or `take_relief` may have something to do.
    #[inline]
    pub(super) fn has_news(&self) -> bool {
        self.pause.is_some() || self.log.has_relief()
    }

    /// Parks a reader, and tells it what to wait for.
    pub(super) fn park(&mut self, position: &Position, deferred: &mut Deferred) -> Parked {
        if position.at != self.log.end() || self.over.is_some() {
            return Parked::Again;
        }
        self.put_waker(position, deferred);
        if !self.ready || self.upstream.is_none() {
            return Parked::Wait;
        }
        self.pause_if_full(deferred);
        if let Some(pause) = &self.pause {
            return self.wait(pause, deferred);
        }
        self.take_waker(position, deferred);
        Parked::Again
    }

    /// Takes upstream back after a poll. `None`: it has ended.
    pub(super) fn upstream_returned(&mut self, upstream: Option<BoxUpstream>, hint: SizeHint) {
        (self.upstream, self.hint) = (upstream, hint);
    }

    /// Gives the readers the result of a poll of upstream. The reader at `position` polled it, and
    /// has the frame.
    pub(super) fn publish(
        &mut self,
        position: &mut Position,
        item: &Item,
        deferred: &mut Deferred,
    ) {
        self.ready = true;
        self.over = match item {
            Some(Err(error)) => Some(Err(error.clone())),
            _ if self.upstream.is_none() => Some(Ok(())),
            _ => None,
        };
        if let Some(Ok(frame)) = item {
            self.dismiss_driver(position);
            self.log.push(frame, self.config.keep_start, &mut deferred.passed);
            position.pass(len_of(frame));
        }
        if self.config.slow == SlowReader::Unbounded {
            self.start_write_if_outgrown(deferred);
        }
        self.unpark(deferred);
    }

    /// Lists this body in its budget, once it holds something.
    pub(super) fn register(&mut self, broadcast: &Arc<Broadcast>) {
        if self.registration.is_none() && !self.log.is_empty() {
            let holder: Arc<dyn Holder> = broadcast.clone();
            self.registration = Some(self.config.budget.register(Arc::downgrade(&holder)));
            self.register_spill(broadcast);
        }
    }

    /// Parks the reader that polled upstream in vain. If upstream was woken meanwhile, unparks all
    /// readers.
    pub(super) fn park_after_poll(&mut self, position: &Position, deferred: &mut Deferred) {
        self.put_waker(position, deferred);
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
        if self.is_end(position) {
            return SizeHint::with_exact(0);
        }
        if position.fate == Fate::Panicked && self.has_all(position) {
            // Only an error comes, which is not nothing.
            return SizeHint::default();
        }
        longer(&self.hint, self.log.bytes() - position.bytes)
    }

    pub(super) fn is_end(&self, position: &Position) -> bool {
        match position.fate {
            Fate::Reads => self.has_all(position),
            Fate::Failed | Fate::Unreadable => true,
            Fate::Panicked => false,
        }
    }

    /// True if the reader has all frames of a body that ended well.
    fn has_all(&self, position: &Position) -> bool {
        position.at == self.log.end() && matches!(self.over, Some(Ok(())))
    }

    /// Gives the budget if this body made it sufficient again since the last call.
    pub(super) fn take_relief(&mut self) -> Option<Budget> {
        self.log.take_relief().then(|| self.config.budget.clone())
    }

    pub(super) fn take_waker(&mut self, position: &Position, deferred: &mut Deferred) {
        deferred.waker = self.readers[position.slot].waker.take();
        self.parked -= usize::from(deferred.waker.is_some());
    }

    pub(super) fn unpark(&mut self, deferred: &mut Deferred) {
        if self.parked > 0 {
            self.parked = 0;
            let wakers = self.readers.iter_mut().filter_map(|(_, reader)| reader.waker.take());
            deferred.wake.extend(wakers);
        }
    }

    fn put_waker(&mut self, position: &Position, deferred: &mut Deferred) {
        let slot = &mut self.readers[position.slot].waker;
        self.parked += usize::from(slot.is_none());
        mem::swap(slot, &mut deferred.waker);
    }

    fn too_slow(&self) -> SharedError {
        SharedError::new(BodyError::TooSlow {
            limit: self.config.limit,
            budget: self.config.budget.limit(),
        })
    }
}
