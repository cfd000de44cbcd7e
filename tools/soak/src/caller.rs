//! A caller that asks again and again: it awaits, comes late, drops, aborts and forgets, and lets
//! runtimes go down.

use crate::{
    doomed::Doomed,
    injected::Panic,
    part::{Asked, Part},
};
use fastrand::Rng;
use futures_util::{FutureExt, future::join_all};
use std::{
    panic::AssertUnwindSafe,
    time::{Duration, Instant},
};
use tokio::time::{sleep, timeout};

#[derive(Clone)]
pub(crate) struct Caller<P>(pub(crate) P);

impl<P: Part> Caller<P> {
    pub(crate) async fn act(self, mut rng: Rng, until: Instant) {
        while Instant::now() < until {
            self.step(&mut rng).await;
        }
    }

    async fn step(&self, rng: &mut Rng) {
        match rng.u16(..1000) {
            0..500 => self.await_some(rng).await,
            500..650 => self.await_late(rng).await,
            650..800 => self.lose_patience(rng).await,
            800..900 => self.abort(rng).await,
            900..975 => self.0.forget(rng),
            _ => self.doom(rng).await,
        }
    }

    /// One call, or several at once.
    async fn await_some(&self, rng: &mut Rng) {
        let several = if rng.u8(..4) == 0 { rng.usize(2..12) } else { 1 };
        self.finish_all((0..several).filter_map(|_| self.0.ask(rng, false)).collect()).await;
    }

    /// Made, and not polled for a while: this must keep nobody else waiting.
    async fn await_late(&self, rng: &mut Rng) {
        let asked = self.0.ask(rng, false);
        sleep(Duration::from_micros(rng.u64(..30_000))).await;
        if let Some(asked) = asked {
            self.finish(asked).await;
        }
    }

    async fn lose_patience(&self, rng: &mut Rng) {
        let Some(mut asked) = self.0.ask(rng, false) else { return };
        let patience = Duration::from_micros(rng.u64(..8_000));
        let is_polled = rng.u8(..3) > 0;
        if !is_polled || timeout(patience, self.receive(&mut asked)).await.is_err() {
            self.0.world().report.count(P::EVENTS.left);
        }
        self.0.world().discard(P::EVENTS.part, asked.waits);
    }

    /// The task in which it waits.
    async fn abort(&self, rng: &mut Rng) {
        let Some(asked) = self.0.ask(rng, false) else { return };
        let caller = self.clone();
        let task = tokio::spawn(async move { caller.finish(asked).await });
        sleep(Duration::from_micros(rng.u64(..8_000))).await;
        task.abort();
        let Err(error) = task.await else { return };
        let report = &self.0.world().report;
        report.count(P::EVENTS.left);
        match error.try_into_panic().map(|payload| Panic::of(&*payload)) {
            Ok(Panic::Injected(_)) | Err(_) => {}
            Ok(_) => report.fail(P::EVENTS.part, "an aborted call panicked, which nobody ordered"),
        }
    }

    /// Some calls are made in a runtime that goes down, and some others may join them.
    async fn doom(&self, rng: &mut Rng) {
        let doomed = Doomed::new();
        let mut asked: Vec<_> = {
            let _inside = doomed.enter();
            (0..rng.usize(1..8)).filter_map(|_| self.0.ask(rng, true)).collect()
        };
        asked.extend((0..rng.usize(..6)).filter_map(|_| self.0.ask(rng, false)));
        let time = Duration::from_micros(rng.u64(..10_000));
        let fall = async {
            sleep(time).await;
            drop(doomed);
        };
        tokio::join!(self.finish_all(asked), fall);
    }

    async fn finish_all(&self, asked: Vec<Asked<P>>) {
        join_all(asked.into_iter().map(|asked| self.finish(asked))).await;
    }

    async fn finish(&self, mut asked: Asked<P>) {
        self.receive(&mut asked).await;
        self.0.world().discard(P::EVENTS.part, asked.waits);
    }

    async fn receive(&self, asked: &mut Asked<P>) {
        asked.call.note("first polled");
        let ended = AssertUnwindSafe(&mut asked.waits).catch_unwind().await;
        let world = self.0.world();
        match ended {
            Ok(answer) => {
                self.0.judge(asked, &answer);
                world.discard(P::EVENTS.part, answer);
            }
            Err(payload) => P::EVENTS.caught(world, &asked.facts, &*payload, asked.is_doomed),
        }
    }
}
