//! What the core takes from `std` and tokio, or from loom while its model is checked.

#[cfg(tower_singleflight_loom)]
pub(crate) use loom::thread_local;
#[cfg(not(tower_singleflight_loom))]
pub(crate) use std::thread_local;

pub(crate) use runtime::{Runtime, current_runtime, sleep_until};

use std::{
    sync::{OnceLock, PoisonError},
    thread,
};

#[cfg(tower_singleflight_loom)]
use loom::sync as imp;
#[cfg(not(tower_singleflight_loom))]
use std::sync as imp;

pub(crate) use imp::MutexGuard;
#[cfg(feature = "http")]
pub(crate) use imp::atomic;
/// A model goes the same way each time: no time passes in it unless it says so.
#[cfg(all(feature = "http", tower_singleflight_loom))]
pub(crate) use model::now;

#[cfg(all(feature = "http", not(tower_singleflight_loom)))]
pub(crate) fn now() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

/// A mutex that ignores poison. Its value is never left half-changed, because no
/// user code but `Eq` and `Borrow` of a key runs under any lock of this crate.
#[derive(Debug)]
pub(crate) struct Mutex<T>(imp::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(imp::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reaches the value without the lock: the caller has the mutex to itself.
    #[cfg(feature = "http")]
    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

/// A value that is set once, and read without a lock.
#[derive(Debug)]
pub(crate) struct Once<T> {
    value: std::sync::OnceLock<T>,
    /// What loom sees of it.
    #[cfg(tower_singleflight_loom)]
    is_set: imp::atomic::AtomicBool,
}

impl<T> Once<T> {
    pub(crate) fn set(&self, value: T) {
        assert!(self.value.set(value).is_ok(), "it is set once");
        #[cfg(tower_singleflight_loom)]
        self.is_set.store(true, imp::atomic::Ordering::Release);
    }

    pub(crate) fn get(&self) -> Option<&T> {
        #[cfg(tower_singleflight_loom)]
        if !self.is_set.load(imp::atomic::Ordering::Acquire) {
            return None;
        }
        self.value.get()
    }

    pub(crate) fn into_inner(self) -> Option<T> {
        self.value.into_inner()
    }
}

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self {
            value: std::sync::OnceLock::new(),
            #[cfg(tower_singleflight_loom)]
            is_set: imp::atomic::AtomicBool::new(false),
        }
    }
}

/// Returns how many threads can run at once.
pub(crate) fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| thread::available_parallelism().map_or(1, usize::from))
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

    pub(crate) async fn sleep_until(end: tokio::time::Instant) {
        tokio::time::sleep_until(end).await;
    }
}

#[cfg(tower_singleflight_loom)]
mod runtime {
    use super::model;

    #[derive(Debug)]
    pub(crate) struct Runtime;

    /// Unless it says otherwise, a model runs "inside a runtime": each task is a loom thread.
    pub(crate) fn current_runtime() -> Option<Runtime> {
        model::has_runtime().then_some(Runtime)
    }

    impl Runtime {
        pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
            model::spawn(task);
        }
    }

    /// A model may take any time, so it takes none.
    pub(crate) async fn sleep_until(_: tokio::time::Instant) {}
}

/// What a model says about its runtime. All loom threads of one model run on one thread of `std`.
#[cfg(tower_singleflight_loom)]
#[allow(missing_docs, reason = "only for the model")]
pub mod model {
    use loom::{future::block_on, thread::JoinHandle};
    use std::{
        cell::{Cell, RefCell},
        future::poll_fn,
        pin::Pin,
        sync::LazyLock,
        task::Poll,
        thread_local,
        time::Duration,
    };
    use tokio::time::Instant;

    thread_local! {
        static NO_RUNTIME: Cell<bool> = const { Cell::new(false) };
        static POLLS_TO_LIVE: Cell<Option<usize>> = const { Cell::new(None) };
        static TASKS: RefCell<Vec<JoinHandle<()>>> = const { RefCell::new(Vec::new()) };
        static PASSED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    }

    static START: LazyLock<Instant> = LazyLock::new(Instant::now);

    /// What a work gives, which may be its leader's alone.
    pub trait MayFail {
        fn failed(&self) -> bool;
    }

    /// Starts an iteration of a model.
    pub fn reset() {
        NO_RUNTIME.set(false);
        POLLS_TO_LIVE.set(None);
        TASKS.take();
        PASSED.take();
    }

    pub fn without_runtime() {
        NO_RUNTIME.set(true);
    }

    /// The next task is dropped after that many polls, as by a runtime that shuts down.
    pub fn next_task_dies_after(polls: usize) {
        POLLS_TO_LIVE.set(Some(polls));
    }

    pub fn advance(time: Duration) {
        PASSED.set(PASSED.get() + time);
    }

    pub fn now() -> Instant {
        *START + PASSED.get()
    }

    /// Waits until every task has ended.
    pub fn join_tasks() {
        while let Some(task) = TASKS.with_borrow_mut(Vec::pop) {
            task.join().unwrap();
        }
    }

    pub(super) fn has_runtime() -> bool {
        !NO_RUNTIME.get()
    }

    pub(super) fn spawn(task: impl Future<Output = ()> + Send + 'static) {
        let polls_to_live = POLLS_TO_LIVE.take().unwrap_or(usize::MAX);
        spawn_thread(move || block_on(mortal(Box::pin(task), polls_to_live)));
    }

    /// A thread that [`join_tasks`] waits for.
    pub fn spawn_thread(job: impl FnOnce() + Send + 'static) {
        let handle = loom::thread::spawn(job);
        TASKS.with_borrow_mut(|tasks| tasks.push(handle));
    }

    async fn mortal(mut task: Pin<Box<dyn Future<Output = ()> + Send>>, mut polls_to_live: usize) {
        poll_fn(|cx| {
            while polls_to_live > 0 {
                polls_to_live -= 1;
                if task.as_mut().poll(cx).is_ready() {
                    break;
                }
                if polls_to_live > 0 {
                    return Poll::Pending;
                }
            }
            Poll::Ready(())
        })
        .await
    }
}
