//! The Tower layer by key, stepped by hand: one scenario a test.

mod bounds;
mod coalesce;
mod completion;
mod errors;
mod filter;
mod followers_retry;
mod forget;
mod go_on;
mod groups;
mod handle;
mod hold_for;
mod join_within;
mod lost;
mod max_waiters;
mod near_misses;
mod panics;
mod quiet;
mod races;
mod readiness;
mod reentry;
#[path = "../support/mod.rs"]
mod shared;
mod storm;
mod support;
mod wait_at_most;
mod wakeups;
