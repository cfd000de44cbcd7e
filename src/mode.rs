//! Type parameters of layers, services and response futures: where the keys come from, and which
//! errors callers get.
//!
//! You need these names to write the type of a layer or a service, for example in a struct:
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
pub use crate::http::{Http, HttpBody};
pub use crate::layer::mode::{ByKey, CallMode, ErrorMode, FanOut, Mode, OwnErrors, SharedErrors};
