//! Whether the memory grew.

use cap::Cap;
use std::{alloc::System, fmt};

/// Counts the bytes that are allocated. What the system gives to the allocator says little: its
/// arenas keep holes, and grow for an hour.
#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// What the last quarter may have above the first, in bytes: for the report, whose sets of what
/// came up grow, and for what a runtime keeps. Of a run of an hour, which makes some five million
/// calls, it is a fifth of a byte a call.
const TOLERANCE: usize = 1 << 20;
/// Of the samples, that many in a hundred are warm-up.
const WARM_UP: usize = 20;
/// Of the rest.
const FEWEST: usize = 6;

/// The bytes allocated, each time that a round had ended and everything was calm.
#[derive(Default)]
pub(crate) struct Memory(Vec<usize>);

pub(crate) enum Verdict {
    TooFew,
    Flat(Change),
    Grew(Change),
}

pub(crate) struct Change {
    first: usize,
    last: usize,
}

impl Memory {
    pub(crate) fn sample(&mut self) {
        self.0.push(ALLOCATOR.allocated());
    }

    pub(crate) fn latest(&self) -> usize {
        self.0.last().copied().unwrap_or_default()
    }

    pub(crate) fn verdict(&self) -> Verdict {
        let warm = &self.0[(self.0.len() * WARM_UP).div_ceil(100)..];
        if warm.len() < FEWEST {
            return Verdict::TooFew;
        }
        let quarter = warm.len() / 4;
        let (first, last) = (median(&warm[..quarter]), median(&warm[warm.len() - quarter..]));
        let change = Change { first, last };
        if last > first + TOLERANCE { Verdict::Grew(change) } else { Verdict::Flat(change) }
    }
}

fn median(samples: &[usize]) -> usize {
    let mut samples = samples.to_vec();
    samples.sort_unstable();
    samples[samples.len() / 2]
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} in the first quarter after warm-up, {} in the last; {} more are allowed",
            mebibytes(self.first),
            mebibytes(self.last),
            mebibytes(TOLERANCE)
        )
    }
}

pub(crate) fn mebibytes(bytes: usize) -> String {
    format!("{:.2} MiB", bytes as f64 / f64::from(1 << 20))
}
