//! HTTP: which requests may share a response, and how its body reaches every reader. The page about it is
//! [`HttpPolicy`]'s.

mod admit;
mod answer;
mod body;
mod cache_control;
mod cache_status;
mod call;
mod field;
mod flights;
mod late;
mod layer;
mod memory;
mod noted;
mod partition;
mod policy;
mod record;
mod request_body;
mod seal;
mod service;
mod vary;
mod veto;

#[cfg(all(test, tower_singleflight_loom))]
mod models;

pub use body::{SharedBody, SlowReader};
pub use layer::Http;
pub use policy::{HttpPolicy, LateJoin, StatusRange};
