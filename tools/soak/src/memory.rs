//! Whether the memory grew.

use std::{fmt, time::Duration};

/// What the last quarter may have above the first, in KiB.
///
/// An allocator gives back neither all nor at once what the busiest moment took, and every round
/// draws another one: from round to round it goes up and down by 10 MiB and more, without a trend.
/// Of a run of an hour, which makes above ten million calls, the tolerance is less than two bytes a
/// call.
const TOLERANCE: u64 = 16 << 10;
/// The same before the allocator has met the busiest moments.
const EARLY_TOLERANCE: u64 = 64 << 10;
const EARLY: Duration = Duration::from_secs(150);
/// Of the samples, that many in a hundred are warm-up.
const WARM_UP: usize = 20;
/// Of the rest.
const FEWEST: usize = 6;

/// In KiB, each taken when a round had ended and everything was calm.
#[derive(Default)]
pub(crate) struct Memory(Vec<u64>);

pub(crate) enum Verdict {
    TooFew,
    Flat(Change),
    Grew(Change),
}

pub(crate) struct Change {
    first: u64,
    last: u64,
    tolerance: u64,
}

impl Memory {
    pub(crate) fn sample(&mut self, now: u64) {
        self.0.push(now);
    }

    pub(crate) fn latest(&self) -> Option<u64> {
        self.0.last().copied()
    }

    /// After a run of so long.
    pub(crate) fn verdict(&self, run: Duration) -> Verdict {
        let warm = &self.0[(self.0.len() * WARM_UP).div_ceil(100)..];
        if warm.len() < FEWEST {
            return Verdict::TooFew;
        }
        let quarter = warm.len() / 4;
        let (first, last) = (median(&warm[..quarter]), median(&warm[warm.len() - quarter..]));
        let tolerance = if run < EARLY { EARLY_TOLERANCE } else { TOLERANCE };
        let change = Change { first, last, tolerance };
        if last > first + tolerance { Verdict::Grew(change) } else { Verdict::Flat(change) }
    }
}

fn median(samples: &[u64]) -> u64 {
    let mut samples = samples.to_vec();
    samples.sort_unstable();
    samples[samples.len() / 2]
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last, tolerance } = self;
        write!(
            f,
            "{} in the first quarter after warm-up, {} in the last; {} more are allowed",
            mebibytes(*first),
            mebibytes(*last),
            mebibytes(*tolerance)
        )
    }
}

pub(crate) fn mebibytes(kib: u64) -> String {
    format!("{:.1} MiB", kib as f64 / 1024.0)
}
