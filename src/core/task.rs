//! The task that drives a flight, so that a waiter that goes quiet cannot hold up the others.

use crate::{
    core::{drive::Polled, reentry, slot::Slot},
    observe::Work,
    panics::{CaughtPanic, Message, Payload, forget_payload},
    sync::Runtime,
};
use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
};

/// Spawns the task that drives this flight, whose transition has claimed it. Call it under no lock:
/// a runtime that is shut down drops the task at once.
pub(crate) fn spawn<T: Send + Sync + 'static>(runtime: &Runtime, slot: Slot<T>) {
    runtime.spawn(FlightTask { slot: Some(slot), waker: None });
}

struct FlightTask<T: Send + Sync + 'static> {
    /// Until the flight is over.
    slot: Option<Slot<T>>,
    /// The waker that the flight has, to end this task when all waiters have left.
    waker: Option<Waker>,
}

impl<T: Send + Sync + 'static> Future for FlightTask<T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(slot) = self.slot.take() else { return Poll::Ready(()) };
        let mut parks = self.new_waker(cx);
        let taken = slot.with(|flight| flight.take_work(&mut parks));
        drop(parks);
        let Some((work, ancestors)) = taken.flatten() else { return Poll::Ready(()) };
        // Should anything panic from here on, the flight is lost.
        self.slot = Some(slot);
        let Some(slot) = &self.slot else { unreachable!("it was set above") };
        match slot.poll_work(work, &ancestors, cx) {
            Polled::Pending(work) => return self.park(work),
            Polled::Ready(value, late) => self.land(value, late),
            Polled::Panicked(payload) => self.fail(payload),
        }
        Poll::Ready(())
    }
}

impl<T: Send + Sync + 'static> FlightTask<T> {
    fn new_waker(&mut self, cx: &Context<'_>) -> Option<Waker> {
        if self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            return None;
        }
        self.waker = Some(cx.waker().clone());
        self.waker.clone()
    }

    fn park(&mut self, work: Work<T>) -> Poll<()> {
        let Some(slot) = &self.slot else { return Poll::Ready(()) };
        let mut work = Some(work);
        let deserted = match slot
            .with(|flight| flight.return_work(work.take().expect("it is returned once")))
        {
            Some(None) => return Poll::Pending,
            Some(deserted) => deserted,
            None => work,
        };
        self.leave(|_| None::<()>);
        drop(deserted);
        Poll::Ready(())
    }

    /// A panic of the work's drop has reached the panic hook, and has no caller to go on to.
    fn land(&mut self, value: T, late: CaughtPanic) {
        late.forget();
        let landed = self.leave(|slot| {
            let setback = slot.shard().setback(&value);
            slot.update(|flight| flight.land(value, None, setback))
        });
        drop(landed);
    }

    fn fail(&mut self, payload: Payload) {
        let message = Message::of(&payload);
        self.leave(|slot| slot.update(|flight| ((), flight.panicked(message, None))));
        forget_payload(payload);
    }

    /// Leaves the flight with a transition. `None`: all waiters left while the work was polled, and
    /// ended the flight. Code that ran inside it since then may have noted it as a parent.
    fn leave<R>(&mut self, transition: impl FnOnce(&Slot<T>) -> Option<R>) -> Option<R> {
        let slot = self.slot.take()?;
        let result = transition(&slot);
        if result.is_none() {
            reentry::ended(slot.number());
        }
        result
    }
}

/// A task that is dropped before its end, by a runtime that shuts down, loses its flight.
impl<T: Send + Sync + 'static> Drop for FlightTask<T> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            let work = slot.update(|flight| flight.lose());
            drop(work);
        }
    }
}
