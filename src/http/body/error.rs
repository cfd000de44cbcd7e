//! The errors that a shared body makes itself.

use std::{error::Error, fmt};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyError {
    /// The reader was evicted.
    TooSlow { limit: usize, budget: u64 },
    /// Upstream ended before the length that it had announced.
    CutShort { promised: u64, came: u64 },
    /// Upstream panicked while a reader polled it.
    Panicked,
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tower-singleflight: ")?;
        match self {
            Self::TooSlow { limit, budget } => write!(
                f,
                "this reader fell more than half of {limit} bytes behind the others and held them \
                 back, or behind at all with the budget of {budget} bytes spent"
            ),
            Self::CutShort { promised, came } => {
                write!(f, "the body was cut short after {came} of {promised} bytes")
            }
            Self::Panicked => f.write_str("the body panicked while one of its readers polled it"),
        }
    }
}

impl Error for BodyError {}
