//! An error that every waiter of a flight can hold.

use std::{error::Error, fmt, sync::Arc};

/// A boxed error, as tower has it.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// One error, held by every waiter of the flight that ended with it.
///
/// Its `Display` and `Debug` are those of the error it wraps, and its [`source`](Error::source) is that error itself, as
/// with `axum::Error`. So whatever walks the chain finds the error: `anyhow`'s `downcast_ref` and `chain`, tonic's
/// `Status::from_error`. A printer of whole chains prints its text twice.
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
/// `BoxError::is` looks at the outermost error alone, which is the `SharedError`. A handler that walks the chain works with
/// the layer and without it:
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
/// # assert_eq!(handle(SharedError::new(Elapsed::new()).into()).await, StatusCode::REQUEST_TIMEOUT);
/// # assert_eq!(handle("no".into()).await, StatusCode::INTERNAL_SERVER_ERROR);
/// # }
/// ```
#[derive(Clone)]
pub struct SharedError(Arc<dyn Error + Send + Sync>);

impl SharedError {
    /// Wraps an error. A `SharedError` that comes in a box is taken out of it, not wrapped twice.
    pub fn new(error: impl Into<BoxError>) -> Self {
        match error.into().downcast::<Self>() {
            Ok(shared) => *shared,
            Err(error) => Self(error.into()),
        }
    }

    /// Whether the wrapped error is an `E`.
    pub fn is<E: Error + 'static>(&self) -> bool {
        self.0.is::<E>()
    }

    /// The wrapped error, if it is an `E`.
    pub fn downcast_ref<E: Error + 'static>(&self) -> Option<&E> {
        self.0.downcast_ref()
    }

    /// The wrapped error.
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
