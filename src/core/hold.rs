//! Holds the result of a flight after it landed, for the newcomers of a short time.

use crate::{
    core::{reentry::FlightNumber, slot::ErasedShard},
    sync::{Runtime, sleep_until},
};
use std::{sync::Weak, time::Duration};
use tokio::time::Instant;

/// Whether a flight's result stays in the table after it landed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Hold {
    /// It will stay for this long.
    For(Duration),
    /// It stays until this time.
    Until(Instant),
}

/// Thirty years. Replaces an end beyond the clock's range.
const FOR_EVER: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

impl Hold {
    #[cold]
    pub(super) fn boxed(time: Duration) -> Box<Self> {
        Box::new(Self::For(time))
    }

    /// Begins to hold a result that lands now. Returns when that ends.
    pub(super) fn begin(&mut self) -> Option<Instant> {
        let Self::For(time) = *self else { return None };
        let now = Instant::now();
        let until = now.checked_add(time).unwrap_or_else(|| now + FOR_EVER);
        *self = Self::Until(until);
        Some(until)
    }
}

/// A timer that has to be spawned once nothing is locked.
pub(crate) struct HoldTimer {
    pub(super) runtime: Runtime,
    pub(super) until: Instant,
}

impl HoldTimer {
    /// Spawns the task that drops a held result when its time is over. Call it under no lock.
    pub(super) fn spawn<T: Send + Sync + 'static>(
        self,
        shard: Weak<dyn ErasedShard<T>>,
        index: u32,
        number: FlightNumber,
    ) {
        let (until, end) = (self.until, EndHold { shard, index, number });
        self.runtime.spawn(async move {
            let _end = end;
            sleep_until(until).await;
        });
    }
}

/// Drops the held result when it is dropped: at the end of the time, or with its runtime. It does
/// not keep the table.
struct EndHold<T> {
    shard: Weak<dyn ErasedShard<T>>,
    index: u32,
    number: FlightNumber,
}

impl<T> Drop for EndHold<T> {
    fn drop(&mut self) {
        if let Some(shard) = self.shard.upgrade() {
            shard.end_hold(self.index, self.number);
        }
    }
}
