//! One upstream body and the state of all its readers.

use std::{
    mem,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use http_body::SizeHint;
use slab::Slab;
use tokio::time::Instant;

use super::{
    BodyConfig, SlowReader,
    budget::{Budget, Holder, Listing},
    error::BodyError,
    frame::SharedFrame,
    log::{Log, Next},
    pause::{Cause, Pause},
    upstream::{BoxUpstream, Item, longer},
};
use crate::{
    error::SharedError,
    panics::CaughtPanic,
    panics::wake_all,
    sync::{Mutex, now},
};

/// What the readers of one body share, and the waker that upstream is polled with.
///
/// No foreign code runs under the lock: upstream is taken out to be polled, and [`Later`] has what
/// is to be woken or dropped, because any of that may drop or poll a reader of this same body.
///
/// 1. Upstream is here, or [`Out`] with a reader that stands at the end of the log, or dropped: when
///    it is over, and when all readers are gone.
/// 2. A waker is in its slot exactly while its reader is parked. A parked reader stands at the end
///    of the log: every frame and the end of upstream unpark all.
/// 3. `ready` is unset when upstream goes out, and set by its wake-up and by a frame. So while it
///    is unset, upstream has promised a wake-up, which wakes everyone parked.
/// 4. While it is set, upstream is out, or over, or `pause` is set if anybody is parked. Upstream does
///    not go out during a pause. Whatever can end a pause calls `relax`, which unparks them: a reader
///    that moves or leaves, an eviction, and the body that gives back to the budget. A wake-up that
///    finds upstream out is passed on by whoever brings it back.
/// 5. A wake-up goes to all the parked, never to one: its task may be busy elsewhere for ever. For the
///    same reason each has a timer of its own for the pause's deadline, which never moves to an
///    earlier time.
///
/// Checked by models of threads in `http::models`, which say what they cover, and by any sequence of
/// events in `tests::model`; panics and real time by the other tests.
pub(super) struct Shared {
    state: Mutex<State>,
}

struct State {
    log: Log,
    readers: Slab<ReaderSlot>,
    upstream: Option<BoxUpstream>,
    over: Option<Result<(), SharedError>>,
    ready: bool,
    hint: SizeHint,
    /// Upstream is not polled until this is over.
    pause: Option<Pause>,
    /// How long slow readers that are still here held the others back, in all pauses that are over.
    held_back: Duration,
    /// Where the slowest reader was, and since when, when the budget last asked for room.
    still: Option<(u64, Instant)>,
    /// Once bytes were held.
    listing: Option<Listing>,
    config: BodyConfig,
}

/// What is known of a reader that may be asleep.
#[derive(Default)]
struct ReaderSlot {
    waker: Option<Waker>,
    /// Where it came to, if it moved since the pause watches the readers.
    moved_to: Option<u64>,
}

/// Where a reader is.
#[derive(Debug)]
pub(super) struct Place {
    slot: usize,
    at: u64,
    bytes: u64,
}

impl Place {
    fn pass(&mut self, frame: &SharedFrame) {
        self.at += 1;
        self.bytes += frame.len();
    }
}

/// What is left to do when the lock is released: first the wake-ups, then the drops.
#[derive(Default)]
struct Later {
    wake: Vec<Waker>,
    frames: Vec<SharedFrame>,
    waker: Option<Waker>,
    upstream: Option<BoxUpstream>,
    /// Is spent no more.
    relieved: Option<Budget>,
    /// Is spent, and somebody waits for it.
    spent: Option<Budget>,
}

impl Drop for Later {
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
    }
}

/// What a reader at the end of the log is to do. But for `Again` it is parked.
pub(super) enum Turn {
    Again,
    Wait,
    /// Wait until then at most.
    Pause(Instant),
    /// Do not wait for slower readers.
    Evict,
    Poll(BoxUpstream, Out),
}

/// Stands for upstream while it is out. Dropped before upstream is back, as a panic does, it ends
/// the body with an error.
pub(super) struct Out {
    shared: Arc<Shared>,
    is_back: bool,
}

