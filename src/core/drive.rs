//! One poll of a flight's work, by the waiter or the task that drives it.

use crate::{
    core::{
        reentry::{self, Ancestors},
        slot::Slot,
    },
    observe::{FlightEnd, Work, spans_are_wanted},
    panics::{CaughtPanic, Payload, drop_contained},
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

pub(crate) enum Polled<T> {
    Pending(Work<T>),
    /// With the panic of the work's drop, if it had one.
    Ready(T, CaughtPanic),
    Panicked(Payload),
}

impl<T> Slot<T> {
    /// Polls the work, and drops it when it has ended.
    #[inline]
    pub(crate) fn poll_work(
        &self,
        mut work: Work<T>,
        ancestors: &Ancestors,
        cx: &mut Context<'_>,
    ) -> Polled<T> {
        let _entering = reentry::enter(self.number(), ancestors);
        if spans_are_wanted() {
            self.open_span(&mut work);
        }
        let (mut work, mut value) = (Some(work), None);
        let polled = catch_unwind(AssertUnwindSafe(|| {
            let future = work.as_mut().expect("it is dropped after this");
            if let Poll::Ready(result) = Pin::new(future).poll(cx) {
                value = Some(result);
                work = None;
            }
        }));
        match (polled, value, work) {
            (Ok(()), None, Some(work)) => Polled::Pending(work),
            (Ok(()), Some(value), _) => Polled::Ready(value, CaughtPanic::default()),
            (Err(payload), Some(value), _) => Polled::Ready(value, CaughtPanic::of(payload)),
            (Err(payload), None, work) => Self::panicked(payload, work),
            (Ok(()), None, None) => unreachable!("it gave a value"),
        }
    }

    #[cold]
    fn panicked(payload: Payload, work: Option<Work<T>>) -> Polled<T> {
        drop_contained(work);
        Polled::Panicked(payload)
    }

    /// Before the first poll.
    #[cold]
    fn open_span(&self, work: &mut Work<T>) {
        let Some(span) = work.open_span(self.shard().observer().name()) else { return };
        let known = self.with(|flight| flight.set_span(span.clone()));
        match known {
            Some(Ok(early)) => early.link_early(&span),
            // All waiters have left meanwhile. The end was told without this span.
            Some(Err(_)) | None => span.end(Some(FlightEnd::Cancelled), 0),
        }
    }
}
