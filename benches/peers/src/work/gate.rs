//! Work that is done when the gate opens. Many calls that wait at one gate are the floor of all
//! fan-out: tasks on a plain list of wakers.

use super::backend::{Answered, Work};
use std::{
    mem,
    num::NonZero,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    open: bool,
    wakers: Vec<Waker>,
}

pub(crate) struct Waiting {
    gate: Gate,
    key: u64,
    /// Where its waker is, counted from one, once it was polled. Small, for the floor is to be low.
    place: Option<NonZero<usize>>,
}

impl Gate {
    /// Wakes all that wait, under no lock.
    pub(crate) fn open(&self) {
        let mut state = self.0.lock().unwrap();
        state.open = true;
        let wakers = mem::take(&mut state.wakers);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// How often the work was started, that is polled: some peers want a future of each caller, and
    /// drop most of them. Before it opens.
    pub(crate) fn started(&self) -> usize {
        self.0.lock().unwrap().wakers.len()
    }
}

impl Work for Gate {
    type Future = Waiting;

    fn start(&self, key: u64) -> Waiting {
        Waiting { gate: self.clone(), key, place: None }
    }
}

impl Future for Waiting {
    type Output = Answered;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answered> {
        let Self { gate, key, place } = &mut *self;
        let mut state = gate.0.lock().unwrap();
        if state.open {
            return Poll::Ready(Ok(*key));
        }
        match *place {
            Some(place) => state.wakers[place.get() - 1].clone_from(cx.waker()),
            None => {
                state.wakers.push(cx.waker().clone());
                *place = NonZero::new(state.wakers.len());
            }
        }
        Poll::Pending
    }
}
