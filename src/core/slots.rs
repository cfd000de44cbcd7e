//! Values in numbered slots, the first of which costs no allocation.

use slab::Slab;
use std::mem;

/// The number of a slot. Unique among those that are taken, free again when its value is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot(u32);

impl Slot {
    /// The first of all slots, which the first value gets.
    pub(crate) const FIRST: Self = Self(0);
}

/// All is O(1) but to go through all.
#[derive(Debug)]
pub(crate) struct Slots<V> {
    first: Option<V>,
    rest: Slab<V>,
}

impl<V> Slots<V> {
    pub(crate) fn insert(&mut self, value: V) -> Slot {
        if self.first.is_none() {
            self.first = Some(value);
            return Slot::FIRST;
        }
        Slot(u32::try_from(1 + self.rest.insert(value)).expect("fewer than 2^32 values"))
    }

    pub(crate) fn remove(&mut self, slot: Slot) -> V {
        match slot.in_rest() {
            None => self.first.take().expect(TAKEN),
            Some(n) => self.rest.remove(n),
        }
    }

    /// As `remove`, but a storm leaves no large table behind.
    pub(crate) fn remove_and_shrink(&mut self, slot: Slot) -> V {
        let value = self.remove(slot);
        if slot != Slot::FIRST && self.rest.is_empty() && self.rest.capacity() > 64 {
            self.rest = Slab::new();
        }
        value
    }

    pub(crate) fn get_mut(&mut self, slot: Slot) -> &mut V {
        match slot.in_rest() {
            None => self.first.as_mut().expect(TAKEN),
            Some(n) => &mut self.rest[n],
        }
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.first.iter_mut().chain(self.rest.iter_mut().map(|(_, value)| value))
    }

    /// Empties all slots.
    pub(crate) fn clear(&mut self) -> Self {
        mem::take(self)
    }
}

const TAKEN: &str = "the slot is taken";

impl Slot {
    fn in_rest(self) -> Option<usize> {
        (self.0 as usize).checked_sub(1)
    }
}

impl<V> Default for Slots<V> {
    fn default() -> Self {
        Self { first: None, rest: Slab::new() }
    }
}

/// In the order of the slots.
impl<V> IntoIterator for Slots<V> {
    type Item = V;
    type IntoIter = std::iter::Chain<std::option::IntoIter<V>, Rest<V>>;

    fn into_iter(self) -> Self::IntoIter {
        self.first.into_iter().chain(Rest(self.rest.into_iter()))
    }
}

pub(crate) struct Rest<V>(slab::IntoIter<V>);

impl<V> Iterator for Rest<V> {
    type Item = V;

    fn next(&mut self) -> Option<V> {
        self.0.next().map(|(_, value)| value)
    }
}
