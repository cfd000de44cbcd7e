//! The flights of HTTP requests: those that wait for a head, and those whose body streams.

use super::{answer::Answer, late::Late, partition::Partition, policy::HttpPolicy};
use crate::{scope::Forgets, stats::Counters, table::Table};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

pub(super) struct Flights<K, X> {
    pub(super) table: Arc<Table<FlightKey<K>, Result<Answer, X>>>,
    pub(super) late: Arc<Late<K>>,
}

impl<K, X> Flights<K, X>
where
    K: Eq + Send + Sync + 'static,
    X: Send + Sync + 'static,
{
    pub(super) fn new(counters: &Arc<Counters>) -> Arc<Self> {
        Arc::new(Self { table: Table::new(counters.clone()), late: Arc::default() })
    }
}

impl<K, X> Forgets<K> for Flights<K, X>
where
    K: Eq + Send + Sync + 'static,
    X: Send + Sync + 'static,
{
    /// In this order: a flight whose head arrives meanwhile either is found among the late, or finds that it is sealed.
    fn forget_key(&self, hash: u64, is_key: &dyn Fn(&K) -> bool) {
        self.table.forget_all(hash, |known| known.seal_if(is_key));
        self.late.forget_all(hash, is_key);
    }
}

/// What the user's closure returned, and what the policy compares besides.
pub(super) struct FlightKey<K>(Arc<Parts<K>>);

struct Parts<K> {
    key: K,
    partition: Partition,
    /// Who joins has to agree in this too: it was the leader's that compared requests, and that judges the response.
    policy: Arc<HttpPolicy>,
    /// A write or the user ended it for newcomers.
    sealed: AtomicBool,
}

impl<K> FlightKey<K> {
    pub(super) fn new(key: K, partition: Partition, policy: Arc<HttpPolicy>) -> Self {
        Self(Arc::new(Parts { key, partition, policy, sealed: AtomicBool::new(false) }))
    }

    pub(super) fn key(&self) -> &K {
        &self.0.key
    }

    fn seal_if(&self, is_key: &dyn Fn(&K) -> bool) -> bool {
        let it_is = is_key(&self.0.key);
        if it_is {
            self.0.sealed.store(true, Ordering::Release);
        }
        it_is
    }

    /// Whether this very flight was sealed, and not another with an equal key.
    pub(super) fn is_sealed(&self) -> bool {
        self.0.sealed.load(Ordering::Acquire)
    }
}

impl<K> Clone for FlightKey<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: PartialEq> PartialEq for FlightKey<K> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0.policy, &other.0.policy)
            && self.0.key == other.0.key
            && self.0.partition == other.0.partition
    }
}

impl<K: Eq> Eq for FlightKey<K> {}
