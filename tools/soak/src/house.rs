//! A runtime with everything that lives on it for the whole run, and the rounds that it plays.

#[cfg(feature = "fleet")]
use crate::fleet::{self, live::Live};
use crate::{
    BoxError, args::Args, caller::Caller, census, groups::Groups, http::Web, pressure::press,
    services::Services, uploads, world::World,
};
use fastrand::Rng;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    runtime::{Builder, Runtime},
    task::JoinSet,
    time::sleep,
};
use tower_singleflight::Stats;

/// Each of them has many clients.
const UPLOADERS: usize = 4;

pub(crate) struct House {
    pub(crate) name: &'static str,
    world: Arc<World>,
    runtime: Runtime,
    groups: Groups,
    services: Services,
    web: Web,
    #[cfg(feature = "fleet")]
    pub(crate) live: Option<Arc<Live>>,
    /// Of each kind, at most.
    callers: usize,
    /// Those that stay.
    tasks: usize,
}

impl House {
    pub(crate) fn on_one_thread(world: &Arc<World>, args: &Args) -> Result<Self, BoxError> {
        Self::new("one thread", Builder::new_current_thread().enable_all().build()?, world, args)
    }

    pub(crate) fn on_many_threads(world: &Arc<World>, args: &Args) -> Result<Self, BoxError> {
        let runtime = Builder::new_multi_thread().worker_threads(3).enable_all().build()?;
        Self::new("many threads", runtime, world, args)
    }

    fn new(
        name: &'static str,
        runtime: Runtime,
        world: &Arc<World>,
        args: &Args,
    ) -> Result<Self, BoxError> {
        let world = world.clone();
        let web = runtime.block_on(async {
            let web = Web::start(&world, args.seed).await?;
            // What starting left behind goes; what is there then, stays.
            sleep(Duration::from_millis(500)).await;
            Ok::<_, BoxError>(web)
        })?;
        let tasks = runtime.metrics().num_alive_tasks();
        let (groups, services) = (Groups::new(&world), Services::new(&world));
        Ok(Self {
            name,
            world,
            runtime,
            groups,
            services,
            web,
            #[cfg(feature = "fleet")]
            live: None,
            callers: args.callers,
            tasks,
        })
    }

    /// `descriptors`: how many there are when all is calm.
    pub(crate) fn round(&self, seed: u64, time: Duration, descriptors: Option<usize>) {
        let allowed = format!("a round on {}", self.name);
        let _watched = self.world.calls.open_longer(time, allowed);
        self.runtime.block_on(async {
            self.play(Rng::with_seed(seed), Instant::now() + time).await;
            self.calm_down(descriptors).await;
        });
        self.web.end_round();
        #[cfg(feature = "fleet")]
        if let Some(live) = &self.live {
            live.end_round();
        }
    }

    async fn play(&self, mut rng: Rng, until: Instant) {
        self.groups.leak();
        self.web.begin_round();
        let mut actors = JoinSet::new();
        for _ in 0..rng.usize(1..=self.callers) {
            actors.spawn(Caller(self.groups.clone()).act(rng.fork(), until));
        }
        for _ in 0..rng.usize(1..=self.callers) {
            actors.spawn(Caller(self.services.clone()).act(rng.fork(), until));
        }
        for _ in 0..rng.usize(1..=self.callers) {
            actors.spawn(self.web.clone().act(rng.fork(), until));
        }
        for _ in 0..rng.usize(1..=UPLOADERS) {
            actors.spawn(uploads::act(self.world.clone(), rng.fork(), until));
        }
        #[cfg(feature = "fleet")]
        if let Some(live) = self.live.clone() {
            let rng = rng.fork();
            // It has a runtime of its own.
            actors.spawn_blocking(move || live.act(rng, until));
        }
        #[cfg(feature = "fleet")]
        if self.world.has_storms(self.live.is_some()) {
            let (world, rng) = (self.world.clone(), rng.fork());
            // Its runtime has a clock of its own.
            actors.spawn_blocking(move || fleet::act(&world, rng, until));
        }
        for _ in 0..rng.usize(..3) {
            actors.spawn(press(rng.fork(), until));
        }
        while let Some(ended) = actors.join_next().await {
            if let Err(error) = ended {
                self.world.report.fail("actor", &error.to_string());
            }
        }
    }

    /// Waits for what is on its way out, and says what is not.
    async fn calm_down(&self, descriptors: Option<usize>) {
        let deadline = Instant::now() + self.world.calls.deadline();
        loop {
            let left = self.left_behind(descriptors);
            if left.is_empty() {
                return;
            }
            if Instant::now() > deadline {
                return self
                    .world
                    .report
                    .fail("left behind", &format!("on {}: {}", self.name, left.join(", ")));
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    fn left_behind(&self, descriptors: Option<usize>) -> Vec<String> {
        let mut left = Vec::new();
        let mut note = |what: &str, count: usize, stays: usize| {
            if count > stays {
                left.push(format!("{} {what}", count - stays));
            }
        };
        note("tasks", self.runtime.metrics().num_alive_tasks(), self.tasks);
        if let Some((now, stay)) = census::descriptors().zip(descriptors) {
            note("descriptors", now, stay);
        }
        note("keys", self.world.keys.count(), 0);
        note("works", self.world.works.count(), 0);
        note("answers", self.world.answers.count(), 0);
        note("flights of the group", self.groups.in_flight(), 0);
        for (name, stats) in self.stats() {
            note(&format!("flights of {name}"), stats.in_flight, 0);
            note(&format!("waiters of {name}"), stats.waiting, 0);
        }
        #[cfg(feature = "fleet")]
        if let Some(live) = &self.live {
            left.extend(live.left_behind());
        }
        left
    }

    /// What each layer counted.
    pub(crate) fn stats(&self) -> Vec<(String, Stats)> {
        [self.services.stats(), self.web.stats()].concat()
    }
}
