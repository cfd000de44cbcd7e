//! The flights of HTTP requests: those that wait for a head, and those whose body streams.

use super::{answer::Answer, late::Late, layer::PolicyId, partition::Partition};
use crate::{flight::Place, observe::Observer, panics::Debris, scope::Forgets, table::Table};
use std::{cell::RefCell, sync::Arc};

pub(super) struct Flights<K, X> {
    pub(super) table: Arc<Table<FlightKey<K>, Result<Answer, X>>>,
    pub(super) late: Arc<Late<K>>,
}

impl<K, X> Flights<K, X>
where
    K: Eq + Send + Sync + 'static,
    X: Send + Sync + 'static,
{
    pub(super) fn new(observer: &Arc<Observer>) -> Arc<Self> {
        Arc::new(Self { table: Table::with_hook(observer.clone(), leaderless), late: Arc::default() })
    }

    /// Whether newcomers find this very flight, and not one with an equal key: not if it was sealed, and not if a
    /// newcomer that it did not take led another in its place, which a write seals instead.
    pub(super) fn lists(&self, place: Place, key: &FlightKey<K>) -> bool {
        self.table.lists(place, |known| Arc::ptr_eq(&known.0, &key.0))
    }
}

impl<K, X> Forgets<K> for Flights<K, X>
where
    K: Eq + Send + Sync + 'static,
    X: Send + Sync + 'static,
{
    /// In this order: a flight whose head arrives meanwhile either is found among the late, or finds that it
    /// is listed no more.
    fn forget_key(&self, hash: u64, is_key: &dyn Fn(&K) -> bool) {
        let (mut debris, eq) = (Debris::default(), RefCell::new(Debris::default()));
        // Once it has panicked, all that have this hash are forgotten: of those nobody knows better.
        let is_key = |known: &K| {
            let (mut eq, mut holds) = (eq.borrow_mut(), true);
            if !eq.holds_panic() {
                eq.run(|| holds = is_key(known));
            }
            holds
        };
        debris.run(|| self.table.forget_all(hash, |known| is_key(known.key())));
        debris.run(|| self.late.forget_all(hash, &is_key));
        debris.run(|| eq.into_inner().rethrow());
        debris.rethrow();
    }
}

fn leaderless<X>(landing: &Result<Answer, X>) {
    if let Ok(answer) = landing {
        answer.leader_is_gone();
    }
}

/// What the user's closure returned, and what the policy compares besides.
pub(super) struct FlightKey<K>(Arc<Parts<K>>);

struct Parts<K> {
    key: K,
    partition: Partition,
    /// Who joins has to agree in this too: it was the leader's that compared requests, and that judges the response.
    policy: PolicyId,
}

impl<K> FlightKey<K> {
    pub(super) fn new(key: K, partition: Partition, policy: PolicyId) -> Self {
        Self(Arc::new(Parts { key, partition, policy }))
    }

    pub(super) fn key(&self) -> &K {
        &self.0.key
    }

    pub(super) fn partition(&self) -> &Partition {
        &self.0.partition
    }
}

impl<K> Clone for FlightKey<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: PartialEq> PartialEq for FlightKey<K> {
    fn eq(&self, other: &Self) -> bool {
        self.0.policy == other.0.policy && self.0.key == other.0.key && self.0.partition == other.0.partition
    }
}

impl<K: Eq> Eq for FlightKey<K> {}
