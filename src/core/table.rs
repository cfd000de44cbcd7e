//! The table of the flights that newcomers may join.

use crate::{
    core::flight::{Boarding, Flight, Place, Rules, Setback},
    core::lone::{Gate, Home, Lone},
    core::reentry::{Gates, Lineage, Underway},
    core::slots::{Slot, Slots},
    core::waiter::Waiter,
    observe::near_miss::{self, Note, Unjoinable},
    observe::{Caller, Observer, Outcome, Work},
    panics::Debris,
    stats::{NearMiss, cores},
    sync::{Mutex, MutexGuard},
};
use hashbrown::HashTable;
use std::{
    any::Any,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    ptr,
    sync::{Arc, OnceLock},
    thread,
};
use tokio::time::Instant;

/// Sharded by key, so that calls with different keys seldom meet on a lock.
pub(crate) struct Table<K, T> {
    shards: OnceLock<Shards<K, T>>,
    observer: Arc<Observer>,
    hooks: Hooks<K, T>,
}

/// What the owner of a table knows of its keys and values.
pub(crate) struct Hooks<K, T> {
    /// What tells two keys in one shard apart, if they mean the same to the user. Called under a lock.
    pub(crate) difference: fn(&K, &K) -> Option<Difference>,
    /// The leader of this value went without it, while others have yet to look at it.
    pub(crate) leaderless: fn(&T),
    /// Why a value is its leader's alone, so that the followers go on together.
    pub(crate) setback: fn(&T) -> Option<Setback>,
}

/// A part in which two keys differ, if it can be told.
pub(crate) type Difference = Option<u16>;

impl<K, T> Hooks<K, T> {
    pub(crate) const NONE: Self = Self { difference: |_, _| None, leaderless: |_| {}, setback: |_| None };
}

impl<K, T> Copy for Hooks<K, T> {}

impl<K, T> Clone for Hooks<K, T> {
    fn clone(&self) -> Self {
        *self
    }
}

type Shards<K, T> = Box<[Arc<Shard<K, T>>]>;

/// What its flights hold: were it the table, all threads would count in one cache line who holds it.
struct Shard<K, T> {
    entries: Mutex<Entries<K, T>>,
    observer: Arc<Observer>,
    hooks: Hooks<K, T>,
}

/// The first flight needs no table: traffic without concurrency allocates none.
struct Entries<K, T> {
    first: Option<Entry<K, T>>,
    rest: HashTable<Entry<K, T>>,
    gates: Slots<Gate<T>>,
}

struct Entry<K, T> {
    key: ListedKey<K>,
    place: Place,
    flight: Listed<T>,
}

/// A key can be lent to code that must not run under the lock of the table.
enum ListedKey<K> {
    Own(K),
    Lent(Arc<K>),
}

enum Listed<T> {
    /// Nobody has joined it yet.
    At(Slot),
    Open(Arc<Flight<T>>),
}

/// How a call came in. `J` is its own work, given back if it did not lead.
pub(crate) enum Entered<T: Send + Sync + 'static, J> {
    Led(Waiter<T>, Option<Missed>),
    Joined(Waiter<T>, J),
    /// It was called inside the flight that it would join.
    Inside(J),
}

/// A flight for the key of a call that led all the same.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Missed {
    pub(crate) why: NearMiss,
    /// In what the two differ, if it is known.
    pub(crate) difference: Difference,
}

impl From<NearMiss> for Missed {
    fn from(why: NearMiss) -> Self {
        Self { why, difference: None }
    }
}

