//! Coalesces identical concurrent requests onto one inner call.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod carrier;
mod context;
mod error;
mod flight;
mod group;
mod panics;
mod seats;
mod stats;
mod sync;
mod table;
mod trace;
mod waiter;

pub use error::{BoxError, SharedError};
pub use group::{Group, Outcome, Role, Run, Ticket};
pub use stats::{PassReason, Stats, VetoReason};

#[cfg(tower_singleflight_loom)]
#[doc(hidden)]
pub use sync::model;
