//! A runtime that goes down under the flights that it carries.

use tokio::runtime::{Builder, EnterGuard, Runtime};

pub(crate) struct Doomed(Option<Runtime>);

impl Doomed {
    pub(crate) fn new() -> Self {
        Self(Some(
            Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .expect("one runtime more"),
        ))
    }

    pub(crate) fn enter(&self) -> EnterGuard<'_> {
        self.runtime().enter()
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        self.0.as_ref().expect("it is not dropped")
    }
}

/// Without waiting for its threads.
impl Drop for Doomed {
    fn drop(&mut self) {
        self.0.take().expect("it is dropped once").shutdown_background();
    }
}
