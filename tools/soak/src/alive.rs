//! Tokens in keys, works and answers, which tell how many of them there are.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

#[derive(Clone, Default)]
pub(crate) struct Population(Arc<AtomicUsize>);

impl Population {
    pub(crate) fn one(&self) -> Alive {
        self.0.fetch_add(1, SeqCst);
        Alive(self.clone())
    }

    pub(crate) fn count(&self) -> usize {
        self.0.load(SeqCst)
    }
}

pub(crate) struct Alive(Population);

impl Clone for Alive {
    fn clone(&self) -> Self {
        self.0.one()
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, SeqCst);
    }
}
