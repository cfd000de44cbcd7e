//! What becomes of a panic: told to every waiter, or kept until the bookkeeping is done.

use std::{
    any::Any,
    mem,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::Arc,
    task::Waker,
    thread,
};

pub(crate) type Payload = Box<dyn Any + Send>;

/// What a waiter says when the work of its flight panicked: the same as the work itself.
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

    /// Panics without calling the panic hook: it has printed the origin once already.
    pub(crate) fn rethrow(self) -> ! {
        resume_unwind(match self {
            Self::Literal(text) => Box::new(text),
            Self::Text(text) => Box::new(String::from(&*text)),
            Self::NoText => {
                Box::new("tower-singleflight: the work of this flight panicked, with a payload that is no text")
            }
        })
    }
}

/// Drops values of user types one by one. A panic in one of them is kept, so that what is left to do
/// gets done, and goes on in [`rethrow`](Debris::rethrow).
#[derive(Default)]
pub(crate) struct Debris(Option<Payload>);

impl Debris {
    pub(crate) fn sweep<V>(&mut self, value: V) {
        if mem::needs_drop::<V>() {
            self.run(|| drop(value));
        }
    }

    /// As `sweep`, of what may panic besides.
    pub(crate) fn run(&mut self, what: impl FnOnce()) {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(what)) {
            self.keep(payload);
        }
    }

    pub(crate) fn of(payload: Payload) -> Self {
        Self(Some(payload))
    }

    pub(crate) fn holds_panic(&self) -> bool {
        self.0.is_some()
    }

    pub(crate) fn keep(&mut self, payload: Payload) {
        match self.0 {
            None => self.0 = Some(payload),
            Some(_) => forget_payload(payload),
        }
    }

    /// Goes on with the panic, if there was one, unless another is under way: two would abort the process.
    pub(crate) fn rethrow(mut self) {
        match self.0.take() {
            Some(payload) if !thread::panicking() => resume_unwind(payload),
            Some(payload) => forget_payload(payload),
            None => {}
        }
    }

    /// `value`, unless a panic goes on: `value` is swept then, for its drop may panic as well.
    #[inline]
    pub(crate) fn rethrow_or<V>(self, value: V) -> V {
        if self.0.is_none() { value } else { self.rethrow_over(value) }
    }

    #[cold]
    fn rethrow_over<V>(mut self, value: V) -> V {
        if thread::panicking() {
            self.rethrow();
            return value;
        }
        self.sweep(value);
        resume_unwind(self.0.take().expect("it is kept"))
    }

    /// For a task, which has no caller: the panic hook has printed it.
    pub(crate) fn swallow(mut self) {
        if let Some(payload) = self.0.take() {
            forget_payload(payload);
        }
    }
}

/// What `run` gives, unless it panics: then that ends here. The panic hook has printed it.
#[cfg(any(feature = "metrics", feature = "tracing"))]
pub(crate) fn contain<R>(run: impl FnOnce() -> R) -> Option<R> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(value) => Some(value),
        Err(payload) => {
            forget_payload(payload);
            None
        }
    }
}

/// Wakes all. A waker that panics does not leave the others asleep. Call it under no lock.
pub(crate) fn wake_all(wakers: impl IntoIterator<Item = Waker>) {
    let mut wakers = wakers.into_iter();
    // One `catch_unwind` for all of them, and one more for each that panics.
    while let Err(payload) = catch_unwind(AssertUnwindSafe(|| wakers.by_ref().for_each(Waker::wake))) {
        forget_payload(payload);
    }
}

/// A payload may panic in its own `Drop`, and so may what that panics with: the second is leaked.
pub(crate) fn forget_payload(payload: Payload) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        mem::forget(again);
    }
}
