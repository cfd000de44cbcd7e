//! Work that a test lands by hand, and what there is to count about it.

pub(crate) use crate::shared::{
    counting_waker, follow, never, panic_payload, panic_text, settle, text_of, waker,
};

use crate::shared::result;
use std::{
    any::Any,
    panic::resume_unwind,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::{Duration, Instant},
};
use tokio::runtime::Runtime;
use tokio_test::task::{self, Spawn};
use tower_singleflight::{Group, Outcome, Role};

/// Runs a test on a current-thread and on a multi-thread runtime.
macro_rules! on_both_runtimes {
    ($($(#[$meta:meta])* async fn $name:ident() $body:block)*) => {$(
        $(#[$meta])*
        mod $name {
            use super::*;

            async fn scenario() $body

            #[tokio::test]
            async fn on_a_current_thread() {
                scenario().await
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_many_threads() {
                scenario().await
            }
        }
    )*};
}
pub(crate) use on_both_runtimes;

/// The test's end of some [`Inner`] work.
pub(crate) struct Remote<T>(Arc<Shared<T>>);

/// Work that does what its [`Remote`] says.
pub(crate) struct Inner<T>(Arc<Shared<T>>);

struct Shared<T> {
    orders: Mutex<Orders<T>>,
    calls: AtomicUsize,
    polls: AtomicUsize,
    drops: AtomicUsize,
}

struct Orders<T> {
    end: Option<End<T>>,
    waker: Option<Waker>,
}

enum End<T> {
    Value(T),
    Panic(Box<dyn Any + Send>),
}

/// A closure for `run` and `spawn`, and the remote for the work that it gives.
pub(crate) fn work<T: Send + 'static>() -> (Remote<T>, impl FnOnce() -> Inner<T> + Send + 'static) {
    let shared = Arc::new(Shared {
        orders: Mutex::new(Orders { end: None, waker: None }),
        calls: AtomicUsize::new(0),
        polls: AtomicUsize::new(0),
        drops: AtomicUsize::new(0),
    });
    let inner = Inner(shared.clone());
    let call = move || {
        inner.0.calls.fetch_add(1, SeqCst);
        inner
    };
    (Remote(shared), call)
}

/// Work that is done when it is called.
pub(crate) fn ready<T: Send + 'static>(
    value: T,
) -> impl FnOnce() -> std::future::Ready<T> + Send + 'static {
    || std::future::ready(value)
}

impl<T> Remote<T> {
    pub(crate) fn land(&self, value: T) {
        self.end(End::Value(value));
    }

    pub(crate) fn panic_with(&self, payload: impl Any + Send) {
        self.end(End::Panic(Box::new(payload)));
    }

    /// Wakes whoever polled the work last.
    pub(crate) fn wake(&self) {
        let waker = self.0.orders.lock().unwrap().waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// How often the closure was called.
    pub(crate) fn calls(&self) -> usize {
        self.0.calls.load(SeqCst)
    }

    pub(crate) fn polls(&self) -> usize {
        self.0.polls.load(SeqCst)
    }

    /// How often the work was dropped, called or not.
    pub(crate) fn drops(&self) -> usize {
        self.0.drops.load(SeqCst)
    }

    fn end(&self, end: End<T>) {
        self.0.orders.lock().unwrap().end = Some(end);
        self.wake();
    }
}

impl<T> Future for Inner<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        self.0.polls.fetch_add(1, SeqCst);
        let mut orders = self.0.orders.lock().unwrap();
        orders.waker = Some(cx.waker().clone());
        match orders.end.take() {
            None => Poll::Pending,
            Some(End::Value(value)) => Poll::Ready(value),
            Some(End::Panic(payload)) => {
                drop(orders);
                resume_unwind(payload)
            }
        }
    }
}

impl<T> Drop for Inner<T> {
    fn drop(&mut self) {
        self.0.drops.fetch_add(1, SeqCst);
    }
}

/// Lets other tasks and threads go on until `done`.
pub(crate) async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        tokio::task::yield_now().await;
        thread::yield_now();
    }
}

/// Calls `f` as code of that runtime does.
pub(crate) fn inside<R>(runtime: &Runtime, f: impl FnOnce() -> R) -> R {
    let _inside = runtime.enter();
    f()
}

/// Polls a future on this thread, outside any runtime, for at most 20 s.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut future = std::pin::pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park_timeout(deadline.saturating_duration_since(Instant::now()));
        assert!(Instant::now() < deadline, "waited in vain for a future");
    }
}

/// One poll with that waker.
pub(crate) fn poll_with<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

#[track_caller]
pub(crate) fn ready_now<F: Future>(mut future: Spawn<F>) -> F::Output {
    result(&mut future)
}

pub(crate) fn led<T: Clone + Send + Sync + 'static>(value: T, shared: bool) -> Outcome<T> {
    outcome(value, shared, Role::Leader)
}

pub(crate) fn followed<T: Clone + Send + Sync + 'static>(value: T) -> Outcome<T> {
    outcome(value, true, Role::Follower)
}

/// An `Outcome` to compare with. Only a group can make one, and its fields can be set.
fn outcome<T: Clone + Send + Sync + 'static>(value: T, shared: bool, role: Role) -> Outcome<T> {
    let mut outcome = ready_now(task::spawn(Group::new().run((), || async { value })));
    (outcome.shared, outcome.role) = (shared, role);
    outcome
}

/// Runs a closure when dropped.
pub(crate) struct OnDrop<F: FnMut()>(pub(crate) F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
