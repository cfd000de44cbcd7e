//! The table of the flights in progress: shards, each one lock over an index of keys and a slab of
//! flights.

use crate::{
    core::{
        entries::{FlightEntry, Lent, ShardState, TakenOff},
        flight::{After, Flight, Joining, SharedEnd},
        key::{Address, Key},
        reentry::{self, Ancestors, FlightNumber},
        rules::{Rules, Setback},
        slot::{ErasedShard, Slot},
        waiter::Waiter,
    },
    observe::{
        Caller, Event, Observer, Work,
        near_miss::{self, Note, Unjoinable},
    },
    panics::CaughtPanic,
    stats::{NearMiss, cores},
    sync::{Mutex, MutexGuard},
};
use std::{
    fmt,
    sync::{Arc, OnceLock, Weak},
};
use tokio::time::Instant;

/// Sharded by key, so that calls with different keys seldom meet on a lock.
pub(crate) struct Table<K, T> {
    shards: OnceLock<Shards<K, T>>,
    observer: Arc<Observer>,
    hooks: Hooks<K, T>,
}

type Shards<K, T> = Box<[Arc<Shard<K, T>>]>;

/// What the owner of a table knows of its keys and values.
pub(crate) struct Hooks<K, T> {
    /// Tells apart two keys in one shard, if they mean the same to the user. Called under a lock.
    pub(crate) difference: fn(&K, &K) -> Option<Difference>,
    /// The leader went without this value, while others have yet to look at it.
    pub(crate) on_leader_gone: fn(&T),
    /// Why a value is for its leader alone, so that the followers go on together.
    pub(crate) setback: fn(&T) -> Option<Setback>,
}

/// The number of a part in which two keys differ, if it has one.
pub(crate) type Difference = Option<u16>;

impl<K, T> Hooks<K, T> {
    pub(crate) const NONE: Self =
        Self { difference: |_, _| None, on_leader_gone: |_| {}, setback: |_| None };
}

impl<K, T> Copy for Hooks<K, T> {}

impl<K, T> Clone for Hooks<K, T> {
    fn clone(&self) -> Self {
        *self
    }
}

/// Held by the waiters of its flights. If they held the table, all threads would count in one cache
/// line.
struct Shard<K, T> {
    flights: Mutex<ShardState<K, T>>,
    /// For the timers of held results.
    this: Weak<Self>,
    observer: Arc<Observer>,
    hooks: Hooks<K, T>,
}

