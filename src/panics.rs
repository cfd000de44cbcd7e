//! Panics of user code: passed on to every waiter, or held back until the crate's own state is
//! right.

use std::{
    any::Any,
    mem,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::Arc,
    task::Waker,
    thread,
};

pub(crate) type Payload = Box<dyn Any + Send>;

/// The message of a panic in the work of a flight. Every waiter panics with it.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    Literal(&'static str),
    Text(Arc<str>),
    NoText,
}

impl Message {
    pub(crate) fn of(payload: &Payload) -> Self {
        if let Some(text) = payload.downcast_ref::<&'static str>() {
            Self::Literal(text)
        } else if let Some(text) = payload.downcast_ref::<String>() {
            Self::Text(text.as_str().into())
        } else {
            Self::NoText
        }
    }

    /// Panics without calling the panic hook, which has printed the first panic already.
    pub(crate) fn rethrow(self) -> ! {
        resume_unwind(match self {
            Self::Literal(text) => Box::new(text),
            Self::Text(text) => Box::new(String::from(&*text)),
            Self::NoText => Box::new(
                "tower-singleflight: the work of this flight panicked, with a payload that is no \
                 text",
            ),
        })
    }
}

/// Runs user code, and holds its panic back until [`resume`](CaughtPanic::resume), so that the rest
/// of the work is done first. Of several panics it keeps the first.
#[derive(Default)]
pub(crate) struct CaughtPanic(Option<Payload>);

impl CaughtPanic {
    /// Holds back a panic that was caught already.
    pub(crate) fn of(payload: Payload) -> Self {
        Self(Some(payload))
    }

    /// Drops a value of a user's type.
    pub(crate) fn drop_caught<V>(&mut self, value: V) {
        if mem::needs_drop::<V>() {
            self.run(|| drop(value));
        }
    }

    /// Runs code that may panic.
    pub(crate) fn run(&mut self, what: impl FnOnce()) {
        match (catch_unwind(AssertUnwindSafe(what)), &self.0) {
            (Ok(()), _) => {}
            (Err(payload), None) => self.0 = Some(payload),
            (Err(payload), Some(_)) => forget_payload(payload),
        }
    }

    pub(crate) fn is_some(&self) -> bool {
        self.0.is_some()
    }

    /// Resumes the panic, if there was one. While another one unwinds, it is dropped: two would
    /// abort the process.
    pub(crate) fn resume(self) {
        match self.0 {
            Some(payload) if !thread::panicking() => resume_unwind(payload),
            Some(payload) => forget_payload(payload),
            None => {}
        }
    }

    /// Resumes the panic, or returns `value`.
    #[allow(dead_code, reason = "only HTTP has to")]
    pub(crate) fn or_resume<V>(self, value: V) -> V {
        self.resume();
        value
    }

    /// Drops the panic. A task has no caller to pass it on to, and the panic hook has printed it.
    pub(crate) fn forget(self) {
        if let Some(payload) = self.0 {
            forget_payload(payload);
        }
    }
}

/// Returns the value of `run`, or `None` if it panics. The panic hook has printed the panic.
#[cfg(any(feature = "fleet", feature = "metrics", feature = "tracing"))]
pub(crate) fn contain<R>(run: impl FnOnce() -> R) -> Option<R> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(value) => Some(value),
        Err(payload) => {
            forget_payload(payload);
            None
        }
    }
}

/// Drops a value of a user's type. A panic of that concerns nobody: the panic hook has printed it.
pub(crate) fn drop_contained<V>(value: V) {
    let mut caught = CaughtPanic::default();
    caught.drop_caught(value);
    caught.forget();
}

/// Wakes all wakers. A waker that panics does not keep the others from being woken. Call it under
/// no lock.
pub(crate) fn wake_all(wakers: impl IntoIterator<Item = Waker>) {
    let mut wakers = wakers.into_iter();
    // One `catch_unwind` for all of them, and one more for each that panics.
    while let Err(payload) =
        catch_unwind(AssertUnwindSafe(|| wakers.by_ref().for_each(Waker::wake)))
    {
        forget_payload(payload);
    }
}

/// Drops a panic's payload. If its `Drop` panics, the payload of that second panic is leaked,
/// because its `Drop` may panic as well.
pub(crate) fn forget_payload(payload: Payload) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        mem::forget(again);
    }
}
