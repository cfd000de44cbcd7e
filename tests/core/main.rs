//! The promises of `Group`, one scenario a test.
#![allow(missing_docs, reason = "a test says what it tests in its name")]

mod bounds;
mod cancel;
mod counts;
mod forget;
mod go;
mod lost;
mod order;
mod panics;
mod quiet;
mod reentry;
mod runtime;
#[path = "../support/mod.rs"]
mod shared;
#[cfg(feature = "tracing")]
mod spans;
mod util;
