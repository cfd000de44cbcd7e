//! Random calls, polls, drops, forgets and switches of a layer that retries and loses its patience,
//! against what may be.

use crate::support::{Ask, Broken, Inner, Layered, Upstream, by_key, settle};
use fastrand::Rng;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::Poll,
    time::Duration,
};
use tokio::time::advance;
use tokio_test::task::{Spawn, spawn};
use tower::{Layer, Service};
use tower_singleflight::Handle;

/// Counts those that are alive.
#[derive(Clone, Debug)]
struct Told(u32, #[allow(dead_code, reason = "only counted")] Arc<()>);

type Storming = Upstream<Told, Broken>;
type Called = Spawn<<Layered<Storming> as Service<Ask>>::Future>;

const PATIENCE: Duration = Duration::from_millis(50);
const KEYS: u32 = 3;

struct World {
    rng: Rng,
    upstream: Storming,
    service: Layered<Storming>,
    handle: Handle<u32>,
    waiting: Vec<(u32, Called)>,
    open: Vec<Inner<Told, Broken>>,
    alive: Arc<()>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let layer = by_key()
            .followers_retry(rng.u32(..3))
            .wait_at_most(PATIENCE)
            .run_to_completion(rng.bool());
        let layer = if rng.bool() { layer.max_waiters(4) } else { layer };
        let upstream = Storming::new();
        let (service, handle) = (layer.layer(upstream.clone()), layer.handle());
        Self {
            rng,
            upstream,
            service,
            handle,
            waiting: Vec::new(),
            open: Vec::new(),
            alive: Arc::default(),
        }
    }

    async fn step(&mut self) {
        match self.rng.u8(..100) {
            0..30 => {
                let key = self.rng.u32(..KEYS);
                self.waiting.push((key, spawn(self.service.call((key, "ask")))));
            }
            30..55 => self.poll_one(),
            55..63 if !self.waiting.is_empty() => {
                drop(self.waiting.swap_remove(self.rng.usize(..self.waiting.len())))
            }
            63..80 => self.answer_one(),
            80..85 => advance(PATIENCE / 2).await,
            85..87 => self.handle.forget(&self.rng.u32(..KEYS)),
            87 => self.handle.forget_if(|key| key % 2 == 0),
            88 => self.handle.forget_all(),
            89 => self.handle.set_enabled(false),
            90..93 => self.handle.set_enabled(true),
            _ => settle().await,
        }
    }

    fn poll_one(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let at = self.rng.usize(..self.waiting.len());
        let (key, call) = &mut self.waiting[at];
        if let Poll::Ready(end) = call.poll() {
            assert!(
                end.is_err() || end.is_ok_and(|told| told.0 == *key),
                "the answer to another key"
            );
            drop(self.waiting.swap_remove(at));
        }
    }

    fn answer_one(&mut self) {
        while let Some(call) = self.upstream.try_next() {
            self.open.push(call);
        }
        self.open.retain(|call| !call.is_dropped());
        if self.open.is_empty() {
            return;
        }
        let call = self.open.swap_remove(self.rng.usize(..self.open.len()));
        match self.rng.u8(..3) {
            0 => call.fail(Broken("down")),
            _ => {
                let key = call.request.0;
                call.answer(Told(key, self.alive.clone()));
            }
        }
    }

    /// Whoever still waits has an answer in the end.
    async fn end(&mut self) {
        for _ in 0..10_000 {
            settle().await;
            (0..8).for_each(|_| self.answer_one());
            (0..self.waiting.len()).for_each(|_| self.poll_one());
            if self.waiting.is_empty() && self.handle.in_flight() == 0 {
                break;
            }
        }
        settle().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_storm_leaves_nothing_and_nobody() {
    let seen = [(); 3].map(|()| AtomicUsize::new(0));
    let first = std::env::var("STORM_SEED")
        .map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    for seed in (0..200).map(|round| first.wrapping_add(round)) {
        println!("STORM_SEED={seed}");
        let mut world = World::new(seed);
        for _ in 0..300 {
            world.step().await;
        }
        world.end().await;
        assert_eq!(world.waiting.len(), 0, "somebody hangs");
        let stats = world.handle.stats();
        assert_eq!((stats.in_flight, stats.waiting), (0, 0));
        world.open.clear();
        assert_eq!(Arc::strong_count(&world.alive), 1, "an answer is left");
        for (seen, count) in seen.iter().zip([stats.refused, stats.timed_out, stats.near_misses()])
        {
            seen.fetch_add(count as usize, SeqCst);
        }
    }
    assert!(seen.iter().all(|seen| seen.load(SeqCst) > 50), "the storm is no storm: {seen:?}");
}
