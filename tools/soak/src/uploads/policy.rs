//! The policy of a storm.

use fastrand::Rng;
use std::time::Duration;
use tower_singleflight::{HttpPolicy, LateJoin, SlowReader};

/// Of a request's body. A longer one passes.
pub(super) const LIMIT: usize = 300;
/// As small as a budget is.
pub(super) const BUDGET: u64 = 64 << 10;

/// What a storm's layer is told.
#[derive(Clone, Debug)]
pub(super) struct Told {
    keep_start: u64,
    body_limit: u64,
    pub(super) late_joins: LateJoin,
    slow_reader: SlowReader,
    has_small_budget: bool,
    spill: Option<(u64, bool)>,
    pub(super) runs_to_completion: bool,
    pub(super) hold_for: Duration,
    pub(super) retries: u32,
}

impl Told {
    pub(super) fn any(rng: &mut Rng) -> Self {
        let millis = Duration::from_millis;
        Self {
            keep_start: [0, 1, 500, 8 << 10, 1 << 20][rng.usize(..5)],
            body_limit: [1 << 10, 8 << 10, 256 << 10][rng.usize(..3)],
            late_joins: [LateJoin::WhenFresh, LateJoin::Always, LateJoin::Never][rng.usize(..3)],
            slow_reader: match rng.u8(..4) {
                0 => SlowReader::Evict,
                1 => SlowReader::BackPressure,
                2 => SlowReader::Unbounded,
                _ => SlowReader::PauseThenEvict(millis(10)),
            },
            has_small_budget: rng.bool(),
            spill: rng.bool().then(|| ([64 << 10, 1 << 20][rng.usize(..2)], rng.u8(..3) == 0)),
            runs_to_completion: rng.bool(),
            hold_for: millis([0, 0, 1, 10][rng.usize(..4)]),
            retries: rng.u32(..2),
        }
    }

    pub(super) fn policy(&self) -> HttpPolicy {
        let policy = HttpPolicy::default()
            .keep_start(self.keep_start)
            .body_limit(self.body_limit)
            .late_joins(self.late_joins)
            .slow_reader(self.slow_reader)
            .share_large_bodies(true)
            .unshareable_memory(0, Duration::ZERO);
        let policy = if self.has_small_budget { policy.body_budget(BUDGET) } else { policy };
        #[cfg(feature = "spill")]
        if let Some((bytes, is_gone)) = self.spill {
            let policy = policy.spill(bytes);
            return if is_gone { policy.spill_to("/nowhere/that/is") } else { policy };
        }
        policy
    }

    /// Whether a reader of a body of so many bytes may be cut off, because it lags behind.
    pub(super) fn may_cut_off(&self, length: usize) -> bool {
        let cuts = matches!(self.slow_reader, SlowReader::Evict | SlowReader::PauseThenEvict(_));
        // A file that is full or cannot be opened is as none. What cannot be read back ends with an
        // error.
        (cuts || self.spill.is_some()) && (self.has_small_budget || length as u64 > self.body_limit)
    }

    /// Whether a body can be joined at any time, and how long one can be joined that takes as much
    /// of the budget as it can.
    pub(super) fn probe(&self) -> Option<usize> {
        let least = self.keep_start.min(self.body_limit).min(BUDGET / 2 - 1);
        (self.has_small_budget && self.late_joins == LateJoin::Always && least >= 500)
            .then_some(least as usize / 2)
    }
}
