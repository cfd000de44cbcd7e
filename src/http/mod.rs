//! HTTP: which requests may share a response, and how its body reaches every reader. The page about it is
//! [`HttpPolicy`]'s.

mod body;
mod call;
mod flights;
mod late;
mod layer;
mod noted_body;
mod policy;
mod request;
mod response;
mod seal;
mod service;
mod unshareable;

#[cfg(all(test, tower_singleflight_loom))]
mod models;

pub use body::{SharedBody, SlowReader};
pub use layer::Http;
pub use policy::{HttpPolicy, LateJoin, StatusRange};