impl<K, T> Table<K, T>
where
    K: Eq + Send + Sync + 'static,
    T: Send + Sync + 'static,
{
    pub(crate) fn new(observer: Arc<Observer>) -> Arc<Self> {
        Self::with_hooks(observer, Hooks::NONE)
    }

    pub(crate) fn with_hooks(observer: Arc<Observer>, hooks: Hooks<K, T>) -> Arc<Self> {
        Arc::new(Self { shards: OnceLock::new(), observer, hooks })
    }

    /// Joins the flight of `key`, or leads one with `job`: here and now, in one critical section. `newer_than`: a
    /// flight that it does not join, nor anybody who comes later.
    pub(crate) fn enter<J>(
        self: &Arc<Self>,
        place: Place,
        key: K,
        rules: &Rules,
        newer_than: Option<&Arc<Flight<T>>>,
        job: J,
        fly: impl FnOnce(J, Option<Instant>, Caller) -> Work<T>,
    ) -> Entered<T, J> {
        let (here, mut caller) = (Lineage::here(), Caller::here());
        let shard = self.shard(place);
        let mut entries = shard.entries.lock();
        let boarding = entries.find_open(shard, place, &key).map(|flight| {
            let is_left = newer_than.is_some_and(|left| Arc::ptr_eq(left, &flight));
            let boarding = if is_left { Boarding::Closed(None) } else { flight.join(rules, &here, &mut caller) };
            (flight, boarding)
        });
        match boarding {
            Some((_, Boarding::Inside)) => Entered::Inside(job),
            Some((flight, Boarding::Seat { seat, leads_anew, needs_task, link })) => {
                drop(entries);
                let mut waiter = Waiter::join(flight, seat, leads_anew);
                link.tie(caller);
                drop(key);
                if leads_anew {
                    waiter.board_anew(fly(job, self.opening(), Caller::here()));
                    return Entered::Led(waiter, None);
                }
                if needs_task {
                    waiter.carry();
                }
                Entered::Joined(waiter, job)
            }
            None => {
                let missed = self.missed(&entries, place, &key);
                let lone = self.lone(place, rules, here, |opened| fly(job, opened, caller));
                Entered::Led(shard.lead(entries, key, lone), missed)
            }
            Some((closed, Boarding::Closed(why))) => {
                let missed = match why {
                    None if newer_than.is_none() => self.missed(&entries, place, &key),
                    why => why.map(Missed::from),
                };
                let replaced = entries.remove(place.hash, |entry| entry.is(&closed));
                let lone = self.lone(place, rules, here, |opened| fly(job, opened, caller));
                let waiter = shard.lead(entries, key, lone);
                drop((replaced, closed));
                Entered::Led(waiter, missed)
            }
        }
    }

    /// Leads a flight that nobody can join.
    pub(crate) fn lead_unlisted(self: &Arc<Self>, place: Place, rules: &Rules, work: Work<T>) -> Waiter<T> {
        let (shard, here) = (self.shard(place), Lineage::here());
        let lone = Gate::Lone(self.lone(place, rules, here, |_| work));
        let gate = shard.entries.lock().gates.insert(lone);
        Waiter::lead(shard.clone(), gate, rules.run_to_completion)
    }

    /// A flight that opens now, with this work. Nothing of the user's runs in this.
    #[inline(always)]
    fn lone(
        &self,
        place: Place,
        rules: &Rules,
        here: Lineage,
        work: impl FnOnce(Option<Instant>) -> Work<T>,
    ) -> Lone<T> {
        let opened = self.opening();
        Lone::new(place, rules, here, opened, work(opened))
    }

    /// A flight that goes on, and that a call for `key` has missed that leads now.
    #[inline(always)]
    fn missed(&self, entries: &Entries<K, T>, place: Place, key: &K) -> Option<Missed> {
        match near_miss::find(self.observer.own_hash(place.hash)) {
            Some(why) => Some(Missed::from(why)),
            None if entries.is_empty() => None,
            None => entries.other_with_key_of(place, |other| (self.hooks.difference)(key, other)),
        }
    }

    /// Takes the flight with this key off the table. It goes on for those who wait for it.
    pub(crate) fn forget(&self, hash: u64, is_key: impl Fn(&K) -> bool) {
        let Some(shard) = self.existing_shard(hash) else { return };
        let mut entries = shard.entries.lock();
        let forgotten = entries.remove(hash, |entry| is_key(entry.key.get()));
        forgotten.iter().for_each(|entry| shard.note_sealed(entry.place));
        drop(entries);
        drop(forgotten);
    }

    /// Takes all flights off the table for whose place and key `is_it` holds: in the shard of this hash, or in all.
    #[cfg(feature = "http")]
    pub(crate) fn forget_where(&self, shard: Option<u64>, is_it: &dyn Fn(Place, &K) -> bool) {
        let mut debris = Debris::default();
        for shard in self.existing_shards(shard) {
            debris.run(|| shard.forget_where(|entry| is_it(entry.place, entry.key.get())));
        }
        debris.rethrow();
    }

    /// Takes all flights off the table for whose key `is_it` holds, which is called under no lock.
    pub(crate) fn forget_if(&self, is_it: &mut dyn FnMut(&K) -> bool) {
        let mut debris = Debris::default();
        let shards = self.existing_shards(None);
        // Before any is asked about: those that `is_it` itself leads are not.
        let lent: Vec<_> = shards.iter().map(|shard| shard.entries.lock().lend_keys()).collect();
        for (shard, keys) in shards.iter().zip(lent) {
            let mut chosen = Vec::new();
            for key in keys {
                debris.run(|| {
                    if is_it(&key) {
                        chosen.push(key);
                    }
                });
            }
            // Sorted, because one key may have as many flights as it has partitions.
            let mut addresses: Vec<_> = chosen.iter().map(Arc::as_ptr).collect();
            addresses.sort_unstable();
            debris.run(|| shard.forget_where(|entry| entry.key.is_among(&addresses)));
            chosen.into_iter().for_each(|key| debris.sweep(key));
        }
        debris.rethrow();
    }

    /// Whether newcomers still find the flight that is being polled here. Not after it was forgotten, and not after one
    /// that it did not take led another in its place.
    #[cfg(feature = "http")]
    pub(crate) fn lists_this_flight(&self, place: Place) -> bool {
        use crate::core::reentry::{Polled, innermost};
        let Some((shard, polled)) = self.existing_shard(place.shard).zip(innermost()) else { return false };
        let mut entries = shard.entries.lock();
        let is_it = match &polled {
            Polled::Flight(flight) => entries.lists(place.hash, Arc::as_ptr(flight).cast()),
            Polled::Lone(home, gate) if ptr::addr_eq(Arc::as_ptr(home), Arc::as_ptr(shard)) => {
                entries.lists_gate(place.hash, *gate)
            }
            Polled::Lone(..) => false,
        };
        drop(entries);
        is_it
    }

    pub(crate) fn observer(&self) -> &Observer {
        &self.observer
    }

    /// When a flight opens that opens now, if anybody may want to know.
    fn opening(&self) -> Option<Instant> {
        self.observer.wants_ages().then(Instant::now)
    }

    fn shard(&self, place: Place) -> &Arc<Shard<K, T>> {
        let shards = self.shards.get_or_init(|| (0..shard_count()).map(|_| self.new_shard()).collect());
        pick(shards, place.shard)
    }

    fn new_shard(&self) -> Arc<Shard<K, T>> {
        let entries = Mutex::new(Entries { first: None, rest: HashTable::new(), gates: Slots::default() });
        Arc::new(Shard { entries, observer: self.observer.clone(), hooks: self.hooks })
    }

    fn existing_shard(&self, hash: u64) -> Option<&Arc<Shard<K, T>>> {
        self.shards.get().map(|shards| pick(shards, hash))
    }

    /// The one of this hash, or all.
    fn existing_shards(&self, hash: Option<u64>) -> &[Arc<Shard<K, T>>] {
        let shards = self.shards.get().map_or(&[][..], |shards| shards);
        match hash {
            Some(hash) if !shards.is_empty() => std::slice::from_ref(pick(shards, hash)),
            _ => shards,
        }
    }
}

