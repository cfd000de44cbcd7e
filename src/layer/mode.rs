//! Where a layer's keys come from, and which errors its callers get.

use crate::{
    error::{BoxError, SharedError},
    layer::keys::{Extract, Keys},
};
use std::{convert::Infallible, fmt, hash::Hash};

/// How a layer finds the key of a request. Sealed: it is implemented by [`ByKey`] and, for HTTP, by
/// `Http` and `HttpBody`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say how a `SingleflightLayer` finds its keys",
    note = "the type of a layer is `SingleflightLayer<mode::Http<Key>>` after `new`, \
            `SingleflightLayer<mode::HttpBody<Key>>` after `with_body`, and \
            `SingleflightLayer<mode::ByKey<Request, Key>>` after `by_key`"
)]
pub trait Mode: Clone + sealed::Mode<<Self as Mode>::Head, <Self as Mode>::Key> + 'static {
    /// What the layer's closures see of a request.
    type Head: 'static;
    /// What the closure returns.
    type Key: Hash + Eq + Send + Sync + 'static;
}

/// Any request, and responses that are `Clone`: the mode of
/// [`SingleflightLayer::by_key`](crate::SingleflightLayer::by_key).
pub struct ByKey<Req, K> {
    pub(crate) extract: Extract<Req, K>,
    pub(crate) keys: Keys<Req, K>,
}

impl<Req, K> Clone for ByKey<Req, K> {
    fn clone(&self) -> Self {
        Self { extract: self.extract.clone(), keys: self.keys.clone() }
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

impl<Req: 'static, K: Hash + Eq + Send + Sync + 'static> sealed::Mode<Req, K> for ByKey<Req, K> {
    fn keys(&self) -> &Keys<Req, K> {
        &self.keys
    }

    fn keys_mut(&mut self) -> &mut Keys<Req, K> {
        &mut self.keys
    }

    fn in_separate_group(&self) -> Self {
        Self { extract: self.extract.clone(), keys: self.keys.in_separate_group() }
    }
}

/// A response that every waiter of a flight can have: any type that is `Clone`.
///
/// This trait exists to give a readable compiler error for types that are not `Clone`.
#[diagnostic::on_unimplemented(
    message = "the response `{Self}` cannot be given to every waiter of a flight",
    label = "this response is not `Clone`",
    note = "`by_key` clones the response for every follower: derive `Clone` for it, or call \
        `.map_response(Arc::new)` below the layer",
    note = "for HTTP use `SingleflightLayer::new`, which makes the body of a response `Clone`"
)]
pub trait FanOut: Clone {}

#[diagnostic::do_not_recommend]
impl<T: Clone> FanOut for T {}

/// Which errors callers get. Sealed: it is implemented by [`OwnErrors`] and [`SharedErrors`].
#[diagnostic::on_unimplemented(
    message = "the inner service's error `{E}` cannot be given to every waiter of a flight",
    label = "this error is not `Clone + Send + Sync + 'static`",
    note = "call `.shared_errors()` on the `SingleflightLayer`: every waiter then gets a \
        `SharedError`"
)]
pub trait ErrorMode<E>: sealed::ErrorMode<E, <Self as ErrorMode<E>>::Error> + 'static {
    /// The error that callers get.
    type Error: Clone + Send + Sync + 'static;
}

/// Callers get the inner service's own error, which is `Clone`. The default.
#[derive(Clone, Copy, Debug)]
pub struct OwnErrors(Infallible);

#[diagnostic::do_not_recommend]
impl<E: Clone + Send + Sync + 'static> ErrorMode<E> for OwnErrors {
    type Error = E;
}

#[diagnostic::do_not_recommend]
impl<E: Clone + Send + Sync + 'static> sealed::ErrorMode<E, E> for OwnErrors {
    fn convert(error: E) -> E {
        error
    }
}

/// Callers get a [`SharedError`]: see
/// [`SingleflightLayer::shared_errors`](crate::SingleflightLayer::shared_errors).
#[derive(Clone, Copy, Debug)]
pub struct SharedErrors(Infallible);

impl<E: Into<BoxError>> ErrorMode<E> for SharedErrors {
    type Error = SharedError;
}

impl<E: Into<BoxError>> sealed::ErrorMode<E, SharedError> for SharedErrors {
    fn convert(error: E) -> SharedError {
        SharedError::new(error)
    }
}

/// Where a layer with this mode makes services of `Req`. Sealed: it is implemented if
/// [`Singleflight<S, Self, E>`](crate::Singleflight) is a `Service<Req>`.
///
/// This trait exists to spell the type of a [`ResponseFuture`](crate::ResponseFuture).
pub trait CallMode<S, Req, E>: sealed::CallMode<S, Req, E> {}

impl<M, S, Req, E> CallMode<S, Req, E> for M where M: sealed::CallMode<S, Req, E> {}

/// What the crate itself needs of the public traits. Users cannot name these traits, so they cannot
/// implement any mode.
pub(crate) mod sealed {
    use super::Keys;
    use crate::layer::job::Job;

    pub trait Mode<Head, Key> {
        fn keys(&self) -> &Keys<Head, Key>;

        fn keys_mut(&mut self) -> &mut Keys<Head, Key>;

        /// Returns the same mode with a group of its own.
        fn in_separate_group(&self) -> Self;

        /// Returns the name of a part of a flight's key, for traces.
        fn part_name(&self, _part: usize) -> Option<&str> {
            None
        }
    }

    pub trait ErrorMode<From, To> {
        fn convert(error: From) -> To;
    }

    pub trait CallMode<S, Req, E> {
        /// One call of `S`.
        type Call: Job;
    }
}
