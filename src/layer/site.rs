//! What all clones of one service have in common, and the way into its flights.

use crate::{
    core::{
        key::Address,
        reentry::FlightNumber,
        shard::{Entered, Missed, Table},
    },
    layer::future::{Job, ResponseFuture},
    layer::mode::Mode,
    layer::scope::{Forgets, Registry, Scope},
    layer::settings::Settings,
    observe::{Event, Observer},
    stats::PassReason,
};
use std::{
    any::Any,
    borrow::Cow,
    fmt,
    sync::{Arc, OnceLock},
};

pub(crate) struct Site<M: Mode> {
    pub(crate) settings: Arc<Settings<M>>,
    pub(crate) registry: Arc<Registry<M::Key>>,
    pub(crate) scope: Arc<Scope<M::Key>>,
    /// The flights of the first call's type: in practice, of every call's.
    first: OnceLock<Box<dyn Any + Send + Sync>>,
}

impl<M: Mode> Site<M> {
    pub(crate) fn new(settings: Arc<Settings<M>>, registry: Arc<Registry<M::Key>>, scope: Arc<Scope<M::Key>>) -> Self {
        Self { settings, registry, scope, first: OnceLock::new() }
    }

    /// Returns the flights of a call's type, which `new` makes at the first call.
    ///
    /// They are borrowed as a rule: with a clone for each call, all threads would count in the same cache line.
    pub(crate) fn flights<P>(&self, new: impl FnOnce(&Arc<Observer>) -> Arc<P> + Copy) -> Cow<'_, Arc<P>>
    where
        P: Forgets<M::Key> + 'static,
    {
        let find = || self.scope.part(|| new(self.observer()));
        match self.first.get_or_init(|| Box::new(find())).downcast_ref() {
            Some(flights) => Cow::Borrowed(flights),
            None => Cow::Owned(find()),
        }
    }

    /// Why a call passes, whatever its mode.
    #[inline]
    pub(crate) fn passes(&self, head: &M::Head) -> Option<PassReason> {
        if !self.registry.is_enabled() {
            return Some(PassReason::Disabled);
        }
        (!self.settings.wants(head)).then_some(PassReason::Filter)
    }

    pub(crate) fn observer(&self) -> &Arc<Observer> {
        self.registry.observer()
    }

    /// Joins or leads a flight: one that is newer than `left`, if that is one.
    pub(crate) fn enter<F, J>(
        &self,
        table: &Arc<Table<F, J::Landing>>,
        address: Address,
        key: F,
        job: J,
        left: Option<FlightNumber>,
    ) -> ResponseFuture<J>
    where
        F: Eq + Send + Sync + 'static,
        J: Job,
    {
        let Settings { rules, patience, .. } = &*self.settings;
        match table.enter(address, key, rules, left, job, J::fly) {
            Entered::Led(waiter, missed) => {
                missed.into_iter().for_each(|missed| self.tell_missed(missed));
                ResponseFuture::lead(waiter)
            }
            Entered::Joined(waiter, job) => ResponseFuture::follow(waiter, job, *patience),
            Entered::Inside(job) => {
                let reason = if left.is_some() { PassReason::Patience } else { PassReason::Reentrant };
                ResponseFuture::pass(job, reason, self.observer())
            }
        }
    }

    #[cold]
    fn tell_missed(&self, Missed { why, difference }: Missed) {
        let part = difference.and_then(|part| self.settings.mode.part(part.into()));
        self.observer().tell(Event::NearMiss { why, part });
    }
}

impl<M: Mode> fmt::Debug for Site<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}
