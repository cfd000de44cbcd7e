//! The flight tables of one group.

use crate::{core::shard::Table, observe::Observer, panics::CaughtPanic};
use std::{
    any::Any,
    sync::{Arc, OnceLock},
};

/// The flight tables of one group, one for each type of table.
///
/// A layer does not know the type of its services' results, so a table is made by the first call
/// that needs it. In practice a group has one table. Further tables are in `rest`.
pub(crate) struct GroupTables<K> {
    first: OnceLock<ErasedTable<K>>,
    rest: OnceLock<Box<GroupTables<K>>>,
}

struct ErasedTable<K> {
    /// An `Arc` of the table.
    typed: Box<dyn Any + Send + Sync>,
    flights: Arc<dyn FlightTable<K>>,
}

/// A table whose flights can be forgotten by the user's key.
///
/// A panic in the `Eq` or `Drop` of a key is passed on after the rest of the work is done.
pub(crate) trait FlightTable<K>: Send + Sync {
    /// Forgets the flights of one key.
    fn forget_key(&self, hash: u64, is_key: &dyn Fn(&K) -> bool);

    /// Forgets the flights of all keys for which `is_it` returns `true`. Calls it under no lock.
    fn forget_if(&self, is_it: &mut dyn FnMut(&K) -> bool);

    /// Forgets the flights of one key, and those of one path whatever their key. A write does this.
    #[allow(dead_code, reason = "only HTTP has writes")]
    fn seal(&self, hash: u64, is_key: &dyn Fn(&K) -> bool, path: u64);
}

impl<K> GroupTables<K> {
    /// Returns the table of type `T`, and makes it if it is the first of its type.
    ///
    /// The table is lent and not cloned: a reference count that all threads change would slow them
    /// down.
    #[inline]
    pub(crate) fn get<T>(
        &self,
        new: fn(&Arc<Observer>) -> Arc<T>,
        observer: &Arc<Observer>,
    ) -> &Arc<T>
    where
        T: FlightTable<K> + 'static,
    {
        let first = self.first.get_or_init(|| ErasedTable::new(new(observer)));
        match first.typed.downcast_ref() {
            Some(table) => table,
            None => self.rest.get_or_init(Box::default).get(new, observer),
        }
    }

    /// Calls `visit` with each table. A panic in it is passed on after all tables were visited.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(&dyn FlightTable<K>)) {
        let mut caught = CaughtPanic::default();
        let mut next = Some(self);
        while let Some(tables) = next {
            if let Some(table) = tables.first.get() {
                caught.run(|| visit(&*table.flights));
            }
            next = tables.rest.get().map(|rest| &**rest);
        }
        caught.resume();
    }
}

impl<K> ErasedTable<K> {
    fn new(table: Arc<impl FlightTable<K> + 'static>) -> Self {
        Self { typed: Box::new(table.clone()), flights: table }
    }
}

impl<K> Default for GroupTables<K> {
    fn default() -> Self {
        Self { first: OnceLock::new(), rest: OnceLock::new() }
    }
}

impl<K, T> FlightTable<K> for Table<K, T>
where
    K: Eq + Send + Sync + 'static,
    T: Send + Sync + 'static,
{
    fn forget_key(&self, hash: u64, is_key: &dyn Fn(&K) -> bool) {
        self.forget(hash, is_key);
    }

    fn forget_if(&self, is_it: &mut dyn FnMut(&K) -> bool) {
        Table::forget_if(self, is_it);
    }

    fn seal(&self, hash: u64, is_key: &dyn Fn(&K) -> bool, _: u64) {
        self.forget(hash, is_key);
    }
}
