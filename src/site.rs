//! What all clones of one service have in common, and the way into its flights.

use crate::{
    flight::Place,
    future::{Job, ResponseFuture},
    layer::Settings,
    mode::Mode,
    scope::{Registry, Scope},
    stats::{Counters, PassReason},
    table::{Entered, Table},
};
use std::{fmt, sync::Arc};

pub(crate) struct Site<M: Mode> {
    pub(crate) settings: Arc<Settings<M>>,
    pub(crate) registry: Arc<Registry<M::Key>>,
    pub(crate) scope: Arc<Scope<M::Key>>,
}

impl<M: Mode> Site<M> {
    pub(crate) fn counters(&self) -> &Arc<Counters> {
        self.registry.counters()
    }

    /// Joins or leads a flight.
    pub(crate) fn enter<F, J>(
        &self,
        table: &Arc<Table<F, J::Landing>>,
        place: Place,
        key: F,
        job: J,
    ) -> ResponseFuture<J>
    where
        F: Eq + Send + Sync + 'static,
        J: Job,
    {
        let Settings { rules, patience, .. } = &*self.settings;
        match table.enter(place, key, rules, job, J::fly) {
            Entered::Led(waiter) => ResponseFuture::wait(waiter, None, *patience),
            Entered::Joined(waiter, job) => ResponseFuture::wait(waiter, Some(job), *patience),
            Entered::Inside(job) => ResponseFuture::pass(job, PassReason::Reentrant, self.counters()),
        }
    }
}

impl<M: Mode> fmt::Debug for Site<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}
