//! `tower-singleflight` beside the other crates that coalesce: the same calls, in one process, by
//! turns.
//!
//! A **contender** is one way to make a call, a **scenario** a situation in which each of them is
//! measured. The contenders of a scenario take turns in shuffled order, round after round, and what
//! is reported are ratios within a round: so whatever else the machine does meanwhile, it does to
//! all of them.

mod clock;
mod contender;
mod contenders;
mod meter;
mod options;
mod picture;
mod report;
mod rounds;
mod runtime;
mod scenario;
mod setting;
mod spread;
mod work;

use options::Options;
use std::process::ExitCode;

pub use meter::{Counts, Meter};

/// Runs what the command line asks for: the scenarios that are counted if there is a meter, else
/// those that are timed.
pub fn main(meter: Option<Meter>) -> ExitCode {
    if let Err(error) =
        Options::from_args(&scenario::NAMES).and_then(|options| scenario::run(&options, meter))
    {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