/// How a call came in. `J` is its own work, given back if it did not lead.
pub(crate) enum Entered<T: Send + Sync + 'static, J> {
    Led(Waiter<T>, Option<Missed>),
    Joined(Waiter<T>, J),
    /// The flight has landed, and this is its result.
    Held(SharedEnd<T>, J),
    /// The call comes from inside the flight that it would join.
    Inside(J),
    /// There is no flight, and the call may not lead one before it has looked elsewhere again.
    Outdated(J),
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

    /// Joins the flight of `key`, or leads one with `job`: here and now, in one critical section.
    /// `newer_than`: a flight that neither this call nor a later one joins. `start` makes the work.
    /// It runs under the lock, so it only moves its arguments. `may_lead` is asked under the lock
    /// too, if there is no flight.
    #[allow(clippy::too_many_arguments, reason = "each call of it is inlined")]
    #[inline]
    pub(crate) fn enter<J>(
        &self,
        address: Address,
        key: K,
        rules: &Rules,
        newer_than: Option<FlightNumber>,
        job: J,
        start: impl FnOnce(J, Option<Instant>, Caller) -> Work<T>,
        may_lead: impl FnOnce() -> bool,
    ) -> Entered<T, J> {
        let (here, mut caller) = (Ancestors::here(), Caller::here());
        let shard = self.shard(address);
        let mut flights = shard.flights.lock();
        let mut replaced = None;
        let missed = match flights.find(address.hash, |entry| entry.key.is(|known| *known == key)) {
            None if !may_lead() => {
                drop(flights);
                drop(key);
                return Entered::Outdated(job);
            }
            None => self.missed(&flights, address, &key),
            Some(index) => {
                let flight = &mut flights.entries[index].flight;
                let number = flight.number();
                let is_left = newer_than == Some(number) && !flight.has_ended();
                match if is_left {
                    Joining::Closed(None)
                } else {
                    flight.join(rules, &here, &mut caller)
                } {
                    Joining::Inside => return Entered::Inside(job),
                    Joining::Joined(joined, link, runtime) => {
                        drop(flights);
                        let waiter = Waiter::join(Slot::new(shard.clone(), index, number), joined);
                        waiter.spawn_task(runtime);
                        link.tie(caller);
                        drop(key);
                        return Entered::Joined(waiter, job);
                    }
                    Joining::LeadAgain(joined) => {
                        drop(flights);
                        let mut waiter =
                            Waiter::join(Slot::new(shard.clone(), index, number), joined);
                        drop(key);
                        waiter.lead_again(start(job, self.opening(), caller));
                        return Entered::Led(waiter, None);
                    }
                    Joining::Held(end) => {
                        drop(flights);
                        drop(key);
                        return Entered::Held(end, job);
                    }
                    Joining::Closed(why) => {
                        replaced = Some(flights.take_off(index));
                        why.map(Missed::from)
                    }
                }
            }
        };
        let (opened, key) = (self.opening(), Key::Own(Some(key)));
        let work = start(job, opened, caller);
        let slot = shard.open(flights, |number| {
            let flight = Flight::new(number, work, rules, here, opened);
            FlightEntry { address, key, is_listed: true, flight }
        });
        let waiter = Waiter::lead(slot);
        drop(replaced);
        Entered::Led(waiter, missed)
    }

    /// Leads a flight that no call can join.
    pub(crate) fn lead_unlisted(
        &self,
        address: Address,
        rules: &Rules,
        work: Work<T>,
    ) -> Waiter<T> {
        let (shard, here, opened) = (self.shard(address), Ancestors::here(), self.opening());
        let slot = shard.open(shard.flights.lock(), |number| {
            let flight = Flight::new(number, work, rules, here, opened);
            FlightEntry { address, key: Key::Own(None), is_listed: false, flight }
        });
        Waiter::lead(slot)
    }

    /// A flight in progress that a call for `key` missed, which leads now.
    #[inline(always)]
    fn missed(&self, flights: &ShardState<K, T>, address: Address, key: &K) -> Option<Missed> {
        match near_miss::find(self.observer.own_hash(address.hash)) {
            Some(why) => Some(Missed::from(why)),
            // With nothing beside the user's key, an equal key would have been found.
            None if address.shard == address.hash => None,
            None => flights.other_partition(address, |other| (self.hooks.difference)(key, other)),
        }
    }

    /// Takes the flight with this key off the table. Its waiters still get its result.
    pub(crate) fn forget(&self, hash: u64, is_key: impl Fn(&K) -> bool) {
        let Some(shard) = self.existing_shard(hash) else { return };
        let mut flights = shard.flights.lock();
        let index = flights.find(hash, |entry| entry.key.is(&is_key));
        let taken_off = index.map(|index| shard.seal(&mut flights, index));
        drop(flights);
        drop(taken_off);
    }

    /// Takes all flights off the table for whose address and key `is_it` holds: in the shard of
    /// this hash, or in all. `is_it` runs under a lock.
    #[allow(dead_code, reason = "only HTTP has writes")]
    pub(crate) fn forget_where(&self, shard: Option<u64>, is_it: &dyn Fn(Address, &K) -> bool) {
        let mut caught = CaughtPanic::default();
        for shard in self.existing_shards(shard) {
            caught.run(|| shard.forget_where(is_it));
        }
        caught.resume();
    }

    /// Takes all flights off the table for whose key `is_it` holds, which is called under no lock.
    pub(crate) fn forget_if(&self, is_it: &mut dyn FnMut(&K) -> bool) {
        let shards = self.existing_shards(None);
        // Before any is asked about: the flights that `is_it` itself leads are not.
        let lent: Vec<_> = shards.iter().map(|shard| shard.flights.lock().lend_keys()).collect();
        let mut caught = CaughtPanic::default();
        for (shard, keys) in shards.iter().zip(lent) {
            for Lent { key, index, number } in keys {
                let mut is_chosen = false;
                caught.run(|| is_chosen = is_it(&key));
                if is_chosen {
                    shard.forget_flight(index, number);
                }
                caught.drop_caught(key);
            }
        }
        caught.resume();
    }

    /// Whether calls still find the flight that is being polled here. False after it was forgotten,
    /// and after a call that it did not take led another.
    #[allow(dead_code, reason = "only HTTP asks")]
    pub(crate) fn lists_this_flight(&self, address: Address) -> bool {
        let Some((shard, number)) = self.existing_shard(address.shard).zip(reentry::innermost())
        else {
            return false;
        };
        let flights = shard.flights.lock();
        flights.find(address.hash, |entry| entry.flight.number() == number).is_some()
    }

    /// Takes the flight that is being polled here off the table: no call joins it from now on.
    #[cfg(feature = "fleet")]
    pub(crate) fn unlist_this_flight(&self, address: Address) {
        let Some((shard, number)) = self.existing_shard(address.shard).zip(reentry::innermost())
        else {
            return;
        };
        let flights = shard.flights.lock();
        let index = flights.find(address.hash, |entry| entry.flight.number() == number);
        drop(flights);
        if let Some(index) = index {
            shard.forget_flight(index, number);
        }
    }

    pub(crate) fn observer(&self) -> &Observer {
        &self.observer
    }

    /// When a flight opens that opens now, if anything reads that.
    fn opening(&self) -> Option<Instant> {
        self.observer.wants_ages().then(Instant::now)
    }

    #[inline]
    fn shard(&self, address: Address) -> &Arc<Shard<K, T>> {
        let shards =
            self.shards.get_or_init(|| (0..shard_count()).map(|_| self.new_shard()).collect());
        pick(shards, address.shard)
    }

    fn new_shard(&self) -> Arc<Shard<K, T>> {
        let (observer, hooks) = (self.observer.clone(), self.hooks);
        Arc::new_cyclic(|this| Shard {
            flights: Mutex::new(ShardState::new()),
            this: this.clone(),
            observer,
            hooks,
        })
    }

    fn existing_shard(&self, hash: u64) -> Option<&Arc<Shard<K, T>>> {
        self.shards.get().map(|shards| pick(shards, hash))
    }

    /// The shard of this hash, or all.
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