impl Out {
    fn new(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared), is_back: false }
    }

    /// Polls upstream, brings it back, and moves the reader past the frame that it gave.
    pub(super) fn poll(mut self, mut upstream: BoxUpstream, place: &mut Place) -> Poll<Item> {
        let waker = Waker::from(Arc::clone(&self.shared));
        let polled = upstream.as_mut().poll_frame(&mut Context::from_waker(&waker));
        let hint = upstream.size_hint();
        // An upstream that is over is dropped before anybody learns that it is.
        let goes_on = match &polled {
            Poll::Pending => true,
            Poll::Ready(Some(Ok(_))) => !upstream.is_end_stream(),
            Poll::Ready(_) => false,
        };
        let (mut upstream, mut caught) = (Some(upstream), CaughtPanic::default());
        if !goes_on {
            // Should that panic, the other readers still get their end.
            caught.drop_caught(upstream.take());
        }
        self.is_back = true;
        self.shared.with(|state, later| {
            (state.upstream, state.hint) = (upstream, hint);
            match &polled {
                Poll::Ready(item) => {
                    state.settle(place, item, later);
                    state.list(&self.shared);
                }
                Poll::Pending if state.ready => state.unpark(later),
                Poll::Pending => {}
            }
        });
        caught.or_resume(polled)
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        if !self.is_back {
            self.shared.with(State::fail);
        }
    }
}

impl Shared {
    /// Of a body that goes on, or failed.
    pub(super) fn new(
        upstream: Result<BoxUpstream, SharedError>,
        hint: SizeHint,
        config: BodyConfig,
    ) -> (Arc<Self>, Place) {
        let mut readers = Slab::with_capacity(2);
        let slot = readers.insert(ReaderSlot::default());
        let (upstream, over) = match upstream {
            Ok(upstream) => (Some(upstream), None),
            Err(error) => (None, Some(Err(error))),
        };
        let state = State {
            log: Log::new(config.budget.clone()),
            readers,
            hint,
            upstream,
            over,
            ready: true,
            pause: None,
            held_back: Duration::ZERO,
            still: None,
            listing: None,
            config,
        };
        let state = Mutex::new(state);
        let (at, bytes) = (0, 0);
        (Arc::new(Self { state }), Place { slot, at, bytes })
    }

    /// A new reader at the place of another.
    pub(super) fn enter(&self, origin: &Place) -> Place {
        self.with(|state, _| state.enter(origin))
    }

    /// Keeps what newcomers need.
    pub(super) fn open_door(&self, until: Option<Instant>) {
        self.with(|state, _| state.log.open_door(until));
    }

    /// Nobody comes any more.
    pub(super) fn close_door(&self) {
        self.with(|state, later| {
            state.log.close_door(&mut later.frames);
            state.relax(later);
        });
    }

    /// A reader at the first frame, if that is held and upstream does not pause.
    pub(super) fn enter_at_start(&self) -> Option<Place> {
        self.with(|state, _| state.enter_at_start())
    }

    /// The reader is gone.
    pub(super) fn leave(&self, place: &Place) {
        self.with(|state, later| state.leave(place, later));
    }

    /// What the reader has in the log, which may be the end of upstream.
    pub(super) fn read(&self, place: &mut Place) -> Poll<Item> {
        self.with(|state, later| state.read(place, later))
    }

    /// Parks a reader that found nothing in the log, and says what it is to do.
    pub(super) fn turn(self: &Arc<Self>, place: &Place, waker: Waker) -> Turn {
        self.with(|state, later| {
            later.waker = Some(waker);
            state.turn(self, place, later)
        })
    }

    /// The reader waited until the deadline of the pause: evicts those who made it wait so long.
    pub(super) fn evict_stopped(&self, place: &Place) {
        self.with(|state, later| state.evict_stopped(place, later));
    }

    /// The reader does not wait: evicts those whose window is full.
    pub(super) fn evict_full(&self, place: &Place) {
        self.with(|state, later| {
            later.waker = state.readers[place.slot].waker.take();
            state.evict_full(later);
        });
    }

    pub(super) fn size_hint(&self, place: &Place) -> SizeHint {
        self.with(|state, _| match state.is_end(place) {
            true => SizeHint::with_exact(0),
            false => longer(&state.hint, state.log.bytes() - place.bytes),
        })
    }

    pub(super) fn is_end_stream(&self, place: &Place) -> bool {
        self.with(|state, _| state.is_end(place))
    }

    fn with<R>(&self, change: impl FnOnce(&mut State, &mut Later) -> R) -> R {
        // Before the lock, so that it is dropped after it.
        let mut later = Later::default();
        let mut state = self.state.lock();
        let result = change(&mut state, &mut later);
        if state.log.take_relief() {
            later.relieved = Some(state.config.budget.clone());
        }
        result
    }
}

impl Holder for Shared {
    fn go_on(&self) {
        self.with(State::relax);
    }

    fn give_way(&self) {
        self.with(State::give_way);
    }
}

impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.with(State::ring);
    }
}

