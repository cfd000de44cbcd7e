//! The table of the flights that newcomers may join.

use crate::{
    context::{Gates, Lineage, Underway},
    flight::{Boarding, Flight, Place, Rules, Start},
    lone::{Gate, Home, Lone},
    observe::{Caller, Observer, Outcome, Work},
    panics::Debris,
    slots::{Slot, Slots},
    stats::cores,
    sync::Mutex,
    waiter::Waiter,
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
    leaderless: Leaderless<T>,
}

/// What becomes of a value whose leader went without it, while others have yet to look at it.
type Leaderless<T> = fn(&T);

type Shards<K, T> = Box<[Arc<Shard<K, T>>]>;

/// What its flights hold: were it the table, all threads would count in one cache line who holds it.
struct Shard<K, T> {
    entries: Mutex<Entries<K, T>>,
    observer: Arc<Observer>,
    leaderless: Leaderless<T>,
}

/// The first flight needs no table: traffic without concurrency allocates none.
struct Entries<K, T> {
    first: Option<Entry<K, T>>,
    rest: HashTable<Entry<K, T>>,
    gates: Slots<Gate<T>>,
}

struct Entry<K, T> {
    key: K,
    place: Place,
    flight: Listed<T>,
}

enum Listed<T> {
    /// Nobody has joined it yet.
    At(Slot),
    Open(Arc<Flight<T>>),
}

/// How a call came in. `J` is its own work, given back if it did not lead.
pub(crate) enum Entered<T: Send + Sync + 'static, J> {
    Led(Waiter<T>),
    Joined(Waiter<T>, J),
    /// It was called inside the flight that it would join.
    Inside(J),
}

