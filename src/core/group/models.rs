//! What layers have beyond a group, for the model of the core: results that are their leader's
//! alone, and a patience that ends.

use super::{Group, Run, RunState};
use crate::{
    core::{
        rules::{Rounds, Rules, Setback},
        shard::{Hooks, Table},
    },
    model::MayFail,
    observe::Observer,
};
use std::{
    hash::{BuildHasher, Hash},
    sync::Arc,
};

#[allow(missing_docs, reason = "only for the model")]
impl<K, T, H> Group<K, T, H>
where
    K: Hash + Eq + Send + Sync + 'static,
    T: MayFail + Clone + Send + Sync + 'static,
    H: BuildHasher,
{
    pub fn retrying(hasher: H) -> Self {
        let setback = |value: &T| value.failed().then_some(Setback::Error);
        let hooks = Hooks { setback, ..Hooks::NONE };
        Self {
            table: Table::with_hooks(Arc::new(Observer::default()), hooks),
            hasher: Arc::new(hasher),
        }
    }

    pub fn run_and_retry<F, Fut>(&self, retries: u32, key: K, work: F) -> Run<T>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = T> + Send + 'static,
    {
        self.run_by(&with_retries(retries), None, key, work)
    }

    /// Ends the patience of `left`, unless it leads.
    pub fn run_newer<F, Fut>(&self, mut left: Run<T>, retries: u32, key: K, work: F) -> Run<T>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = T> + Send + 'static,
    {
        match &mut left.0 {
            RunState::Waiting { waiter, own_work: Some(_) } => {
                let run = self.run_by(&with_retries(retries), Some(waiter.number()), key, work);
                waiter.time_out();
                run
            }
            _ => left,
        }
    }
}

fn with_retries(retries: u32) -> Rules {
    let after_errors = retries.try_into().unwrap_or(u16::MAX);
    Rules { rounds: Rounds { after_errors, after_refusals: 0 }, ..Rules::default() }
}
