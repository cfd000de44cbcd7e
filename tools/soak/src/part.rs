//! What a `Group` and a layered service have in common, as far as their callers go.

use crate::{
    calls::Call,
    facts::Facts,
    key::{KEYS, Key, USERS},
    sabotage::Sabotage,
    verdict::Events,
    world::World,
};
use fastrand::Rng;
use futures_util::future::BoxFuture;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::SeqCst},
};

pub(crate) trait Part: Clone + Send + Sync + 'static {
    type Answer: Send + 'static;
    /// What an answer is judged by, besides the facts of its call.
    type Terms: Send + Sync + 'static;
    const EVENTS: Events;

    fn world(&self) -> &Arc<World>;
    /// `None`: a key, or what makes one, panicked. `is_doomed`: it is called in a runtime that goes
    /// down.
    fn ask(&self, rng: &mut Rng, is_doomed: bool) -> Option<Asked<Self>>;
    fn judge(&self, asked: &Asked<Self>, answer: &Self::Answer);
    fn forget(&self, rng: &mut Rng);
}

/// A call in a caller's hands.
pub(crate) struct Asked<P: Part> {
    pub(crate) call: Call,
    pub(crate) facts: Arc<Facts>,
    pub(crate) terms: P::Terms,
    pub(crate) waits: BoxFuture<'static, P::Answer>,
    pub(crate) is_doomed: bool,
}

/// A key and a user.
pub(crate) type Name = (u32, u32);

/// The lower the key, the more ask for it.
pub(crate) fn any_name(rng: &mut Rng) -> Name {
    (rng.u32(..KEYS).min(rng.u32(..KEYS)), rng.u32(..USERS))
}

impl<P: Part> Asked<P> {
    pub(crate) fn new(
        part: &P,
        (call, name, floor): (Call, Name, u64),
        terms: P::Terms,
        is_doomed: bool,
        make: impl FnOnce(&Arc<Facts>) -> BoxFuture<'static, P::Answer>,
    ) -> Option<Self> {
        let world = part.world();
        let facts = Arc::new(Facts::new(call.id(), name, world.now(), floor));
        let waits = world.guard(P::EVENTS.part, || make(&facts));
        facts.made(world.now());
        if waits.is_none() {
            world.report.count(P::EVENTS.panicked);
        }
        Some(Self { call, facts, terms, waits: waits?, is_doomed })
    }
}

/// When the latest `forget` of each name began, of those that have returned.
pub(crate) struct Forgotten([AtomicU64; (KEYS * USERS) as usize]);

impl Forgotten {
    pub(crate) fn new() -> Self {
        Self(Default::default())
    }

    /// A flight that was led before this must not answer a call from now on.
    pub(crate) fn floor(&self, name: Name) -> u64 {
        self.of(name).load(SeqCst)
    }

    pub(crate) fn note<P: Part>(&self, part: &P, name: Name, forget: impl FnOnce(&Key)) {
        let world = part.world();
        let (began, key) = (world.now(), Key::safe(world, name.0, name.1));
        let is_idle = world.sabotages(Sabotage::StaleAnswer);
        // A key that it is compared with may panic, and then nothing is forgotten.
        if is_idle || world.guard(P::EVENTS.part, || forget(&key)).is_some() {
            self.of(name).fetch_max(began, SeqCst);
            world.report.count(P::EVENTS.forgot);
        }
    }

    pub(crate) fn note_all<P: Part>(&self, part: &P, forget: impl FnOnce()) {
        let world = part.world();
        let began = world.now();
        let is_idle = world.sabotages(Sabotage::StaleAnswer);
        if is_idle || world.guard(P::EVENTS.part, forget).is_some() {
            for floor in &self.0 {
                floor.fetch_max(began, SeqCst);
            }
            world.report.count(P::EVENTS.forgot);
        }
    }

    fn of(&self, (key, user): Name) -> &AtomicU64 {
        &self.0[(key * USERS + user) as usize]
    }
}
