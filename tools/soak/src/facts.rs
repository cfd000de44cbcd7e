//! What is true of a call, and of the calls that its work may answer.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

/// One call. Its work's answer carries them, so that every receiver can be held against them.
pub(crate) struct Facts {
    pub(crate) id: u64,
    pub(crate) key: u32,
    pub(crate) user: u32,
    /// By [`World::now`](crate::world::World::now).
    began: u64,
    began_at: Instant,
    /// Flights that were led before this must not answer it: they were forgotten by then.
    floor: u64,
    /// When the call was made, and its flight open at the latest, unless it led a lost one anew.
    made: OnceLock<(u64, Instant)>,
    /// When its work began.
    begun: OnceLock<(u64, Instant)>,
    /// When somebody first had the answer, and its flight was over.
    seen: AtomicU64,
    seen_at: OnceLock<Instant>,
    receivers: AtomicUsize,
}

/// What the layer was told.
#[derive(Clone, Copy, Default)]
pub(crate) struct Limits {
    pub(crate) max_waiters: Option<usize>,
    pub(crate) join_within: Option<Duration>,
    /// Later calls may have an answer for this long after its flight landed.
    pub(crate) hold_for: Option<Duration>,
    /// A call may lead a flight long after it was made, when its patience has ended.
    pub(crate) re_elects: bool,
}

impl Facts {
    pub(crate) fn new(id: u64, (key, user): (u32, u32), began: u64, floor: u64) -> Self {
        Self {
            id,
            key,
            user,
            began,
            began_at: Instant::now(),
            floor,
            made: OnceLock::new(),
            begun: OnceLock::new(),
            seen: AtomicU64::new(u64::MAX),
            seen_at: OnceLock::new(),
            receivers: AtomicUsize::new(0),
        }
    }

    pub(crate) fn made(&self, now: u64) {
        self.made.get_or_init(|| (now, Instant::now()));
    }

    pub(crate) fn begun(&self, now: u64) {
        self.begun.get_or_init(|| (now, Instant::now()));
    }

    /// Whether this call may have what the work of call `from` brought, now that it has.
    pub(crate) fn accept(&self, from: &Self, now: u64, limits: Limits) -> Result<(), String> {
        let receivers = from.receivers.fetch_add(1, SeqCst) + 1;
        let seen = from.seen.fetch_min(now, SeqCst);
        let seen_at = *from.seen_at.get_or_init(Instant::now);
        let was_held = limits
            .hold_for
            .is_some_and(|time| self.began_at.saturating_duration_since(seen_at) < time);
        let wrong = if (self.key, self.user) != (from.key, from.user) {
            "an answer that is not its own"
        } else if self.began > seen && !was_held {
            "an answer that somebody had before it was made"
        } else if from.was_open_by(limits).is_some_and(|open| open < self.floor) {
            "an answer that was forgotten before it was made"
        } else if self.is_too_late_for(from, limits) {
            "an answer of a flight that was too old to join"
        } else if limits.max_waiters.is_some_and(|most| receivers > most) {
            "an answer that more have than may wait for it"
        } else {
            return Ok(());
        };
        Err(format!("{} got {wrong}: {}, which {receivers} have by now", self.tell(), from.tell()))
    }

    /// When the flight that it led was open at the latest.
    fn was_open_by(&self, limits: Limits) -> Option<u64> {
        let begun = self.begun.get().filter(|_| limits.re_elects);
        begun.or(self.made.get()).map(|(now, _)| *now)
    }

    /// The flight was open when its leader's call returned, and a lost one was led anew before the
    /// work of that began.
    fn is_too_late_for(&self, from: &Self, limits: Limits) -> bool {
        let made = from.made.get().map(|(_, at)| *at);
        let Some(((made, begun), within)) =
            made.zip(from.begun.get().map(|(_, at)| *at)).zip(limits.join_within)
        else {
            return false;
        };
        self.began_at.saturating_duration_since(made.max(begun)) >= within
    }

    pub(crate) fn tell(&self) -> String {
        format!("call {} {}", self.id, self.name())
    }

    /// Whose answer it is, and to what.
    pub(crate) fn name(&self) -> String {
        format!("for key {} of user {}", self.key, self.user)
    }
}
