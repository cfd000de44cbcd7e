//! The task that carries a flight with more than one waiter.

use crate::{
    core::flight::{Claim, Flight, Step},
    observe::Work,
    panics::{Debris, forget_payload},
};
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

/// Moves the work of a flight to a task of its own, so that no waiter that goes quiet can hold it up.
/// Call it under no lock. `false`: there is no runtime.
pub(crate) fn carry<T: Send + Sync + 'static>(flight: &Arc<Flight<T>>) -> bool {
    match flight.claim_for_task() {
        Claim::Granted(runtime) => runtime.spawn(Carrier { flight: Some(flight.clone()), waker: None }),
        Claim::NotNeeded => {}
        Claim::NoRuntime => return false,
    }
    true
}

struct Carrier<T: Send + Sync + 'static> {
    /// Until it is over: the last waiter is to find itself alone with the value.
    flight: Option<Arc<Flight<T>>>,
    /// The waker that the flight has, to end this task when everybody left.
    waker: Option<Waker>,
}

impl<T: Send + Sync + 'static> Carrier<T> {
    fn fly(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let parks = self.new_waker(cx);
        let Some(flight) = &self.flight else { return Poll::Ready(()) };
        let mut work = flight.take_aboard(parks);
        if work.is_none() {
            return Poll::Ready(());
        }
        match flight.step(&mut work, cx) {
            Step::Pending => return put_down(flight, work.expect("it is pending")),
            Step::Ready(value, mut debris) => {
                if let Some(flight) = self.flight.take() {
                    flight.land_for_others(value, &mut debris);
                }
                debris.swallow();
            }
            Step::Panicked(payload) => {
                flight.crash(&payload);
                forget_payload(payload);
            }
        }
        Poll::Ready(())
    }

    fn new_waker(&mut self, cx: &Context<'_>) -> Option<Waker> {
        if self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            return None;
        }
        self.waker = Some(cx.waker().clone());
        self.waker.clone()
    }
}

fn put_down<T: Send + Sync + 'static>(flight: &Flight<T>, work: Work<T>) -> Poll<()> {
    let Some(deserted) = flight.put_down(work) else { return Poll::Pending };
    let mut debris = Debris::default();
    debris.sweep(deserted);
    debris.swallow();
    Poll::Ready(())
}

impl<T: Send + Sync + 'static> Future for Carrier<T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let flown = self.fly(cx);
        if flown.is_ready() {
            self.flight = None;
        }
        flown
    }
}

/// A task that is dropped before its end, by a runtime that shuts down, loses its flight.
impl<T: Send + Sync + 'static> Drop for Carrier<T> {
    fn drop(&mut self) {
        if let Some(flight) = self.flight.take() {
            if flight.lose() {
                carry(&flight);
            }
        }
    }
}
