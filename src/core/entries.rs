//! The flights of a shard, in their slots, and the index by which calls find them.

use crate::{
    core::{
        flight::Flight,
        key::{Address, Key},
        reentry::{FlightNumber, Numbers},
        shard::{Difference, Missed},
        slots::Slots,
    },
    stats::NearMiss,
};
use hashbrown::HashTable;
use std::{mem, sync::Arc};

/// The first key needs no index, so traffic without concurrency allocates none.
pub(super) struct ShardState<K, T> {
    first: Option<u32>,
    index: HashTable<u32>,
    keys: KeyCounts,
    pub(super) entries: Slots<FlightEntry<K, T>>,
    pub(super) numbers: Numbers,
}

pub(super) struct FlightEntry<K, T> {
    pub(super) address: Address,
    pub(super) key: Key<K>,
    /// Whether calls for its key find it.
    pub(super) is_listed: bool,
    pub(super) flight: Flight<T>,
}

/// What a flight that was taken off the table leaves behind, to be dropped once nothing is locked:
/// its key, and the rest of it if its result was held.
pub(super) struct TakenOff<K, T> {
    _key: Key<K>,
    _held: Option<Box<FlightEntry<K, T>>>,
}

/// A key that is lent, and the flight that it belongs to.
pub(super) struct Lent<K> {
    pub(super) key: Arc<K>,
    pub(super) index: u32,
    pub(super) number: FlightNumber,
}

/// How many slots are looked at for a near miss.
const LOOKED_AT: u32 = 128;

/// How many buckets of the index may stay allocated when it is empty.
const KEPT: usize = 64;

impl<K, T> ShardState<K, T> {
    pub(super) fn new() -> Self {
        Self {
            first: None,
            index: HashTable::new(),
            keys: KeyCounts([0; 64]),
            entries: Slots::new(),
            numbers: Numbers::default(),
        }
    }

    /// The flight that calls find.
    #[inline]
    pub(super) fn find(
        &self,
        hash: u64,
        is_it: impl Fn(&FlightEntry<K, T>) -> bool,
    ) -> Option<u32> {
        let is_it = |index: &u32| {
            let entry = &self.entries[*index];
            entry.address.hash == hash && is_it(entry)
        };
        let first = self.first.filter(is_it);
        if first.is_some() || self.index.is_empty() {
            return first;
        }
        self.index.find(hash, is_it).copied()
    }

    /// The flight with this number, if it is still in its slot.
    #[inline]
    pub(super) fn entry(
        &mut self,
        index: u32,
        number: FlightNumber,
    ) -> Option<&mut FlightEntry<K, T>> {
        self.entries.get_mut(index).filter(|entry| entry.flight.number() == number)
    }

    #[inline]
    pub(super) fn list(&mut self, address: Address, index: u32) {
        self.keys.add(address);
        if self.first.is_none() {
            self.first = Some(index);
        } else {
            let hash_of = |index: &u32| self.entries[*index].address.hash;
            self.index.insert_unique(address.hash, index, hash_of);
        }
    }

    /// From now on no call finds this flight. Gives its key back, to be dropped once nothing is
    /// locked.
    #[inline]
    #[must_use]
    pub(super) fn unlist(&mut self, index: u32) -> Key<K> {
        let entry = &mut self.entries[index];
        entry.is_listed = false;
        let key = mem::replace(&mut entry.key, Key::Own(None));
        self.keys.remove(entry.address);
        if self.first == Some(index) {
            self.first = None;
        } else if let Ok(found) =
            self.index.find_entry(entry.address.hash, |listed| *listed == index)
        {
            found.remove();
            if self.index.is_empty() && self.index.capacity() > KEPT {
                self.index = HashTable::new();
            }
        }
        key
    }

    /// From now on no call finds this flight, and its result is not held.
    #[cold]
    #[must_use]
    pub(super) fn take_off(&mut self, index: u32) -> TakenOff<K, T> {
        let key = self.unlist(index);
        let flight = &mut self.entries[index].flight;
        flight.end_hold();
        let held =
            if flight.frees_slot() { self.entries.remove(index).map(Box::new) } else { None };
        TakenOff { _key: key, _held: held }
    }

    /// Finds a flight with the same user key and another partition, and the part that differs. Of
    /// many flights it looks at some.
    #[inline]
    pub(super) fn other_partition(
        &self,
        address: Address,
        difference: impl Fn(&K) -> Option<Difference>,
    ) -> Option<Missed> {
        if self.keys.has(address) { self.look_at_some(address, difference) } else { None }
    }

    #[cold]
    fn look_at_some(
        &self,
        address: Address,
        difference: impl Fn(&K) -> Option<Difference>,
    ) -> Option<Missed> {
        let looked_at = (0..LOOKED_AT).filter_map(|index| self.entries.get(index));
        let difference = looked_at
            .filter(|entry| entry.is_listed && entry.address.shard == address.shard)
            .find_map(|entry| {
                let mut found = None;
                entry.key.is(|other| {
                    found = difference(other);
                    found.is_some()
                });
                found
            })?;
        Some(Missed { why: NearMiss::Partition, difference })
    }

    pub(super) fn lend_keys(&mut self) -> Vec<Lent<K>> {
        let listed = self.entries.iter_mut().filter(|(_, entry)| entry.is_listed);
        let lend = |(index, entry): (u32, &mut FlightEntry<K, T>)| {
            Some(Lent { key: entry.key.lend()?, index, number: entry.flight.number() })
        };
        listed.filter_map(lend).collect()
    }
}

/// Counts the listed flights by some bits of the hash of their user's key. So a call that has no
/// other partition to find looks at no slot, as a rule.
struct KeyCounts([u16; 64]);

impl KeyCounts {
    #[inline]
    fn add(&mut self, address: Address) {
        if let Some(count) = self.of(address) {
            *count += 1;
        }
    }

    #[inline]
    fn remove(&mut self, address: Address) {
        if let Some(count) = self.of(address) {
            *count -= 1;
        }
    }

    /// `None`: the flight has nothing beside its user's key, so that it is no other partition. Or
    /// its place is full, and stays so: its calls may look in vain, which costs time alone.
    #[inline]
    fn of(&mut self, address: Address) -> Option<&mut u16> {
        let count = &mut self.0[Self::place(address)];
        (address.shard != address.hash && *count < u16::MAX).then_some(count)
    }

    #[inline]
    fn has(&self, address: Address) -> bool {
        self.0[Self::place(address)] > 0
    }

    /// The low bits: the high half picks the shard.
    fn place(address: Address) -> usize {
        address.shard as usize % 64
    }
}
