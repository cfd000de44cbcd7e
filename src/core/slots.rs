//! Values in numbered slots. The first slot costs no allocation, and a storm leaves no large table
//! behind.

use slab::Slab;

#[derive(Debug)]
pub(crate) struct Slots<V> {
    first: Option<V>,
    rest: Slab<V>,
}

/// How many slots may stay allocated when none is taken.
const KEPT: usize = 64;

impl<V> Slots<V> {
    pub(crate) const fn new() -> Self {
        Self { first: None, rest: Slab::new() }
    }

    /// Gives the number of the slot: unique among those taken, and free again when its value is
    /// removed.
    #[inline]
    pub(crate) fn insert(&mut self, value: V) -> u32 {
        if self.first.is_none() {
            self.first = Some(value);
            return 0;
        }
        u32::try_from(1 + self.rest.insert(value)).expect("fewer than 2^32 values")
    }

    #[inline]
    pub(crate) fn remove(&mut self, slot: u32) -> Option<V> {
        match in_rest(slot) {
            None => self.first.take(),
            Some(n) => self.remove_in_rest(n),
        }
    }

    #[inline(never)]
    fn remove_in_rest(&mut self, n: usize) -> Option<V> {
        let value = self.rest.try_remove(n);
        if self.rest.is_empty() && self.rest.capacity() > KEPT {
            self.rest = Slab::new();
        }
        value
    }

    #[inline]
    pub(crate) fn get(&self, slot: u32) -> Option<&V> {
        in_rest(slot).map_or(self.first.as_ref(), |n| self.rest.get(n))
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut V> {
        match in_rest(slot) {
            None => self.first.as_mut(),
            Some(n) => self.rest.get_mut(n),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &V)> {
        let rest = self.rest.iter().map(|(n, value)| (n as u32 + 1, value));
        self.first.iter().map(|value| (0, value)).chain(rest)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut V)> {
        let rest = self.rest.iter_mut().map(|(n, value)| (n as u32 + 1, value));
        self.first.iter_mut().map(|value| (0, value)).chain(rest)
    }
}

const TAKEN: &str = "the slot is taken";

fn in_rest(slot: u32) -> Option<usize> {
    (slot as usize).checked_sub(1)
}

impl<V> std::ops::Index<u32> for Slots<V> {
    type Output = V;

    #[inline]
    fn index(&self, slot: u32) -> &V {
        self.get(slot).expect(TAKEN)
    }
}

impl<V> std::ops::IndexMut<u32> for Slots<V> {
    #[inline]
    fn index_mut(&mut self, slot: u32) -> &mut V {
        self.get_mut(slot).expect(TAKEN)
    }
}
