//! What the tests of several topics share: ways to step tasks, to catch panics and to wake.
#![allow(dead_code, reason = "each of them takes what it needs")]

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc,
    },
    task::{Poll, Wake, Waker},
    thread,
    time::Duration,
};
use tokio::runtime::{Builder, Runtime};
use tokio_test::task::{Spawn, spawn};
use tower_singleflight::{Group, Run};

/// Lets the other tasks of a current-thread runtime run until they wait.
pub(crate) async fn settle() {
    for _ in 0..16 {
        tokio::task::yield_now().await;
    }
}

/// A runtime of this thread whose clock stands still.
pub(crate) fn paused() -> Runtime {
    Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

/// Runs `test` in a thread of its own, so that a deadlock in it fails instead of hanging.
pub(crate) fn without_deadlock(test: impl FnOnce() + Send + 'static) {
    let (done, ends) = mpsc::channel();
    let thread = thread::spawn(move || {
        test();
        done.send(()).unwrap();
    });
    match ends.recv_timeout(Duration::from_secs(30)) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("deadlock"),
        _ => thread.join().unwrap_or_else(|payload| panic!("{}", text_of(payload))),
    }
}

/// Polls a call whose result is there.
#[track_caller]
pub(crate) fn result<F: Future>(call: &mut Spawn<F>) -> F::Output {
    match call.poll() {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the call has no result yet"),
    }
}

/// Work that must never be called.
pub(crate) fn never<T: Send + 'static>() -> impl FnOnce() -> std::future::Pending<T> + Send + 'static
{
    || panic!("this work was not to be called")
}

/// A follower that has never been polled, and whose own work must never be called.
pub(crate) fn follow<T: Clone + Send + Sync + 'static>(
    group: &Group<u32, T>,
    key: u32,
) -> Spawn<Run<T>> {
    spawn(group.run(key, never()))
}

pub(crate) fn panics<R>(run: impl FnOnce() -> R) -> bool {
    catch_unwind(AssertUnwindSafe(run)).is_err()
}

/// The text that `run` panics with.
#[track_caller]
pub(crate) fn panic_text<R>(run: impl FnOnce() -> R) -> String {
    text_of(panic_payload(run))
}

#[track_caller]
pub(crate) fn panic_payload<R>(run: impl FnOnce() -> R) -> Box<dyn Any + Send> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(_) => panic!("it did not panic"),
        Err(payload) => payload,
    }
}

pub(crate) fn text_of(payload: Box<dyn Any + Send>) -> String {
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => payload.downcast::<&'static str>().expect("a text").to_string(),
    }
}

/// A waker that does something when it wakes.
pub(crate) fn waker(on_wake: impl Fn() + Send + Sync + 'static) -> Waker {
    struct OnWake<F>(F);
    impl<F: Fn() + Send + Sync + 'static> Wake for OnWake<F> {
        fn wake(self: Arc<Self>) {
            (self.0)();
        }
    }
    Waker::from(Arc::new(OnWake(on_wake)))
}

/// A waker that counts its wake-ups.
pub(crate) fn counting_waker() -> (Waker, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counting = count.clone();
    let waker = waker(move || {
        counting.fetch_add(1, SeqCst);
    });
    (waker, count)
}
