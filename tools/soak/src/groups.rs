//! `Group`: `run`, `spawn` and `forget`.

use crate::{
    answer::Answer,
    facts::{Facts, Limits},
    key::{KEYS, Key},
    part::{Asked, Forgotten, Name, Part, any_name},
    sabotage::Sabotage,
    verdict::Events,
    work::Work,
    world::World,
};
use fastrand::Rng;
use futures_util::{FutureExt, future::BoxFuture};
use std::{future::pending, panic::AssertUnwindSafe, sync::Arc};
use tower_singleflight::{Group, Outcome, Role};

#[derive(Clone)]
pub(crate) struct Groups(Arc<Inner>);

struct Inner {
    world: Arc<World>,
    group: Group<Key, Answer>,
    forgotten: Forgotten,
}

impl Groups {
    pub(crate) fn new(world: &Arc<World>) -> Self {
        Self(Arc::new(Inner {
            world: world.clone(),
            group: Group::new(),
            forgotten: Forgotten::new(),
        }))
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.0.group.in_flight()
    }

    fn work(
        &self,
        rng: &mut Rng,
        facts: &Arc<Facts>,
        must_finish: bool,
    ) -> impl FnOnce() -> BoxFuture<'static, Answer> + Send + use<> {
        let mut work =
            Work::new(&self.0.world, Self::EVENTS.part, facts, rng).that_finishes(must_finish);
        let (groups, name) = (self.clone(), (facts.key, facts.user));
        move || {
            work.begin();
            async move {
                work.dawdle().await;
                if work.rng.u8(..12) == 0 {
                    groups.call_inside(&mut work.rng, name).await;
                    work.dawdle().await;
                }
                work.answer()
            }
            .boxed()
        }
    }

    /// A call made by the work of another one with the same key, or with a lower key: so that none
    /// waits for the other.
    async fn call_inside(&self, rng: &mut Rng, (key, user): Name) {
        let Inner { world, group, .. } = &*self.0;
        let name @ (key, user) = (rng.u32(key..KEYS), user);
        let facts = Arc::new(Facts::new(0, name, world.now(), 0));
        let mut work = Work::new(world, Self::EVENTS.part, &facts, rng);
        let key = Key::safe(world, key, user);
        let inside = world.guard(Self::EVENTS.part, || {
            group.run(key, move || async move {
                work.dawdle().await;
                work.answer()
            })
        });
        let Some(mut inside) = inside else { return };
        let ended = AssertUnwindSafe(&mut inside).catch_unwind().await;
        world.report.count("group: called inside another call's work");
        world.discard(Self::EVENTS.part, (ended, inside));
    }

    pub(crate) fn leak(&self) {
        let world = &self.0.world;
        if world.sabotages(Sabotage::LeakFlight) {
            world.leak(self.0.group.run(Key::safe(world, KEYS, 0), pending));
        }
        if world.sabotages(Sabotage::LeakTask) {
            drop(tokio::spawn(pending::<()>()));
        }
    }
}

impl Part for Groups {
    type Answer = Outcome<Answer>;
    type Terms = ();
    const EVENTS: Events = Events {
        part: "group",
        led: "group: led",
        followed: "group: followed",
        panicked: "group: got a panic that was ordered",
        lost: "group: lost with their runtime",
        left: "group: dropped or aborted",
        forgot: "group: forgot a key",
    };

    fn world(&self) -> &Arc<World> {
        &self.0.world
    }

    fn ask(&self, rng: &mut Rng, is_doomed: bool) -> Option<Asked<Self>> {
        let Inner { world, group, forgotten } = &*self.0;
        let (name, spawns) = (any_name(rng), rng.u8(..5) == 0);
        let verb = if spawns { "spawn" } else { "run" };
        let call = world.open(format!("group: {verb} of key {} of user {}", name.0, name.1));
        Asked::new(self, (call, name, forgotten.floor(name)), (), is_doomed, |facts| {
            let key = Key::of(world, facts, rng);
            let work = self.work(rng, facts, spawns && !is_doomed);
            if spawns { group.spawn(key, work).boxed() } else { group.run(key, work).boxed() }
        })
    }

    fn judge(&self, asked: &Asked<Self>, Outcome { value, shared, role, .. }: &Outcome<Answer>) {
        let (world, facts, from) = (&self.0.world, &asked.facts, &value.facts);
        Self::EVENTS.received(world, facts, from, Limits::default());
        let leads = facts.id == from.id;
        if (*role == Role::Leader) != leads || !(leads || *shared) {
            let (this, other) = (facts.tell(), from.tell());
            world.report.fail(
                Self::EVENTS.part,
                &format!("{this}: {role:?}, shared {shared}, from {other}"),
            );
        }
    }

    fn forget(&self, rng: &mut Rng) {
        let Inner { group, forgotten, .. } = &*self.0;
        match rng.u8(..8) {
            0 => forgotten.note_all(self, || group.forget_all()),
            1..4 => {
                forgotten.note(self, any_name(rng), |key| group.forget_if(|known| known == key))
            }
            _ => forgotten.note(self, any_name(rng), |key| group.forget(key)),
        }
    }
}
