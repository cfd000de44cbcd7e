//! An engine that does on purpose what none may do.

use crate::{sabotage::Sabotage, world::World};
use bytes::Bytes;
use std::{future::ready, sync::Arc, time::Duration};
use tower_singleflight::fleet::engine::{
    Checked, Closed, Engine, EngineResult, Entry, Epoch, Landing, Name, Pushes, Replica, Tag,
    Token, Waiting,
};

/// Without a sabotage, it is as the engine in it.
pub(super) struct Faulty<E> {
    world: Arc<World>,
    engine: E,
}

const FOR_EVER: Duration = Duration::from_secs(24 * 60 * 60);

impl<E> Faulty<E> {
    pub(super) fn new(world: &Arc<World>, engine: E) -> Self {
        Self { world: world.clone(), engine }
    }

    fn keeps(&self) -> bool {
        self.world.sabotages(Sabotage::KeepEntries)
    }
}

impl<E: Engine> Engine for Faulty<E> {
    fn listen(&self, replica: Replica, pushes: Pushes) {
        self.engine.listen(replica, pushes);
    }

    fn watch(&self, group: &str) {
        self.engine.watch(group);
    }

    fn is_up(&self) -> bool {
        self.engine.is_up()
    }

    fn enter<'a>(
        &'a self,
        name: &'a Name,
        token: Token,
        lease: Duration,
    ) -> EngineResult<'a, Entry> {
        self.engine.enter(name, token, lease)
    }

    fn shut_and_enter<'a>(
        &'a self,
        name: &'a Name,
        sealed: Token,
        token: Token,
        lease: Duration,
    ) -> EngineResult<'a, Entry> {
        self.engine.shut_and_enter(name, sealed, token, lease)
    }

    fn close<'a>(
        &'a self,
        name: &'a Name,
        flight: Token,
        lease: Duration,
        tells: bool,
    ) -> EngineResult<'a, Closed> {
        self.engine.close(name, flight, lease, tells)
    }

    fn land<'a>(
        &'a self,
        name: &'a Name,
        flight: Token,
        landing: Landing,
    ) -> EngineResult<'a, bool> {
        let keep = if self.keeps() { FOR_EVER } else { landing.keep };
        self.engine.land(name, flight, Landing { keep, ..landing })
    }

    fn renew<'a>(
        &'a self,
        flights: &'a [(Name, Token)],
        lease: Duration,
    ) -> EngineResult<'a, Vec<bool>> {
        self.engine.renew(flights, lease)
    }

    fn check<'a>(&'a self, waiting: &'a [Waiting]) -> EngineResult<'a, Vec<Checked>> {
        self.engine.check(waiting)
    }

    fn release<'a>(&'a self, name: &'a Name, flight: Token) -> EngineResult<'a, ()> {
        self.engine.release(name, flight)
    }

    fn fetch<'a>(&'a self, name: &'a Name, flight: Token) -> EngineResult<'a, Option<Bytes>> {
        self.engine.fetch(name, flight)
    }

    fn done<'a>(&'a self, waiting: &'a Waiting) -> EngineResult<'a, ()> {
        if self.keeps() { Box::pin(ready(Ok(()))) } else { self.engine.done(waiting) }
    }

    fn seal<'a>(
        &'a self,
        tag: &'a Tag,
        group: &'a str,
        epoch: Epoch,
        life: Duration,
    ) -> EngineResult<'a, ()> {
        if self.world.sabotages(Sabotage::LoseSeals) {
            return Box::pin(ready(Ok(())));
        }
        self.engine.seal(tag, group, epoch, life)
    }

    fn ping(&self) -> EngineResult<'_, ()> {
        self.engine.ping()
    }
}