impl State {
    fn enter(&mut self, origin: &Place) -> Place {
        self.log.enter(origin.at);
        self.still = None;
        // It has yet to be seen to take nothing.
        let slot = self.readers.insert(ReaderSlot { waker: None, moved_to: Some(origin.at) });
        Place { slot, ..*origin }
    }

    fn enter_at_start(&mut self) -> Option<Place> {
        let is_gone = self.log.is_deserted() || matches!(self.over, Some(Err(_)));
        if is_gone || self.pause.is_some() || !self.log.has_start() {
            return None;
        }
        let (slot, at, bytes) = (self.readers.insert(ReaderSlot::default()), 0, 0);
        self.log.enter(at);
        self.still = None;
        Some(Place { slot, at, bytes })
    }

    fn leave(&mut self, place: &Place, later: &mut Later) {
        later.waker = self.readers.remove(place.slot).waker;
        if self.readers.len() <= 1 {
            self.log.close_door(&mut later.frames);
        }
        self.log.leave(place.at, &mut later.frames);
        if self.log.is_deserted() {
            later.upstream = self.upstream.take();
        }
        self.relax(later);
    }

    fn read(&mut self, place: &mut Place, later: &mut Later) -> Poll<Item> {
        match self.log.next(place.at) {
            Next::Frame(frame) => {
                place.pass(&frame);
                if self.pause.is_some() {
                    self.readers[place.slot].moved_to = Some(place.at);
                }
                self.relax(later);
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

    fn turn(&mut self, shared: &Arc<Shared>, place: &Place, later: &mut Later) -> Turn {
        if place.at != self.log.end() || self.over.is_some() {
            return Turn::Again;
        }
        self.park(place, later);
        if !self.ready || self.upstream.is_none() {
            return Turn::Wait;
        }
        self.pause_if_full(later);
        if let Some(pause) = &self.pause {
            return self.wait(pause, later);
        }
        self.ready = false;
        self.upstream.take().map_or(Turn::Wait, |upstream| Turn::Poll(upstream, Out::new(shared)))
    }

    fn pause_if_full(&mut self, later: &mut Later) {
        if self.pause.is_some() || !self.is_full() {
            return;
        }
        self.log.close_door(&mut later.frames);
        self.pause = self.cause().map(Pause::new);
        self.forget_moves();
    }

    /// What to do during a pause.
    fn wait(&self, pause: &Pause, later: &mut Later) -> Turn {
        let budget = &self.config.budget;
        later.spent = budget.is_spent().then(|| budget.clone());
        match self.config.slow {
            SlowReader::Evict => Turn::Evict,
            _ => pause.deadline(&self.config, self.held_back).map_or(Turn::Wait, Turn::Pause),
        }
    }

    /// At the deadline of a pause, evicts the slowest readers until it is over: those that took nothing
    /// while they were watched, or all, if slow readers have held the others back for long enough.
    fn evict_stopped(&mut self, place: &Place, later: &mut Later) {
        let Some(pause) = self.pause.filter(|pause| self.is_due(pause)) else { return };
        later.waker = self.readers[place.slot].waker.take();
        let all = pause.is_too_long(&self.config, self.held_back);
        let end = if all { self.log.end() } else { self.slowest_that_moved() };
        while !self.has_room(&pause) && self.log.front() < end {
            self.log.evict_slowest(&mut later.frames);
        }
        match self.has_room(&pause) {
            true => self.go_on_without(all, later),
            false => self.watch_anew(pause),
        }
    }

    fn is_due(&self, pause: &Pause) -> bool {
        pause.deadline(&self.config, self.held_back).is_some_and(|deadline| deadline <= now())
    }

    /// Ends a pause whose causes are gone, and does not count it: those who are left have not held anybody back.
    fn go_on_without(&mut self, all_slow: bool, later: &mut Later) {
        if all_slow {
            self.held_back = Duration::ZERO;
        }
        self.pause = None;
        self.unpark(later);
    }

    fn watch_anew(&mut self, pause: Pause) {
        self.pause = Some(pause.watched_anew());
        self.forget_moves();
    }

    fn forget_moves(&mut self) {
        for (_, reader) in &mut self.readers {
            reader.moved_to = None;
        }
    }

    /// Its place, or the end of the log if nobody moved that is not evicted.
    fn slowest_that_moved(&self) -> u64 {
        let front = self.log.front();
        let moved = self.readers.iter().filter_map(|(_, reader)| reader.moved_to);
        moved.filter(|at| *at >= front).min().unwrap_or(self.log.end())
    }

    /// Evicts the slowest readers until the window is no longer full, and goes on.
    fn evict_full(&mut self, later: &mut Later) {
        while self.is_full() {
            self.log.evict_slowest(&mut later.frames);
        }
        self.end_pause(later);
    }

    /// The budget is spent, and this holds some of it: frees what is kept for newcomers, who may not
    /// come, and evicts the slowest readers if they stand still, whether anybody waits for them or not.
    fn give_way(&mut self, later: &mut Later) {
        self.log.close_door(&mut later.frames);
        let slow = self.config.slow;
        match slow {
            SlowReader::PauseThenEvict(pause) if self.stands_still(pause) => self.log.evict_slowest(&mut later.frames),
            SlowReader::Evict => self.evict_full(later),
            _ => {}
        }
        if self.log.is_deserted() {
            later.upstream = self.upstream.take();
        }
        self.relax(later);
    }

    /// Whether the slowest reader stood where it stands when this was asked a pause ago.
    fn stands_still(&mut self, pause: Duration) -> bool {
        // Whoever has read everything waits for upstream, and not the others for it.
        if self.log.is_empty() {
            self.still = None;
            return false;
        }
        let (front, now) = (self.log.front(), now());
        match self.still {
            Some((at, since)) if at == front => now.duration_since(since) >= pause,
            _ => {
                self.still = Some((front, now));
                false
            }
        }
    }

    fn list(&mut self, shared: &Arc<Shared>) {
        if self.listing.is_none() && !self.log.is_empty() {
            let holder: Arc<dyn Holder> = shared.clone();
            self.listing = Some(self.config.budget.list(Arc::downgrade(&holder)));
        }
    }

    /// Hands out what a poll of upstream gave.
    fn settle(&mut self, place: &mut Place, item: &Item, later: &mut Later) {
        self.ready = true;
        self.over = match item {
            Some(Err(error)) => Some(Err(error.clone())),
            _ if self.upstream.is_none() => Some(Ok(())),
            _ => None,
        };
        if let Some(Ok(frame)) = item {
            self.log.push(frame, &mut later.frames);
            place.pass(frame);
        }
        later.waker = self.readers[place.slot].waker.take();
        self.unpark(later);
    }

    fn fail(&mut self, later: &mut Later) {
        self.over = Some(Err(SharedError::new(BodyError::Panicked)));
        self.unpark(later);
    }

    /// Upstream is to be polled.
    fn ring(&mut self, later: &mut Later) {
        let was_ready = mem::replace(&mut self.ready, true);
        if !was_ready && self.upstream.is_some() {
            self.unpark(later);
        }
    }

    fn park(&mut self, place: &Place, later: &mut Later) {
        mem::swap(&mut self.readers[place.slot].waker, &mut later.waker);
    }

    fn unpark(&mut self, later: &mut Later) {
        let wakers = self.readers.iter_mut().filter_map(|(_, reader)| reader.waker.take());
        later.wake.extend(wakers);
    }

    fn is_end(&self, place: &Place) -> bool {
        place.at == self.log.end() && matches!(self.over, Some(Ok(())))
    }

    /// Whether the slowest reader is as far behind as it may be: by the window, or by the budget.
    fn is_full(&self) -> bool {
        let (log, limit) = (&self.log, self.config.limit);
        self.config.slow != SlowReader::Unbounded && (log.is_full(limit) || log.is_over_budget())
    }

    /// Why upstream has to pause, if it has.
    fn cause(&self) -> Option<Cause> {
        match self.log.is_full(self.config.limit) {
            true => Some(Cause::Window),
            false => self.lacks_budget().then_some(Cause::Budget),
        }
    }

    /// Whether the budget is spent, and is so still when it knows that this waits for it.
    fn lacks_budget(&self) -> bool {
        if !self.log.is_over_budget() {
            return false;
        }
        if let Some(listing) = &self.listing {
            listing.wait();
        }
        self.log.is_over_budget()
    }

    /// Whether a pause is over.
    fn has_room(&self, pause: &Pause) -> bool {
        match pause.cause() {
            Cause::Window => self.log.is_half_empty(self.config.limit),
            Cause::Budget => !self.lacks_budget(),
        }
    }

    /// Lets upstream go on if the slowest reader has made room.
    fn relax(&mut self, later: &mut Later) {
        if self.pause.is_some_and(|pause| self.has_room(&pause)) {
            self.end_pause(later);
        }
    }

    fn end_pause(&mut self, later: &mut Later) {
        if let Some(pause) = self.pause.take() {
            self.held_back += pause.held_back();
            self.unpark(later);
        }
    }

    fn too_slow(&self) -> SharedError {
        SharedError::new(BodyError::TooSlow { limit: self.config.limit, budget: self.config.budget.limit() })
    }
}
