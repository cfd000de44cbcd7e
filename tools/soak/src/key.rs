//! The keys of the parts that are not HTTP. Not `Clone`, and not to be trusted.

use crate::{alive::Alive, facts::Facts, injected::Trap, sabotage::Sabotage, world::World};
use fastrand::Rng;
use std::hash::{Hash, Hasher};

pub(crate) const KEYS: u32 = 6;
pub(crate) const USERS: u32 = 2;

pub(crate) struct Key {
    key: u32,
    user: u32,
    hash: Trap,
    eq: Trap,
    drop: Trap,
    _alive: Alive,
}

impl Key {
    /// Of what `facts` are about; it may panic.
    pub(crate) fn of(world: &World, facts: &Facts, rng: &mut Rng) -> Self {
        Self::with_traps(world, facts.key, facts.user, || Trap::set(rng.u16(..600) == 0))
    }

    pub(crate) fn safe(world: &World, key: u32, user: u32) -> Self {
        Self::with_traps(world, key, user, Trap::default)
    }

    fn with_traps(world: &World, key: u32, user: u32, mut trap: impl FnMut() -> Trap) -> Self {
        let user = if world.sabotages(Sabotage::WrongAnswer) { 0 } else { user };
        Self { key, user, hash: trap(), eq: trap(), drop: trap(), _alive: world.keys.one() }
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.hash.spring("in the hash of a key");
        (self.key, self.user).hash(state);
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.eq.spring("in the comparison of a key");
        (self.key, self.user) == (other.key, other.user)
    }
}

impl Eq for Key {}

impl Drop for Key {
    fn drop(&mut self) {
        self.drop.spring("in the drop of a key");
    }
}
