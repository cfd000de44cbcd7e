//! The handle that the readers of one body share: its lock, and its wakers.

use std::{
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

use http_body::SizeHint;
use tokio::time::Instant;

#[cfg(feature = "spill")]
use super::spill::{Piece, Write};
use super::{
    BodyConfig,
    budget::{Budget, Holder},
    frame::SharedFrame,
    log::Passed,
    spill::{Chunk, WriteJob},
    state::{BodyState, Fate, Position},
    upstream::{BoxUpstream, Item, Report},
};
use crate::{
    error::SharedError,
    panics::{CaughtPanic, wake_all},
    sync::Mutex,
};

/// One upstream body with many readers. It is also the waker that upstream is polled with.
///
/// Invariants:
///
/// 1. No foreign code runs under the lock. Upstream is taken out to be polled, and [`Deferred`]
///    holds the wakers to wake and the values to drop, because any of these may poll or drop a
///    reader of the same body.
/// 2. Upstream is in the state, or out with the [`UpstreamLease`] of a reader at the end of the
///    log, or dropped: after its end, and when all readers have left.
/// 3. A waker is in a reader's slot exactly while that reader is parked. A parked reader is at the
///    end of the log: every frame, and the end of upstream, unpark all readers.
/// 4. `ready` is cleared when upstream goes out. Its wake-up or its frame sets it. So while `ready`
///    is false, upstream has promised a wake-up, and that wake-up unparks all readers.
/// 5. While `ready` is true and a reader is parked, upstream is out or has ended, or `pause` is
///    set. Upstream does not go out during a pause. Each event that can end a pause calls `relax`,
///    which unparks all readers: a reader that moves or leaves, an eviction, and another body that
///    gives back to the budget. If upstream is woken while it is out, the lease passes the wake-up
///    on when it returns.
/// 6. A wake-up always reaches all parked readers, because the task of a single one may never poll
///    it again. For the same reason each reader has its own timer for the deadline of a pause. The
///    deadline never moves to an earlier time.
///
/// The models in `http::models` check this with threads, and `tests::model` with any sequence of
/// events. The other tests cover panics and real time.
pub(super) struct Broadcast {
    state: Mutex<BodyState>,
    /// It is read to its end after all readers have left.
    pub(super) runs_to_completion: bool,
}

/// Work for after the lock is released: first the wake-ups, then the drops.
#[derive(Default)]
pub(super) struct Deferred {
    pub(super) wake: Vec<Waker>,
    pub(super) passed: Passed,
    pub(super) waker: Option<Waker>,
    pub(super) upstream: Option<BoxUpstream>,
    /// A budget that is no longer spent.
    pub(super) relieved: Option<Budget>,
    /// A budget that is spent, and that a reader waits for.
    pub(super) spent: Option<Budget>,
    pub(super) write: Option<WriteJob>,
}

impl Drop for Deferred {
    fn drop(&mut self) {
        if !self.wake.is_empty() {
            wake_all(self.wake.drain(..));
        }
        if let Some(budget) = self.relieved.take() {
            budget.relieve();
        }
        if let Some(budget) = self.spent.take() {
            budget.ask();
        }
        if let Some(write) = self.write.take() {
            write.start();
        }
    }
}

/// Tells a reader how to go on.
pub(super) enum Turn {
    Frame(SharedFrame),
    /// Read this back.
    OnDisk(Chunk),
    Error(SharedError),
    End,
    /// Poll upstream, which is out now.
    Poll(BoxUpstream),
    /// Park.
    Park,
}

/// Tells a reader at the end of the log what to wait for. It is parked, except after `Again`.
pub(super) enum Parked {
    Again,
    Wait,
    /// Wait for slower readers until this time.
    Pause(Instant),
    /// Evict slower readers at once.
    Evict,
}

/// Tells a driver how to go on.
pub(super) enum Drive {
    Go,
    Leave,
}

/// Stands for upstream while it is out to be polled. If this is dropped before upstream is back,
/// after a panic, the body ends with an error.
struct UpstreamLease<'a> {
    broadcast: &'a Broadcast,
    is_back: bool,
}

impl Drop for UpstreamLease<'_> {
    fn drop(&mut self) {
        if !self.is_back {
            self.broadcast.with(BodyState::fail);
        }
    }
}

impl Broadcast {
    /// Makes the first reader of a body.
    pub(super) fn new(
        upstream: BoxUpstream,
        hint: SizeHint,
        config: Arc<BodyConfig>,
        runs_to_completion: bool,
    ) -> (Arc<Self>, Position) {
        let (state, position) = BodyState::new(upstream, hint, config);
        (Arc::new(Self { state: Mutex::new(state), runs_to_completion }), position)
    }

    /// Adds a reader at the position of another.
    pub(super) fn enter(&self, origin: &Position) -> Position {
        self.state.lock().enter(origin)
    }

    /// Keeps the start of the body for newcomers.
    pub(super) fn keep_start(&self, until: Option<Instant>) {
        self.state.lock().keep_start(until);
    }

    /// Keeps that start when the body is complete and all readers have left.
    pub(super) fn outlive_readers(&self) {
        self.state.lock().outlive_readers();
    }

    pub(super) fn has_readers(&self) -> bool {
        !self.state.lock().log.is_deserted()
    }

    /// Lets no more newcomers in, and frees the start of the body.
    pub(super) fn release_start(&self) {
        self.with(BodyState::release_start);
    }

