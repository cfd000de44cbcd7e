//! The work behind a call: it takes its time, and ends well or badly.

use crate::{
    alive::Alive,
    answer::{Answer, Failure},
    facts::Facts,
    injected::inject,
    sabotage::Sabotage,
    world::World,
};
use fastrand::Rng;
use std::{future::pending, sync::Arc, time::Duration};
use tokio::{task::yield_now, time::sleep};

pub(crate) struct Work {
    world: Arc<World>,
    part: &'static str,
    facts: Arc<Facts>,
    pub(crate) rng: Rng,
    /// Whoever leaves, once it has begun it goes on to its end.
    must_finish: bool,
    begun: bool,
    ended: bool,
    _alive: Alive,
}

impl Work {
    pub(crate) fn new(
        world: &Arc<World>,
        part: &'static str,
        facts: &Arc<Facts>,
        rng: &mut Rng,
    ) -> Self {
        let (world, facts, alive) = (world.clone(), facts.clone(), world.works.one());
        let rng = rng.fork();
        Self {
            world,
            part,
            facts,
            rng,
            must_finish: false,
            begun: false,
            ended: false,
            _alive: alive,
        }
    }

    pub(crate) fn that_finishes(mut self, must_finish: bool) -> Self {
        self.must_finish = must_finish;
        self
    }

    pub(crate) fn begin(&mut self) {
        self.begun = true;
        self.facts.begun(self.world.now());
        if self.rng.u8(..100) == 0 {
            self.panic();
        }
    }

    pub(crate) async fn dawdle(&mut self) {
        match self.rng.u8(..20) {
            0..6 => {}
            6..12 => {
                for _ in 0..self.rng.u8(..6) {
                    yield_now().await;
                }
            }
            12..19 => sleep(Duration::from_micros(self.rng.u64(..6_000))).await,
            _ => sleep(Duration::from_micros(self.rng.u64(..60_000))).await,
        }
        if self.world.sabotages(Sabotage::Strand) && self.rng.u8(..50) == 0 {
            pending::<()>().await;
        }
    }

    /// Or a panic.
    pub(crate) fn answer(mut self) -> Answer {
        if self.rng.u8(..20) == 0 {
            self.panic();
        }
        self.ended = true;
        Answer::new(&self.world, self.facts.clone(), &mut self.rng)
    }

    /// Or a panic.
    pub(crate) fn end(mut self) -> Result<Answer, Failure> {
        if self.rng.u8(..8) > 0 {
            return Ok(self.answer());
        }
        self.ended = true;
        Err(Failure::new(&self.world, self.facts.clone()))
    }

    pub(crate) fn panic(&mut self) -> ! {
        self.ended = true;
        inject(self.rng.bool(), &format!("by the work of {}", self.facts.tell()))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if self.must_finish && self.begun && !self.ended {
            self.world.report.fail(
                self.part,
                &format!("the work of {} was dropped before its end", self.facts.tell()),
            );
        }
    }
}