fn pick<S>(shards: &[S], hash: u64) -> &S {
    // The high half: the low bits and the topmost ones pick the bucket inside the shard.
    &shards[(hash >> 32) as usize & (shards.len() - 1)]
}

/// A power of two.
fn shard_count() -> usize {
    if cfg!(tower_singleflight_loom) {
        return 1;
    }
    (cores() * 4).next_power_of_two().min(64)
}

impl<K, T> Entries<K, T>
where
    K: Eq + Send + Sync + 'static,
    T: Send + Sync + 'static,
{
    /// The flight of this key, as one that others may join.
    #[inline]
    fn find_open(&mut self, home: &Arc<Shard<K, T>>, place: Place, key: &K) -> Option<Arc<Flight<T>>> {
        match self.find(place.hash, |entry| entry.key.get() == key)?.flight {
            Listed::At(gate) => Some(self.open(home, gate)),
            Listed::Open(ref flight) => Some(flight.clone()),
        }
    }

    /// The flight at `gate` as one that others may join, in the table as well.
    fn open(&mut self, home: &Arc<Shard<K, T>>, gate: Slot) -> Arc<Flight<T>> {
        let flight = self.gates.get_mut(gate).open(|| home.clone()).clone();
        if let Some(entry) = self.find_mut(flight.place().hash, |entry| entry.is_at(gate)) {
            entry.flight = Listed::Open(flight.clone());
        }
        flight
    }
}