    /// Adds a reader at the first frame, if that is held and upstream is not paused.
    pub(super) fn enter_at_start(&self) -> Option<Position> {
        self.state.lock().enter_at_start()
    }

    /// Removes a reader.
    pub(super) fn leave(&self, position: &Position) {
        self.with(|state, deferred| state.leave(position, deferred));
    }

    /// Removes a reader. If it is the last one, and the rest of the body may fit the window,
    /// returns the position of a driver that reads on instead, and the window.
    pub(super) fn leave_to_driver(&self, position: &Position) -> Option<(Position, u64)> {
        self.with(|state, deferred| {
            let driver = state.hand_over(position, deferred);
            if driver.is_none() {
                state.leave(position, deferred);
            }
            driver
        })
    }

    /// Tells a driver how to go on. It is removed if others read, or if the budget is spent.
    pub(super) fn drive(&self, position: &Position) -> Drive {
        self.with(|state, deferred| {
            if state.goes_on(position) {
                return Drive::Go;
            }
            state.leave(position, deferred);
            Drive::Leave
        })
    }

    /// Takes the next frame or the end from the log, or upstream out to be polled.
    #[inline]
    pub(super) fn next(&self, position: &mut Position) -> Turn {
        let mut state = self.state.lock();
        let turn = state.next(position);
        if state.has_news() {
            drop(state);
            self.with(BodyState::relax);
        }
        turn
    }

    /// Polls upstream with this waker, which wakes `self`, brings it back, and moves the reader
    /// past the frame. If there is no frame, parks the reader.
    pub(super) fn poll(
        self: &Arc<Self>,
        mut upstream: BoxUpstream,
        waker: &Waker,
        position: &mut Position,
        cx: &Context<'_>,
    ) -> Poll<Item> {
        let mut lease = UpstreamLease { broadcast: self, is_back: false };
        let mut report = Report::shared();
        position.fate = Fate::Panicked;
        let polled = upstream.as_mut().poll_frame(&mut Context::from_waker(waker), &mut report);
        let (mut upstream, mut caught) = (Some(upstream), CaughtPanic::default());
        if !report.streams() {
            // Upstream is dropped before any reader sees the end. If that panics, the other readers
            // still see it.
            caught.drop_caught(upstream.take());
        }
        let parked = polled.is_pending().then(|| cx.waker().clone());
        lease.is_back = true;
        self.with(|state, deferred| {
            state.upstream_returned(upstream, report.hint);
            position.fate = match &polled {
                _ if caught.is_some() => Fate::Panicked,
                Poll::Ready(Some(Err(_))) => Fate::Failed,
                _ => Fate::Reads,
            };
            match &polled {
                Poll::Ready(item) => {
                    state.publish(position, item, deferred);
                    state.register(self);
                }
                Poll::Pending => {
                    deferred.waker = parked;
                    state.park_after_poll(position, deferred);
                }
            }
        });
        caught.or_resume(polled)
    }

    /// Parks a reader, and tells it what to wait for.
    pub(super) fn park(&self, position: &Position, waker: Waker) -> Parked {
        self.with(|state, deferred| {
            deferred.waker = Some(waker);
            state.park(position, deferred)
        })
    }

    /// Moves a reader past data from the file. False: it was evicted.
    pub(super) fn pass_spilled(&self, position: &mut Position, len: u64) -> bool {
        self.with(|state, deferred| state.pass_spilled(position, len, deferred))
    }

    /// Lets the others go on without a reader that cannot read its lag.
    pub(super) fn give_up(&self, position: &mut Position) {
        self.with(|state, deferred| state.give_up(position, deferred));
    }

    /// Takes the result of a write to the file, and gives the next one.
    #[cfg(feature = "spill")]
    pub(super) fn written(&self, piece: Piece, is_ok: bool) -> Option<Write> {
        self.with(|state, deferred| state.written(piece, is_ok, deferred))
    }

    /// Evicts the readers that made this one wait until the deadline of the pause.
    pub(super) fn evict_stopped(&self, position: &Position) {
        self.with(|state, deferred| state.evict_stopped(position, deferred));
    }

    /// Evicts the readers with a full window, because this reader cannot wait.
    pub(super) fn evict_full(&self, position: &Position) {
        self.with(|state, deferred| {
            state.take_waker(position, deferred);
            state.evict_full(deferred);
        });
    }

    pub(super) fn size_hint(&self, position: &Position) -> SizeHint {
        self.state.lock().size_hint(position)
    }

    pub(super) fn is_end_stream(&self, position: &Position) -> bool {
        self.state.lock().is_end(position)
    }

    /// Changes the state. What only looks at it, or leaves nothing for after the lock, takes the
    /// lock alone: that is cheaper.
    fn with<R>(&self, change: impl FnOnce(&mut BodyState, &mut Deferred) -> R) -> R {
        // Created before the lock is taken, so that it is dropped after the lock is released.
        let mut deferred = Deferred::default();
        let mut state = self.state.lock();
        let result = change(&mut state, &mut deferred);
        deferred.relieved = state.take_relief();
        result
    }
}

impl Holder for Broadcast {
    fn go_on(&self) {
        self.with(BodyState::relax);
    }

    fn give_way(&self) {
        self.with(BodyState::give_way);
    }
}

impl Wake for Broadcast {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.with(BodyState::upstream_woke);
    }
}