impl<K, T> Shard<K, T> {
    /// Puts a flight into a slot, lists it, and unlocks the shard. Nothing of the user's runs
    /// before that.
    #[inline]
    fn open(
        self: &Arc<Self>,
        mut flights: MutexGuard<'_, ShardState<K, T>>,
        entry: impl FnOnce(FlightNumber) -> FlightEntry<K, T>,
    ) -> Slot<T>
    where
        K: Send + Sync + 'static,
        T: Send + Sync + 'static,
    {
        let number = flights.numbers.take();
        let entry = entry(number);
        let (address, is_listed) = (entry.address, entry.is_listed);
        let index = flights.entries.insert(entry);
        if is_listed {
            flights.list(address, index);
        }
        drop(flights);
        Slot::new(self.clone(), index, number)
    }

    /// Takes all flights off the table for which `is_it` holds. It finds all before it takes any:
    /// should `is_it` panic, nothing has changed.
    fn forget_where(&self, is_it: &dyn Fn(Address, &K) -> bool) {
        let mut flights = self.flights.lock();
        let is_chosen = |entry: &FlightEntry<K, T>| {
            entry.is_listed && entry.key.is(|key| is_it(entry.address, key))
        };
        let chosen: Vec<_> = flights
            .entries
            .iter()
            .filter(|(_, entry)| is_chosen(entry))
            .map(|(index, _)| index)
            .collect();
        let taken_off: Vec<_> =
            chosen.into_iter().map(|index| self.seal(&mut flights, index)).collect();
        drop(flights);
        drop(taken_off);
    }

