//! Requests with a body: `SingleflightLayer::with_body`.

mod layer;
mod read;
mod request_body;
mod service;

pub use layer::HttpBody;
pub use request_body::{ReadBody, RequestBody};
