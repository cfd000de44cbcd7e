//! What a fleet promises: several replicas in one process, over an engine in the process, with a
//! clock that stands still.

mod alone;
mod coalesce;
mod faults;
#[cfg(all(feature = "metrics", feature = "tracing"))]
mod observe;
#[cfg(all(feature = "metrics", feature = "tracing"))]
#[path = "../support/queries.rs"]
mod reported;
mod runbook;
mod storm;
mod support;
mod takeover;
mod writes;