impl<K, T> Entries<K, T> {
    fn find(&self, hash: u64, is_it: impl Fn(&Entry<K, T>) -> bool) -> Option<&Entry<K, T>> {
        let first = self.first.as_ref().filter(|entry| entry.place.hash == hash && is_it(entry));
        if first.is_some() || self.rest.is_empty() {
            return first;
        }
        self.rest.find(hash, |entry| entry.place.hash == hash && is_it(entry))
    }

    fn find_mut(&mut self, hash: u64, is_it: impl Fn(&Entry<K, T>) -> bool) -> Option<&mut Entry<K, T>> {
        let first = self.first.as_mut().filter(|entry| entry.place.hash == hash && is_it(entry));
        first.or_else(|| self.rest.find_mut(hash, |entry| entry.place.hash == hash && is_it(entry)))
    }

    fn is_empty(&self) -> bool {
        self.first.is_none() && self.rest.is_empty()
    }

    fn insert(&mut self, entry: Entry<K, T>) {
        if self.first.is_none() {
            self.first = Some(entry);
        } else {
            self.rest.insert_unique(entry.place.hash, entry, |entry| entry.place.hash);
        }
    }

    /// Gives the entry back, to be dropped once nothing is locked.
    #[must_use]
    fn remove(&mut self, hash: u64, is_it: impl Fn(&Entry<K, T>) -> bool) -> Option<Entry<K, T>> {
        if self.first.as_ref().is_some_and(|entry| entry.place.hash == hash && is_it(entry)) {
            return self.first.take();
        }
        let found = self.rest.find_entry(hash, |entry| entry.place.hash == hash && is_it(entry));
        let (entry, _) = found.ok()?.remove();
        self.shrink();
        Some(entry)
    }

    /// A flight whose key means the same to the user, and why it is not that of `place`. Of many flights it looks at
    /// some.
    fn other_with_key_of(&self, place: Place, difference: impl Fn(&K) -> Option<Difference>) -> Option<Missed> {
        // Else the user's key is all there is.
        if place.shard == place.hash {
            return None;
        }
        let looked_at = self.first.iter().chain(self.rest.iter().take(LOOKED_AT));
        let difference =
            looked_at.filter(|entry| entry.place.shard == place.shard).find_map(|entry| difference(entry.key.get()))?;
        Some(Missed { why: NearMiss::Partition, difference })
    }

    /// Whether newcomers find the flight at this address.
    #[cfg(feature = "http")]
    fn lists(&self, hash: u64, flight: *const ()) -> bool {
        let is_it = |entry: &Entry<K, T>| matches!(&entry.flight, Listed::Open(listed) if ptr::addr_eq(Arc::as_ptr(listed), flight));
        self.find(hash, is_it).is_some()
    }

