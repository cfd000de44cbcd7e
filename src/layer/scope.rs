//! Which services share which flights.

use crate::{core::key::Address, core::shard::Table, observe::Observer, panics::Debris, sync::Mutex};
use std::{
    any::Any,
    fmt,
    hash::{BuildHasher, Hash, RandomState},
    sync::{
        Arc, Weak,
        atomic::{
            AtomicBool,
            Ordering::{Acquire, Release},
        },
    },
};

/// Everything that a layer value and its clones have in common.
pub(crate) struct Registry<K> {
    /// One for all tables, so that a key has one hash.
    hasher: RandomState,
    observer: Arc<Observer>,
    is_disabled: AtomicBool,
    common: Arc<Scope<K>>,
    separate: Mutex<Vec<Weak<Scope<K>>>>,
}

/// The flights of one group. Their type is known only when a service is first called, so there is one part for each
/// type that came up: in practice, one.
pub(crate) struct Scope<K> {
    parts: Mutex<Vec<Part<K>>>,
}

struct Part<K> {
    part: Arc<dyn Any + Send + Sync>,
    forgets: Arc<dyn Forgets<K>>,
}

/// Flights that can be forgotten by the user's key. A panic of its `Eq` or `Drop` goes on when the other
/// parts are done as well.
pub(crate) trait Forgets<K>: Send + Sync {
    fn forget_key(&self, hash: u64, is_key: &dyn Fn(&K) -> bool);

    /// Those for whose key `is_it` holds, which is called under no lock.
    fn forget_if(&self, is_it: &mut dyn FnMut(&K) -> bool);

    /// Those of a key and those of a path, whatever their key: a write happens.
    #[cfg(feature = "http")]
    fn seal(&self, hash: u64, is_key: &dyn Fn(&K) -> bool, path: u64);
}

impl<K, T> Forgets<K> for Table<K, T>
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

    #[cfg(feature = "http")]
    fn seal(&self, hash: u64, is_key: &dyn Fn(&K) -> bool, _: u64) {
        self.forget(hash, is_key);
    }
}

impl<K: Hash + 'static> Registry<K> {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            hasher: RandomState::new(),
            observer: Arc::new(Observer::ready()),
            is_disabled: AtomicBool::new(false),
            common: Arc::new(Scope::new()),
            separate: Mutex::default(),
        })
    }

    /// The address of a flight that is found by its key alone.
    pub(crate) fn address(&self, key: &K) -> Address {
        Address::of(self.hasher.hash_one(key))
    }

    #[cfg(feature = "http")]
    pub(crate) fn hasher(&self) -> &RandomState {
        &self.hasher
    }

    /// Of the key in a borrowed form.
    pub(crate) fn forget_key<Q: Hash + ?Sized>(&self, key: &Q, is_key: &dyn Fn(&K) -> bool) {
        let hash = self.hasher.hash_one(key);
        self.each_part(|part| part.forget_key(hash, is_key));
    }

    pub(crate) fn forget_if(&self, is_it: &mut dyn FnMut(&K) -> bool) {
        self.each_part(|part| part.forget_if(is_it));
    }

    /// Nobody joins a flight across a change: while it is off, writes seal nothing.
    pub(crate) fn set_enabled(&self, enabled: bool) {
        if !enabled {
            self.is_disabled.store(true, Release);
        }
        let mut debris = Debris::default();
        debris.run(|| self.forget_if(&mut |_| true));
        if enabled {
            self.is_disabled.store(false, Release);
        }
        debris.rethrow();
    }

    fn each_part(&self, mut what: impl FnMut(&dyn Forgets<K>)) {
        let mut debris = Debris::default();
        for scope in self.scopes() {
            debris.run(|| scope.each_part(&mut what));
        }
        debris.rethrow();
    }
}

impl<K> Registry<K> {
    pub(crate) fn observer(&self) -> &Arc<Observer> {
        &self.observer
    }

    #[inline]
    pub(crate) fn is_enabled(&self) -> bool {
        !self.is_disabled.load(Acquire)
    }

    pub(crate) fn common(&self) -> Arc<Scope<K>> {
        self.common.clone()
    }

    pub(crate) fn separate(&self) -> Arc<Scope<K>> {
        let scope = Arc::new(Scope::new());
        let mut separate = self.separate.lock();
        if separate.len() == separate.capacity() {
            separate.retain(|scope| scope.strong_count() > 0);
        }
        separate.push(Arc::downgrade(&scope));
        drop(separate);
        scope
    }

    fn scopes(&self) -> Vec<Arc<Scope<K>>> {
        let separate = self.separate.lock();
        let separate: Vec<_> = separate.iter().filter_map(Weak::upgrade).collect();
        [self.common()].into_iter().chain(separate).collect()
    }
}

impl<K> Scope<K> {
    fn new() -> Self {
        Self { parts: Mutex::default() }
    }

    /// The part of this type, which `new` makes if it is the first time.
    pub(crate) fn part<P>(&self, new: impl FnOnce() -> Arc<P>) -> Arc<P>
    where
        P: Forgets<K> + Send + Sync + 'static,
    {
        let mut parts = self.parts.lock();
        if let Some(part) = parts.iter().find_map(|known| known.part.clone().downcast().ok()) {
            return part;
        }
        let part = new();
        parts.push(Part { part: part.clone(), forgets: part.clone() });
        part
    }

    /// A panic goes on when the other parts are done as well.
    pub(crate) fn each_part(&self, mut what: impl FnMut(&dyn Forgets<K>)) {
        let parts: Vec<_> = self.parts.lock().iter().map(|known| known.forgets.clone()).collect();
        let mut debris = Debris::default();
        for part in parts {
            debris.run(|| what(&*part));
        }
        debris.rethrow();
    }
}

impl<K> fmt::Debug for Registry<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("observer", &self.observer).finish_non_exhaustive()
    }
}