impl<K, T> Table<K, T>
where
    K: Eq + Send + Sync + 'static,
    T: Send + Sync + 'static,
{
    pub(crate) fn new(observer: Arc<Observer>) -> Arc<Self> {
        Self::with_hook(observer, |_| {})
    }

    pub(crate) fn with_hook(observer: Arc<Observer>, leaderless: Leaderless<T>) -> Arc<Self> {
        Arc::new(Self { shards: OnceLock::new(), observer, leaderless })
    }

    /// Joins the flight of `key`, or leads one with `job`: here and now, in one critical section.
    pub(crate) fn enter<J>(
        self: &Arc<Self>,
        place: Place,
        key: K,
        rules: &Rules,
        job: J,
        fly: impl FnOnce(J, Start, Caller) -> Work<T>,
    ) -> Entered<T, J> {
        let (here, mut caller) = (Lineage::here(), Caller::here());
        let shard = self.shard(place);
        // Dropped after the lock, whatever happens.
        let (closed, replaced);
        let mut entries = shard.entries.lock();
        match entries.board(shard, place, &key, rules, &here, &mut caller) {
            Some((_, Boarding::Inside)) => Entered::Inside(job),
            Some((flight, Boarding::Seat { seat, leads_anew, needs_task, link })) => {
                drop(entries);
                let mut waiter = Waiter::join(flight, seat, leads_anew);
                link.tie(caller);
                drop(key);
                if leads_anew {
                    waiter.board_anew(fly(job, Start::Anew, Caller::here()));
                    return Entered::Led(waiter);
                }
                if needs_task {
                    waiter.carry();
                }
                Entered::Joined(waiter, job)
            }
            other => {
                let opened = self.observer.wants_ages().then(Instant::now);
                closed = other.map(|(closed, _)| closed);
                replaced = closed.as_ref().and_then(|closed| entries.remove(place.hash, |entry| entry.is(closed)));
                let work = fly(job, Start::First(opened), caller);
                let gate = entries.gates.insert(Gate::Lone(Lone::new(place, rules, here, opened, work)));
                entries.insert(Entry { key, place, flight: Listed::At(gate) });
                drop(entries);
                let waiter = Waiter::lead(shard.clone(), gate, rules.run_to_completion);
                drop((replaced, closed));
                Entered::Led(waiter)
            }
        }
    }

    /// Leads a flight that nobody can join.
    pub(crate) fn lead_unlisted(self: &Arc<Self>, place: Place, rules: &Rules, work: Work<T>) -> Waiter<T> {
        let (shard, here) = (self.shard(place), Lineage::here());
        let opened = self.observer.wants_ages().then(Instant::now);
        let lone = Gate::Lone(Lone::new(place, rules, here, opened, work));
        let gate = shard.entries.lock().gates.insert(lone);
        Waiter::lead(shard.clone(), gate, rules.run_to_completion)
    }

    /// Takes the flight with this key off the table. It goes on for those who wait for it.
    pub(crate) fn forget(&self, hash: u64, is_key: impl Fn(&K) -> bool) {
        let Some(shard) = self.existing_shard(hash) else { return };
        let forgotten = shard.entries.lock().remove(hash, |entry| is_key(&entry.key));
        drop(forgotten);
    }

    /// Takes all flights off the table for which `is_key` holds, in the shard of `shard`.
    #[cfg(feature = "http")]
    pub(crate) fn forget_all(&self, shard: u64, mut is_key: impl FnMut(&K) -> bool) {
        let Some(of) = self.existing_shard(shard) else { return };
        let forgotten = of.entries.lock().remove_all(|entry| entry.place.shard == shard && is_key(&entry.key));
        let mut debris = Debris::default();
        forgotten.into_iter().for_each(|entry| debris.sweep(entry));
        debris.rethrow();
    }

    /// Whether newcomers still find this flight. Not after it was forgotten, and not after one that it did not take
    /// led another in its place.
    #[cfg(feature = "http")]
    pub(crate) fn lists(&self, place: Place, is_key: impl Fn(&K) -> bool) -> bool {
        let Some(shard) = self.existing_shard(place.shard) else { return false };
        shard.entries.lock().find(place.hash, |entry| is_key(&entry.key)).is_some()
    }

    pub(crate) fn observer(&self) -> &Observer {
        &self.observer
    }

    fn shard(&self, place: Place) -> &Arc<Shard<K, T>> {
        let shards = self.shards.get_or_init(|| (0..shard_count()).map(|_| self.new_shard()).collect());
        pick(shards, place.shard)
    }

    fn new_shard(&self) -> Arc<Shard<K, T>> {
        let entries = Mutex::new(Entries { first: None, rest: HashTable::new(), gates: Slots::default() });
        Arc::new(Shard { entries, observer: self.observer.clone(), leaderless: self.leaderless })
    }

    fn existing_shard(&self, hash: u64) -> Option<&Arc<Shard<K, T>>> {
        self.shards.get().map(|shards| pick(shards, hash))
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
    fn board(
        &mut self,
        home: &Arc<Shard<K, T>>,
        place: Place,
        key: &K,
        rules: &Rules,
        here: &Lineage,
        caller: &mut Caller,
    ) -> Option<(Arc<Flight<T>>, Boarding)> {
        let flight = match self.find(place.hash, |entry| entry.key == *key)?.flight {
            Listed::At(gate) => self.open(home, gate),
            Listed::Open(ref flight) => flight.clone(),
        };
        let boarding = flight.join(rules, here, caller);
        Some((flight, boarding))
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
        first.or_else(|| self.rest.find(hash, |entry| entry.place.hash == hash && is_it(entry)))
    }

    fn find_mut(&mut self, hash: u64, is_it: impl Fn(&Entry<K, T>) -> bool) -> Option<&mut Entry<K, T>> {
        let first = self.first.as_mut().filter(|entry| entry.place.hash == hash && is_it(entry));
        first.or_else(|| self.rest.find_mut(hash, |entry| entry.place.hash == hash && is_it(entry)))
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

    /// Finds all before it takes any: should `is_it` panic, nothing has changed.
    #[cfg(feature = "http")]
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

impl<K, T> Home<T> for Shard<K, T>
where
    K: Eq + Send + Sync + 'static,
    T: Send + Sync + 'static,
{
    fn observer(&self) -> &Observer {
        &self.observer
    }

    fn leaderless(&self, value: &T) {
        (self.leaderless)(value);
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
                drop(entries);
                debris.sweep(entry);
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
