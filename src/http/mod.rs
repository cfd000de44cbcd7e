//! HTTP: which requests share a response, and how its body reaches every reader. [`HttpPolicy`] documents the rules.

mod body;
mod call;
mod fetch;
mod flights;
mod key;
mod late;
mod layer;
mod noted_body;
mod path;
mod policy;
mod request;
mod response;
mod route;
mod seal;
mod service;
mod unshareable;

#[cfg(all(test, tower_singleflight_loom))]
mod models;

pub use body::{SharedBody, SlowReader};
pub use layer::Http;
pub use policy::{HttpPolicy, LateJoin, StatusRange};
