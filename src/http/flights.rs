//! The flights of a group's HTTP requests: flights that wait for a head, and responses whose body
//! streams.

use crate::http::{key::FlightKey, late::LateTable, response::flight_response::FlightResponse};
use crate::{
    core::shard::{Difference, Hooks, Table},
    core::{key::Address, rules::Setback},
    layer::tables::FlightTable,
    observe::Observer,
    panics::CaughtPanic,
};
use std::{cell::RefCell, sync::Arc};

/// The result of a flight. `X` is the error that callers get.
pub(super) type HttpLanding<X> = Result<FlightResponse, X>;

pub(super) struct Flights<K, X> {
    pub(super) table: Arc<Table<FlightKey<K>, HttpLanding<X>>>,
    pub(super) late: Arc<LateTable<K>>,
}

impl<K, X> Flights<K, X>
where
    K: Eq + Send + Sync + 'static,
    X: Send + Sync + 'static,
{
    pub(super) fn new(observer: &Arc<Observer>) -> Arc<Self> {
        let hooks = Hooks { difference, on_leader_gone, setback };
        Arc::new(Self { table: Table::with_hooks(observer.clone(), hooks), late: Arc::default() })
    }

    /// Forgets the flights for which `matches` returns true, in the shard of this hash or in all.
    ///
    /// The table of flights comes first. A head that arrives between the two steps finds its flight
    /// unlisted, and is not listed as late.
    fn forget_where(&self, shard: Option<u64>, matches: &dyn Fn(Address, &K) -> bool) {
        let (mut caught, eq) = (CaughtPanic::default(), RefCell::new(CaughtPanic::default()));
        // After a panic of the key's `Eq`, every flight that is asked about is forgotten: a stale
        // answer is worse.
        let matches = |address, key: &FlightKey<K>| {
            let (mut eq, mut found) = (eq.borrow_mut(), true);
            if !eq.is_some() {
                eq.run(|| found = matches(address, key.user_key()));
            }
            found
        };
        caught.run(|| self.table.forget_where(shard, &matches));
        caught.run(|| self.late.forget_where(&matches));
        caught.run(|| eq.into_inner().resume());
        caught.resume();
    }
}

impl<K, X> FlightTable<K> for Flights<K, X>
where
    K: Eq + Send + Sync + 'static,
    X: Send + Sync + 'static,
{
    fn forget_key(&self, hash: u64, is_key: &dyn Fn(&K) -> bool) {
        self.forget_where(Some(hash), &|address, key| address.shard == hash && is_key(key));
    }

    fn forget_if(&self, is_it: &mut dyn FnMut(&K) -> bool) {
        let mut caught = CaughtPanic::default();
        caught.run(|| self.table.forget_if(&mut |key| is_it(key.user_key())));
        caught.run(|| self.late.forget_if(&mut |key| is_it(key.user_key())));
        caught.resume();
    }

    fn seal(&self, hash: u64, is_key: &dyn Fn(&K) -> bool, path: u64) {
        self.forget_where(None, &|address, key| {
            (address.shard == hash && is_key(key)) || address.path == path
        });
    }
}

/// The part of the partition in which two flights of one user key differ.
fn difference<K: Eq>(one: &FlightKey<K>, two: &FlightKey<K>) -> Option<Difference> {
    if one.user_key() != two.user_key() {
        return None;
    }
    let part = one.partition().differs_from(two.partition());
    Some(part.and_then(|part| part.try_into().ok()))
}

fn setback<X>(landing: &HttpLanding<X>) -> Option<Setback> {
    match landing {
        Ok(response) => response.is_refusal().then_some(Setback::Refusal),
        Err(_) => Some(Setback::Error),
    }
}

fn on_leader_gone<X>(landing: &HttpLanding<X>) {
    if let Ok(response) = landing {
        response.drop_leader_response();
    }
}
