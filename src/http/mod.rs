//! HTTP: which requests share a response, and how its body reaches every reader. [`HttpPolicy`]
//! documents the rules.

mod body;
mod call;
mod fetch;
#[cfg(feature = "fleet")]
mod fleet;
mod flights;
mod guarded_body;
mod key;
mod late;
mod layer;
mod path;
mod policy;
mod request;
mod response;
mod route;
mod seal;
mod sending;
mod service;
mod settings;
mod unshareable;
mod with_body;

#[cfg(all(test, tower_singleflight_loom))]
mod models;

pub use body::{SharedBody, SlowReader};
pub use layer::Http;
pub use policy::{HttpPolicy, LateJoin, StatusRange};
pub use with_body::{HttpBody, ReadBody, RequestBody};