    /// Whether newcomers find the flight that stands at this gate, or has left it.
    #[cfg(feature = "http")]
    fn lists_gate(&mut self, hash: u64, gate: Slot) -> bool {
        match self.gates.get_mut(gate) {
            Gate::Lone(_) => self.find(hash, |entry| entry.is_at(gate)).is_some(),
            Gate::Left(flight) => {
                let flight = Arc::as_ptr(flight).cast();
                self.lists(hash, flight)
            }
        }
    }

    /// Lends all keys.
    fn lend_keys(&mut self) -> Vec<Arc<K>> {
        let entries: Vec<_> = self.first.take().into_iter().chain(self.rest.drain()).collect();
        let lend = |mut entry: Entry<K, T>| {
            let (key, lent) = entry.key.lend();
            entry.key = key;
            self.insert(entry);
            lent
        };
        entries.into_iter().map(lend).collect()
    }

    /// Finds all before it takes any: should `is_it` panic, nothing has changed.
    #[must_use]
    fn remove_all(&mut self, mut is_it: impl FnMut(&Entry<K, T>) -> bool) -> Vec<Entry<K, T>> {
        let found = self.first.iter().chain(&self.rest).filter(|entry| is_it(entry));
        let found: Vec<_> = found.map(|entry| (entry.place.hash, entry.flight.clone())).collect();
        found.iter().filter_map(|(hash, flight)| self.remove(*hash, |entry| entry.flight == *flight)).collect()
    }

    /// A storm of keys leaves no large table behind.
    fn shrink(&mut self) {
        if self.rest.is_empty() && self.rest.capacity() > 64 {
            self.rest = HashTable::new();
        }
    }
}

/// How many flights are looked at for a near miss.
const LOOKED_AT: usize = 128;

impl<K> ListedKey<K> {
    fn get(&self) -> &K {
        match self {
            Self::Own(key) => key,
            Self::Lent(key) => key,
        }
    }

    fn lend(self) -> (Self, Arc<K>) {
        let key = match self {
            Self::Own(key) => Arc::new(key),
            Self::Lent(key) => key,
        };
        (Self::Lent(key.clone()), key)
    }

    /// Whether it is lent at one of these addresses, which are sorted.
    fn is_among(&self, addresses: &[*const K]) -> bool {
        matches!(self, Self::Lent(key) if addresses.binary_search(&Arc::as_ptr(key)).is_ok())
    }
}

impl<K, T> Shard<K, T> {
    /// Takes all its flights off the table for which `is_it` holds.
    fn forget_where(&self, is_it: impl FnMut(&Entry<K, T>) -> bool) {
        let mut entries = self.entries.lock();
        let forgotten = entries.remove_all(is_it);
        // Under the lock: they erase it when they end.
        forgotten.iter().for_each(|entry| self.note_sealed(entry.place));
        drop(entries);
        let mut debris = Debris::default();
        forgotten.into_iter().for_each(|entry| debris.sweep(entry));
        debris.rethrow();
    }

    fn note_sealed(&self, place: Place) {
        near_miss::note(self.observer.own_hash(place.hash), Unjoinable::Sealed);
    }

    /// Its flight is over, and was off the table before.
    fn erase_sealed(&self, place: Place) {
        near_miss::erase(Note::new(self.observer.own_hash(place.hash), Unjoinable::Sealed));
    }
}

impl<T> Clone for Listed<T> {
    fn clone(&self) -> Self {
        match self {
            Self::At(gate) => Self::At(*gate),
            Self::Open(flight) => Self::Open(flight.clone()),
        }
    }
}

impl<T> PartialEq for Listed<T> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::At(one), Self::At(two)) => one == two,
            (Self::Open(one), Self::Open(two)) => Arc::ptr_eq(one, two),
            _ => false,
        }
    }
}

impl<K, T> Entry<K, T> {
    fn is(&self, flight: &Flight<T>) -> bool {
        matches!(&self.flight, Listed::Open(listed) if ptr::eq(Arc::as_ptr(listed), flight))
    }

    fn is_at(&self, gate: Slot) -> bool {
        matches!(self.flight, Listed::At(at) if at == gate)
    }
}

