//! HTTP: which requests may share a response, and how its body reaches every reader.

mod admit;
mod body;
mod cache_control;
mod field;
mod layer;
mod partition;
mod policy;
mod service;
mod vary;
mod veto;

pub use body::{SharedBody, SlowReader};
pub use layer::Http;
pub use policy::{HttpPolicy, LateJoin};
