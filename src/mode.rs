//! The types that spell the type of a layer or a service: where its keys come from, and which errors its callers get.
//!
//! ```
//! use tower_singleflight::{Singleflight, SingleflightLayer, mode};
//!
//! struct Users<S> {
//!     layer: SingleflightLayer<mode::ByKey<u32, u32>>,
//!     service: Singleflight<S, mode::ByKey<u32, u32>, mode::SharedErrors>,
//! }
//! ```

#[cfg(feature = "http")]
pub use crate::http::Http;
pub use crate::layer::mode::{ByKey, CallMode, ErrorMode, FanOut, Mode, OwnErrors, SharedErrors};
