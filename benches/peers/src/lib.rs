//! `tower-singleflight` beside the other crates that coalesce: the same calls, in one process, by turns.
//!
//! A **contender** is one way to make a call, a **scenario** a situation in which each of them is measured. The
//! contenders of a scenario take turns in shuffled order, round after round, and what is reported are ratios within a
//! round: so whatever else the machine does meanwhile, it does to all of them.

mod clock;
mod contender;
mod options;
mod picture;
mod report;
mod rounds;
mod runtime;
mod scenario;
mod setting;
mod spread;
mod work;

pub use options::Options;
pub use scenario::{Counts, Meter, run};
