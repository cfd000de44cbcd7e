//! An error that every waiter of a flight can hold.

use std::{error::Error, fmt, sync::Arc};

/// A boxed error, as tower has it.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// One error, held by every waiter of the flight that ended with it.
///
/// Its `Display`, `Debug` and [`source`](Error::source) are those of the error it wraps: nothing is
/// added to the chain, so logs read the same with and without the layer.
///
/// ```
/// use tower_singleflight::SharedError;
///
/// let error = SharedError::new(std::io::Error::other("connection reset"));
/// let another_waiters = error.clone();
/// assert_eq!(another_waiters.to_string(), "connection reset");
/// assert!(another_waiters.downcast_ref::<std::io::Error>().is_some());
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
        self.0.source()
    }
}
