//! What is told to the recorder of `metrics` and to the subscriber of `tracing`.
#![allow(missing_docs, reason = "a test says what it tests in its name")]

mod agree;
mod hostile;
mod http;
mod names;
mod numbers;
mod queries;
#[path = "../support/queries.rs"]
mod reported;
mod runbook;
mod secrets;
#[path = "../support/mod.rs"]
mod shared;
mod spans;
mod support;
