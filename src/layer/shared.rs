//! What a layer shares with its clones, its services and its handles.

#[cfg(feature = "fleet")]
use crate::layer::hashed_bytes::hashed_bytes;
use crate::{
    core::key::Address,
    layer::tables::{FlightTable, GroupTables},
    observe::Observer,
    panics::CaughtPanic,
    sync::Mutex,
};
#[cfg(feature = "fleet")]
use std::collections::BTreeSet;
use std::{
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

/// What a layer, its clones, their services and their handles share.
pub(crate) struct LayerShared<K> {
    /// One hasher for all tables, so that a key has one hash.
    pub(crate) hasher: RandomState,
    observer: Arc<Observer>,
    is_disabled: AtomicBool,
    /// The group of the services made with `shared_group`.
    common_group: Arc<GroupTables<K>>,
    /// The groups of the services made with `separate_groups`.
    separate_groups: Mutex<Vec<Weak<GroupTables<K>>>>,
    #[cfg(feature = "fleet")]
    fleets: Mutex<Vec<Weak<dyn ForgetsElsewhere<K>>>>,
}

/// Tells other replicas that keys are forgotten.
#[cfg(feature = "fleet")]
pub(crate) trait ForgetsElsewhere<K>: Send + Sync {
    /// Forgets the keys that give these bytes to a hasher.
    fn forget(&self, keys: &BTreeSet<Vec<u8>>);

    fn forget_all(&self);

    /// Forgets all flights of this replica, also those that go on for other replicas alone.
    fn forget_all_here(&self);

    /// Calls `visit` with the key of each flight of this replica that goes on for others alone, and
    /// that calls here may follow. Such a flight is on no table.
    fn for_each_deserted(&self, visit: &mut dyn FnMut(&K));
}

impl<K: Hash + 'static> LayerShared<K> {
    /// Returns the address of a flight that is found by its key alone.
    pub(crate) fn address(&self, key: &K) -> Address {
        Address::of(self.hasher.hash_one(key))
    }

    /// Forgets the flights of one key in all groups. `key` may be a borrowed form of it.
    pub(crate) fn forget_key<Q: Hash + ?Sized>(&self, key: &Q, is_key: &dyn Fn(&K) -> bool) {
        let hash = self.hasher.hash_one(key);
        let mut caught = CaughtPanic::default();
        caught.run(|| self.for_each_table(|table| table.forget_key(hash, is_key)));
        #[cfg(feature = "fleet")]
        caught.run(|| {
            let fleets = self.fleets();
            if !fleets.is_empty() {
                let keys = BTreeSet::from([hashed_bytes(key)]);
                fleets.iter().for_each(|fleet| fleet.forget(&keys));
            }
        });
        caught.resume();
    }

    /// Forgets the flights of all keys for which `is_it` returns `true`, in all groups. Other
    /// replicas forget the same keys.
    pub(crate) fn forget_if(&self, is_it: &mut dyn FnMut(&K) -> bool) {
        #[cfg(feature = "fleet")]
        let fleets = self.fleets();
        #[cfg(feature = "fleet")]
        if !fleets.is_empty() {
            let (mut caught, mut keys) = (CaughtPanic::default(), BTreeSet::new());
            let mut choose = |key: &K| {
                let is_chosen = is_it(key);
                if is_chosen {
                    keys.insert(hashed_bytes(key));
                }
                is_chosen
            };
            caught.run(|| self.forget_if_here(&mut choose));
            let mut choose_deserted = |key: &K| {
                choose(key);
            };
            for fleet in &fleets {
                caught.run(|| fleet.for_each_deserted(&mut choose_deserted));
            }
            fleets.iter().for_each(|fleet| fleet.forget(&keys));
            return caught.resume();
        }
        self.forget_if_here(is_it);
    }

    /// Forgets all flights, in all groups and on all replicas.
    pub(crate) fn forget_all(&self) {
        let mut caught = CaughtPanic::default();
        caught.run(|| self.forget_if_here(&mut |_| true));
        #[cfg(feature = "fleet")]
        self.fleets().iter().for_each(|fleet| fleet.forget_all());
        caught.resume();
    }

    fn forget_if_here(&self, is_it: &mut dyn FnMut(&K) -> bool) {
        self.for_each_table(|table| table.forget_if(is_it));
    }

    /// Turns coalescing on or off. No call joins a flight from before the change: while coalescing
    /// is off, writes seal nothing.
    pub(crate) fn set_enabled(&self, enabled: bool) {
        if !enabled {
            self.is_disabled.store(true, Release);
        }
        let mut caught = CaughtPanic::default();
        caught.run(|| self.forget_if_here(&mut |_| true));
        #[cfg(feature = "fleet")]
        self.fleets().iter().for_each(|fleet| caught.run(|| fleet.forget_all_here()));
        if enabled {
            self.is_disabled.store(false, Release);
        }
        caught.resume();
    }

    fn for_each_table(&self, mut visit: impl FnMut(&dyn FlightTable<K>)) {
        let mut caught = CaughtPanic::default();
        for group in self.groups() {
            caught.run(|| group.for_each(&mut visit));
        }
        caught.resume();
    }
}

impl<K> LayerShared<K> {
    pub(crate) fn new() -> Self {
        Self {
            hasher: RandomState::new(),
            observer: Arc::new(Observer::ready()),
            is_disabled: AtomicBool::new(false),
            common_group: Arc::default(),
            separate_groups: Mutex::default(),
            #[cfg(feature = "fleet")]
            fleets: Mutex::default(),
        }
    }

    #[cfg(feature = "fleet")]
    pub(crate) fn add_fleet(&self, fleet: Arc<dyn ForgetsElsewhere<K>>) {
        let mut fleets = self.fleets.lock();
        fleets.retain(|fleet| fleet.strong_count() > 0);
        fleets.push(Arc::downgrade(&fleet));
    }

    #[cfg(feature = "fleet")]
    fn fleets(&self) -> Vec<Arc<dyn ForgetsElsewhere<K>>> {
        self.fleets.lock().iter().filter_map(Weak::upgrade).collect()
    }

    pub(crate) fn observer(&self) -> &Arc<Observer> {
        &self.observer
    }

    #[inline]
    pub(crate) fn is_enabled(&self) -> bool {
        !self.is_disabled.load(Acquire)
    }

    pub(crate) fn common_group(&self) -> Arc<GroupTables<K>> {
        self.common_group.clone()
    }

    /// Makes a group for one service.
    pub(crate) fn separate_group(&self) -> Arc<GroupTables<K>> {
        let group = Arc::default();
        let mut groups = self.separate_groups.lock();
        if groups.len() == groups.capacity() {
            groups.retain(|group| group.strong_count() > 0);
        }
        groups.push(Arc::downgrade(&group));
        drop(groups);
        group
    }

    fn groups(&self) -> Vec<Arc<GroupTables<K>>> {
        let separate = self.separate_groups.lock();
        let separate: Vec<_> = separate.iter().filter_map(Weak::upgrade).collect();
        [self.common_group()].into_iter().chain(separate).collect()
    }
}

impl<K> fmt::Debug for LayerShared<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LayerShared").field("observer", &self.observer).finish_non_exhaustive()
    }
}
