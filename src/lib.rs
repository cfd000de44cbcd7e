//! Coalesces identical concurrent requests onto one inner call.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod carrier;
mod context;
mod error;
mod flight;
mod future;
mod group;
mod handle;
#[cfg(feature = "http")]
mod http;
mod layer;
mod mode;
mod panics;
mod scope;
mod seats;
mod service;
mod site;
mod stats;
mod sync;
mod table;
mod trace;
mod waiter;

#[cfg(feature = "http")]
pub use self::http::{Http, HttpPolicy, LateJoin, SharedBody, SlowReader};
pub use error::{BoxError, SharedError};
pub use future::ResponseFuture;
pub use group::{Group, Outcome, Role, Run, Ticket};
pub use handle::Handle;
pub use layer::SingleflightLayer;
pub use mode::{ByKey, ErrorMode, Mode, OwnErrors, SharedErrors};
pub use service::Singleflight;
pub use stats::{PassReason, Stats, VetoReason};
