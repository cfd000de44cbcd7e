//! The types that spell the type of a layer or a service: where its keys come from, and what errors its callers get.
//!
//! ```
//! use tower_singleflight::{Singleflight, SingleflightLayer, mode};
//!
//! struct Users<S> {
//!     layer: SingleflightLayer<mode::ByKey<u32, u32>>,
//!     service: Singleflight<S, mode::ByKey<u32, u32>, mode::SharedErrors>,
//! }
//! ```

use crate::error::{BoxError, SharedError};
use std::{convert::Infallible, fmt, hash::Hash, marker::PhantomData};

#[cfg(feature = "http")]
pub use crate::http::Http;

/// How a layer finds the key of a request. Sealed: [`ByKey`] and, for HTTP, `Http`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say how a `SingleflightLayer` finds its keys",
    note = "the type of a layer is `SingleflightLayer<mode::Http<Key>>` after `new`, and \
            `SingleflightLayer<mode::ByKey<Request, Key>>` after `by_key`"
)]
pub trait Mode: Clone + sealed::Sealed + 'static {
    /// What the layer's closures see of a request.
    type Head;
    /// What the closure returns.
    type Key: Hash + Eq + Send + Sync + 'static;

    /// The name of a part of a flight's key.
    #[doc(hidden)]
    fn part(&self, _: usize) -> Option<&str> {
        None
    }

    /// For a group of its own.
    #[doc(hidden)]
    fn apart(&self) -> Self {
        self.clone()
    }
}

/// Any request, and responses that are `Clone`: the mode of
/// [`SingleflightLayer::by_key`](crate::SingleflightLayer::by_key).
pub struct ByKey<Req, K>(PhantomData<fn(&Req) -> K>);

impl<Req, K> ByKey<Req, K> {
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<Req, K> Clone for ByKey<Req, K> {
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl<Req, K> fmt::Debug for ByKey<Req, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ByKey")
    }
}

impl<Req: 'static, K: Hash + Eq + Send + Sync + 'static> Mode for ByKey<Req, K> {
    type Head = Req;
    type Key = K;
}

/// What every waiter of a flight can have: any type that is `Clone`. It is there for what the compiler says about
/// those that are not.
#[diagnostic::on_unimplemented(
    message = "the response `{Self}` cannot be given to every waiter of a flight",
    label = "this response is not `Clone`",
    note = "`by_key` clones the response for every follower: derive `Clone` for it, or call `.map_response(Arc::new)` \
            below the layer",
    note = "for HTTP use `SingleflightLayer::new`, which makes the body of a response `Clone`"
)]
pub trait FanOut: Clone {}

#[diagnostic::do_not_recommend]
impl<T: Clone> FanOut for T {}

/// What a layer makes of the inner service's errors. Sealed: [`OwnErrors`] and [`SharedErrors`].
#[diagnostic::on_unimplemented(
    message = "the inner service's error `{E}` cannot be given to every waiter of a flight",
    label = "this error is not `Clone + Send + Sync + 'static`",
    note = "call `.shared_errors()` on the `SingleflightLayer`: every waiter then gets a `SharedError`"
)]
pub trait ErrorMode<E>: sealed::Sealed + 'static {
    /// What the callers get.
    type Error: Clone + Send + Sync + 'static;

    #[doc(hidden)]
    fn convert(error: E) -> Self::Error;
}

/// Callers get the inner service's own error, which is `Clone`. The default.
#[derive(Clone, Copy, Debug)]
pub struct OwnErrors(Infallible);

#[diagnostic::do_not_recommend]
impl<E: Clone + Send + Sync + 'static> ErrorMode<E> for OwnErrors {
    type Error = E;

    fn convert(error: E) -> E {
        error
    }
}

/// Callers get a [`SharedError`]: see [`SingleflightLayer::shared_errors`](crate::SingleflightLayer::shared_errors).
#[derive(Clone, Copy, Debug)]
pub struct SharedErrors(Infallible);

impl<E: Into<BoxError>> ErrorMode<E> for SharedErrors {
    type Error = SharedError;

    fn convert(error: E) -> SharedError {
        SharedError::new(error)
    }
}

pub(crate) mod sealed {
    pub trait Sealed {}
    impl<Req, K> Sealed for super::ByKey<Req, K> {}
    impl Sealed for super::OwnErrors {}
    impl Sealed for super::SharedErrors {}
}
