//! What works bring: an answer or an error, each with the facts of the call that it was made for.

use crate::{alive::Alive, facts::Facts, injected::Trap, world::World};
use fastrand::Rng;
use std::{error::Error, fmt, sync::Arc};

pub(crate) struct Answer {
    pub(crate) facts: Arc<Facts>,
    clone: Trap,
    drop: Trap,
    alive: Alive,
}

impl Answer {
    pub(crate) fn new(world: &World, facts: Arc<Facts>, rng: &mut Rng) -> Self {
        let mut trap = || Trap::set(rng.u16(..300) == 0);
        Self { facts, clone: trap(), drop: trap(), alive: world.answers.one() }
    }
}

impl Clone for Answer {
    fn clone(&self) -> Self {
        self.clone.spring("in the clone of an answer");
        Self {
            facts: self.facts.clone(),
            clone: Trap::default(),
            drop: Trap::default(),
            alive: self.alive.clone(),
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.drop.spring("in the drop of an answer");
    }
}

#[derive(Clone)]
pub(crate) struct Failure {
    pub(crate) facts: Arc<Facts>,
    _alive: Alive,
}

impl Failure {
    pub(crate) fn new(world: &World, facts: Arc<Facts>) -> Self {
        Self { facts, _alive: world.answers.one() }
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the failure of {}", self.facts.tell())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl Error for Failure {}