impl<K, T> Shard<K, T>
where
    K: Eq + Send + Sync + 'static,
    T: Send + Sync + 'static,
{
    /// Lists a flight and unlocks the table. Nothing of the user's runs before that.
    #[inline(always)]
    fn lead(self: &Arc<Self>, mut entries: MutexGuard<'_, Entries<K, T>>, key: K, lone: Lone<T>) -> Waiter<T> {
        let (place, run_to_completion) = (lone.place, lone.run_to_completion);
        let gate = entries.gates.insert(Gate::Lone(lone));
        entries.insert(Entry { key: ListedKey::Own(key), place, flight: Listed::At(gate) });
        drop(entries);
        Waiter::lead(self.clone(), gate, run_to_completion)
    }
}

impl<K, T> Home<T> for Shard<K, T>
where
    K: Eq + Send + Sync + 'static,
    T: Send + Sync + 'static,
{
    fn observer(&self) -> &Observer {
        &self.observer
    }

    fn leaderless(&self, value: &T) {
        (self.hooks.leaderless)(value);
    }

    fn setback(&self, value: &T) -> Option<Setback> {
        (self.hooks.setback)(value)
    }

    fn at(&self, gate: Slot, change: &mut dyn FnMut(&mut Lone<T>)) -> Option<Arc<Flight<T>>> {
        let mut entries = self.entries.lock();
        match entries.gates.get_mut(gate) {
            Gate::Lone(lone) => {
                change(lone);
                None
            }
            Gate::Left(_) => entries.gates.remove_and_shrink(gate).left(),
        }
    }

    fn end(&self, gate: Slot, outcome: Outcome, debris: &mut Debris) -> Option<Arc<Flight<T>>> {
        let mut entries = self.entries.lock();
        match entries.gates.remove_and_shrink(gate) {
            Gate::Left(flight) => Some(flight),
            Gate::Lone(lone) => {
                let entry = entries.remove(lone.place.hash, |entry| entry.is_at(gate));
                if entry.is_none() {
                    self.erase_sealed(lone.place);
                }
                drop(entries);
                match entry {
                    // Of most keys nothing is left to drop.
                    Some(Entry { key: ListedKey::Own(key), flight: Listed::At(_), .. }) => debris.sweep(key),
                    entry => debris.sweep_some(entry),
                }
                lone.end(outcome, &self.observer, debris);
                None
            }
        }
    }

    fn open(self: Arc<Self>, gate: Slot) -> Arc<Flight<T>> {
        self.entries.lock().open(&self, gate)
    }

    fn unlink(&self, place: Place, flight: &Flight<T>) -> thread::Result<()> {
        let mut entries = self.entries.lock();
        let unlinked = entries.remove(place.hash, |entry| entry.is(flight));
        if unlinked.is_none() {
            self.erase_sealed(place);
        }
        drop(entries);
        catch_unwind(AssertUnwindSafe(|| drop(unlinked)))
    }

    fn as_gates(self: Arc<Self>) -> Arc<dyn Gates> {
        self
    }
}

impl<K, T> Gates for Shard<K, T>
where
    K: Eq + Send + Sync + 'static,
    T: Send + Sync + 'static,
{
    fn flight(self: Arc<Self>, gate: Slot) -> Arc<dyn Underway> {
        self.open(gate)
    }

    #[cfg(feature = "http")]
    fn lineage(&self, gate: Slot) -> Lineage {
        let left = match self.entries.lock().gates.get_mut(gate) {
            Gate::Lone(lone) => return lone.lineage.clone(),
            Gate::Left(flight) => flight.clone(),
        };
        left.lineage()
    }

    fn give_back(self: Arc<Self>, to: &mut dyn Any) {
        if let Some(to) = to.downcast_mut::<Option<Arc<dyn Home<T>>>>() {
            *to = Some(self);
        }
    }
}

impl<K, T> fmt::Debug for Table<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("observer", &self.observer).finish_non_exhaustive()
    }
}
