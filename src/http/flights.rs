//! The flights of HTTP requests: those that wait for a head, and those whose body streams.

use crate::http::{
    late::LateTable, layer::PolicyId, request::partition::Partition, response::flight_response::FlightResponse,
};
use crate::{
    core::flight::{Place, Setback},
    core::table::{Difference, Hooks, Table},
    layer::scope::Forgets,
    observe::Observer,
    panics::Debris,
};
use std::{cell::RefCell, sync::Arc};

pub(super) struct Flights<K, X> {
    pub(super) table: Arc<Table<FlightKey<K>, Result<FlightResponse, X>>>,
    pub(super) late: Arc<LateTable<K>>,
}

impl<K, X> Flights<K, X>
where
    K: Eq + Send + Sync + 'static,
    X: Send + Sync + 'static,
{
    pub(super) fn new(observer: &Arc<Observer>) -> Arc<Self> {
        let hooks = Hooks { difference, leaderless, setback };
        Arc::new(Self { table: Table::with_hooks(observer.clone(), hooks), late: Arc::default() })
    }

    /// In this order: a flight whose head arrives meanwhile either is found among the late, or finds that it
    /// is listed no more. `shard`: where they all are, if that is known.
    fn forget_where(&self, shard: Option<u64>, is_it: &dyn Fn(Place, &K) -> bool) {
        let (mut debris, eq) = (Debris::default(), RefCell::new(Debris::default()));
        // Once the key's `Eq` has panicked, all that it may be are forgotten: of those nobody knows better.
        let is_it = |place, key: &FlightKey<K>| {
            let (mut eq, mut holds) = (eq.borrow_mut(), true);
            if !eq.holds_panic() {
                eq.run(|| holds = is_it(place, key.key()));
            }
            holds
        };
        debris.run(|| self.table.forget_where(shard, &is_it));
        debris.run(|| self.late.forget_where(&is_it));
        debris.run(|| eq.into_inner().rethrow());
        debris.rethrow();
    }
}

impl<K, X> Forgets<K> for Flights<K, X>
where
    K: Eq + Send + Sync + 'static,
    X: Send + Sync + 'static,
{
    fn forget_key(&self, hash: u64, is_key: &dyn Fn(&K) -> bool) {
        self.forget_where(Some(hash), &|place, key| place.shard == hash && is_key(key));
    }

    fn forget_if(&self, is_it: &mut dyn FnMut(&K) -> bool) {
        let mut debris = Debris::default();
        debris.run(|| self.table.forget_if(&mut |known| is_it(known.key())));
        debris.run(|| self.late.forget_if(&mut |known| is_it(known.key())));
        debris.rethrow();
    }

    fn seal(&self, hash: u64, is_key: &dyn Fn(&K) -> bool, path: u64) {
        self.forget_where(None, &|place, key| (place.shard == hash && is_key(key)) || place.path == path);
    }
}

fn difference<K: Eq>(one: &FlightKey<K>, two: &FlightKey<K>) -> Option<Difference> {
    let (one, two) = (&*one.0, &*two.0);
    let part = || one.partition.differs_from(&two.partition).and_then(|part| part.try_into().ok());
    (one.key == two.key).then(part)
}

fn setback<X>(landing: &Result<FlightResponse, X>) -> Option<Setback> {
    match landing {
        Ok(answer) => answer.is_refusal().then_some(Setback::Refusal),
        Err(_) => Some(Setback::Error),
    }
}

fn leaderless<X>(landing: &Result<FlightResponse, X>) {
    if let Ok(answer) = landing {
        answer.drop_leader_response();
    }
}

/// What the user's closure returned, and what the policy compares besides.
pub(super) struct FlightKey<K>(Arc<KeyParts<K>>);

struct KeyParts<K> {
    key: K,
    partition: Partition,
    /// Who joins has to agree in this too: it was the leader's that compared requests, and that judges the response.
    policy: PolicyId,
}

impl<K> FlightKey<K> {
    pub(super) fn new(key: K, partition: Partition, policy: PolicyId) -> Self {
        Self(Arc::new(KeyParts { key, partition, policy }))
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
