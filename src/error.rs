//! An error that every waiter of a flight can hold.

use std::{error::Error, fmt, sync::Arc};

/// A boxed error: the same type as `tower::BoxError`.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// The error of a flight, shared by all its waiters.
///
/// It displays like the error that it wraps, and its [`source`](Error::source) is that error
/// itself, as with `axum::Error`. So code that walks the chain of sources finds the error:
/// `anyhow`'s `downcast_ref` and `chain`, and tonic's `Status::from_error`. A program that prints a
/// whole chain prints the text twice.
///
/// ```
/// use tower_singleflight::SharedError;
///
/// let error = SharedError::new(std::io::Error::other("connection reset"));
/// let another_waiters = error.clone();
/// assert_eq!(another_waiters.to_string(), "connection reset");
/// assert!(another_waiters.downcast_ref::<std::io::Error>().is_some());
/// ```
///
/// # Behind a `BoxError`
///
/// `BoxError::is` looks only at the outermost error, which is the `SharedError`. A handler that
/// walks the chain works both with the layer and without it:
///
/// ```
/// use axum::http::StatusCode;
/// use std::{error::Error, iter::successors};
/// use tower::{BoxError, timeout::error::Elapsed};
/// # use tower_singleflight::SharedError;
///
/// // For axum's `HandleErrorLayer`.
/// async fn handle(err: BoxError) -> StatusCode {
///     if successors(Some(&*err as &dyn Error), |e| (*e).source()).any(|e| e.is::<Elapsed>()) {
///         StatusCode::REQUEST_TIMEOUT
///     } else {
///         StatusCode::INTERNAL_SERVER_ERROR
///     }
/// }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// # assert_eq!(handle(Elapsed::new().into()).await, StatusCode::REQUEST_TIMEOUT);
/// # let error = SharedError::new(Elapsed::new()).into();
/// # assert_eq!(handle(error).await, StatusCode::REQUEST_TIMEOUT);
/// # assert_eq!(handle("no".into()).await, StatusCode::INTERNAL_SERVER_ERROR);
/// # }
/// ```
#[derive(Clone)]
pub struct SharedError(Arc<dyn Error + Send + Sync>);

impl SharedError {
    /// Wraps an error. If the error is a boxed `SharedError`, this unboxes it instead of wrapping
    /// it again.
    pub fn new(error: impl Into<BoxError>) -> Self {
        match error.into().downcast::<Self>() {
            Ok(shared) => *shared,
            Err(error) => Self(error.into()),
        }
    }

    /// Returns whether the wrapped error is an `E`.
    pub fn is<E: Error + 'static>(&self) -> bool {
        self.0.is::<E>()
    }

    /// Returns the wrapped error, if it is an `E`.
    pub fn downcast_ref<E: Error + 'static>(&self) -> Option<&E> {
        self.0.downcast_ref()
    }

    /// Returns the wrapped error.
    pub fn get_ref(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.0
    }
}

impl fmt::Debug for SharedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for SharedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Error for SharedError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}
