//! The layer for any [`Service`](tower_service::Service): its settings, the services that it makes,
//! and their calls.

pub(crate) mod call;
pub(crate) mod future;
pub(crate) mod handle;
#[cfg(feature = "fleet")]
pub(crate) mod hashed_bytes;
pub(crate) mod job;
pub(crate) mod job_future;
pub(crate) mod keys;
pub(crate) mod mode;
pub(crate) mod patience;
pub(crate) mod service;
pub(crate) mod settings;
pub(crate) mod shared;
pub(crate) mod singleflight_layer;
pub(crate) mod tables;