    /// Takes this flight off the table, if it is still there.
    fn forget_flight(&self, index: u32, number: FlightNumber) {
        let mut flights = self.flights.lock();
        let entry = flights.entries.get(index);
        let is_listed =
            entry.is_some_and(|entry| entry.is_listed && entry.flight.number() == number);
        let taken_off = is_listed.then(|| self.seal(&mut flights, index));
        drop(flights);
        drop(taken_off);
    }

    /// Takes a flight off the table, and notes that for calls that lead until it ends.
    #[must_use]
    fn seal(&self, flights: &mut ShardState<K, T>, index: u32) -> TakenOff<K, T> {
        let entry = &flights.entries[index];
        if !entry.flight.has_ended() {
            near_miss::note(self.observer.own_hash(entry.address.hash), Unjoinable::Sealed);
        }
        flights.take_off(index)
    }
}

impl<K, T> ErasedShard<T> for Shard<K, T>
where
    K: Send + Sync + 'static,
    T: Send + Sync + 'static,
{
    fn with(
        &self,
        index: u32,
        number: FlightNumber,
        transition: &mut dyn FnMut(&mut Flight<T>),
    ) -> bool {
        self.flights
            .lock()
            .entry(index, number)
            .map(|entry| transition(&mut entry.flight))
            .is_some()
    }

    fn update(
        &self,
        index: u32,
        number: FlightNumber,
        transition: &mut dyn FnMut(&mut Flight<T>) -> After<T>,
    ) -> bool {
        let mut flights = self.flights.lock();
        let Some(FlightEntry { address, is_listed, flight, .. }) = flights.entry(index, number)
        else {
            return false;
        };
        let (had_ended, waiters) = (flight.has_ended(), flight.waiters());
        let mut after = transition(flight);
        let ended_now = flight.has_ended() && !had_ended;
        let (left, frees_slot) = (waiters - flight.waiters(), flight.frees_slot());
        let (mut key, mut timer) = (None, None);
        if ended_now && flight.is_held() {
            timer = after.take_timer();
        } else if ended_now && *is_listed {
            key = Some(flights.unlist(index));
        } else if ended_now {
            near_miss::erase(Note::new(self.observer.own_hash(address.hash), Unjoinable::Sealed));
        }
        self.observer.count_out(left, ended_now);
        let gone = if frees_slot { flights.entries.remove(index) } else { None };
        after.publish();
        drop(flights);
        if ended_now || frees_slot {
            reentry::ended(number);
        }
        if ended_now {
            self.observer.tell(Event::Closed);
        }
        if let Some(timer) = timer {
            timer.spawn(self.this.clone(), index, number);
        }
        after.run(self);
        drop(gone);
        drop(key);
        true
    }

    fn setback(&self, value: &T) -> Option<Setback> {
        (self.hooks.setback)(value)
    }

    fn on_leader_gone(&self, value: &T) {
        (self.hooks.on_leader_gone)(value);
    }

    fn end_hold(&self, index: u32, number: FlightNumber) {
        let mut flights = self.flights.lock();
        let is_held = flights.entry(index, number).is_some_and(|entry| entry.flight.is_held());
        let taken_off = is_held.then(|| flights.take_off(index));
        drop(flights);
        drop(taken_off);
    }

    fn observer(&self) -> &Observer {
        &self.observer
    }
}

impl<K, T> fmt::Debug for Table<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("observer", &self.observer).finish_non_exhaustive()
    }
}
