//! The pauses of upstream: why they begin, and when they end.

use std::time::Duration;

use tokio::time::Instant;

use super::{BodyConfig, SlowReader};
use crate::sync::now;

/// How long readers wait for the disk if they never wait for readers.
const DISK_PATIENCE: Duration = Duration::from_secs(1);

/// Upstream is not polled, so that slow readers catch up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pause {
    cause: Cause,
    began: Instant,
    /// A reader that took nothing since this time may have stopped reading, or the disk may hang.
    watched: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The window of the slowest reader was full. The pause ends when it has caught up by half of
    /// it.
    Window,
    /// The budget of all bodies is spent. The pause ends when it is no longer spent.
    Budget,
    /// The window of the slowest reader is full, or the budget is spent, and the disk is slower
    /// than upstream. The pause ends when enough is written.
    Disk,
}

/// How long the disk may take with a batch before it counts as failed. `None`: as long as it likes.
pub(super) fn disk_patience(config: &BodyConfig) -> Option<Duration> {
    match config.slow {
        SlowReader::PauseThenEvict(pause) => Some(pause),
        SlowReader::Evict => Some(DISK_PATIENCE),
        SlowReader::BackPressure | SlowReader::Unbounded => None,
    }
}

impl Pause {
    pub(super) fn new(cause: Cause) -> Self {
        let began = now();
        Self { cause, began, watched: began }
    }

    pub(super) fn cause(&self) -> Cause {
        self.cause
    }

    /// How long slow readers have held the others back so far. A pause for the budget or for the
    /// disk does not count: they did not cause it.
    pub(super) fn held_back(&self) -> Duration {
        match self.cause {
            Cause::Window => now().duration_since(self.began),
            Cause::Budget | Cause::Disk => Duration::ZERO,
        }
    }

    pub(super) fn watched_from_now(self) -> Self {
        Self { watched: now(), ..self }
    }

    /// The time to evict readers, or to give up a disk that has written nothing. `held_back` is how
    /// long slow readers held the others back in earlier pauses. `None`: never.
    pub(super) fn deadline(&self, config: &BodyConfig, held_back: Duration) -> Option<Instant> {
        let pause = match (config.slow, self.cause) {
            (SlowReader::PauseThenEvict(pause), _) => pause,
            (_, Cause::Disk) => disk_patience(config)?,
            _ => return None,
        };
        // A time beyond the clock never comes.
        let look = self.watched.checked_add(pause);
        look.into_iter().chain(self.end(config, held_back)).min()
    }

    /// True if slow readers have held the others back for as long as they may.
    pub(super) fn is_too_long(&self, config: &BodyConfig, held_back: Duration) -> bool {
        self.end(config, held_back).is_some_and(|end| end <= now())
    }

    fn end(&self, config: &BodyConfig, held_back: Duration) -> Option<Instant> {
        match self.cause {
            Cause::Window => self.began.checked_add(config.hold_back.saturating_sub(held_back)),
            Cause::Budget | Cause::Disk => None,
        }
    }
}
