//! What the core takes from `std` and tokio, or from loom while its model is checked.

#[cfg(tower_singleflight_loom)]
pub(crate) use loom::thread_local;
#[cfg(not(tower_singleflight_loom))]
pub(crate) use std::thread_local;

pub(crate) use runtime::{Runtime, current_runtime};

use std::sync::PoisonError;

#[cfg(tower_singleflight_loom)]
use loom::sync as imp;
#[cfg(not(tower_singleflight_loom))]
use std::sync as imp;

pub(crate) use imp::MutexGuard;

/// A mutex that ignores poison: what it guards is never left half-changed, because no
/// user code but `Hash` and `Eq` runs under any lock of this crate.
#[derive(Debug)]
pub(crate) struct Mutex<T>(imp::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(imp::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

#[cfg(not(tower_singleflight_loom))]
mod runtime {
    /// Where a flight can be given a task of its own.
    #[derive(Debug)]
    pub(crate) struct Runtime(tokio::runtime::Handle);

    pub(crate) fn current_runtime() -> Option<Runtime> {
        tokio::runtime::Handle::try_current().ok().map(Runtime)
    }

    impl Runtime {
        /// On a runtime that is shut down, the task is dropped here and now: call it under no lock.
        pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
            drop(self.0.spawn(task));
        }
    }
}

#[cfg(tower_singleflight_loom)]
mod runtime {
    #[derive(Debug)]
    pub(crate) struct Runtime;

    /// Every model runs "inside a runtime": each task is a loom thread.
    pub(crate) fn current_runtime() -> Option<Runtime> {
        Some(Runtime)
    }

    impl Runtime {
        pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
            drop(loom::thread::spawn(move || loom::future::block_on(task)));
        }
    }
}
