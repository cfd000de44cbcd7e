//! The rounds, and what comes out in the end.

#[cfg(feature = "fleet")]
use crate::fleet::{self, live::Live};
use crate::{
    BoxError,
    args::Args,
    census,
    counted::Counted,
    groups::Groups,
    house::House,
    http, injected,
    memory::{Memory, Verdict, mebibytes},
    part::Part,
    report::grouped,
    services::Services,
    uploads,
    world::World,
};
use std::{
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};
use tower_singleflight::Stats;

const OPEN_FILES: u64 = 16_384;
const TOLD_EVERY: Duration = Duration::from_secs(5);

struct Run {
    args: Args,
    world: Arc<World>,
    houses: [House; 2],
    descriptors: Option<usize>,
    memory: Memory,
    rounds: u64,
    told: Instant,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, BoxError> {
    println!("soak: {} s, --seed {}", args.time.as_secs(), args.seed);
    // Both ends of every connection are in this process.
    rlimit::increase_nofile_limit(OPEN_FILES)?;
    let world = World::new(args);
    let reporter = world.clone();
    injected::hook(move |panic| reporter.report.fail("panic", &panic));
    world.calls.watch(args.seed);
    let houses = [House::on_one_thread(&world, args)?, House::on_many_threads(&world, args)?];
    #[cfg(feature = "fleet")]
    let houses = with_redis(houses, &world, args)?;
    let descriptors = census::descriptors();
    if descriptors.is_none() {
        println!("NOT CHECKED: descriptors, which this system does not tell");
    }
    let (memory, told) = (Memory::default(), Instant::now());
    let mut run = Run { args: args.clone(), world, houses, descriptors, memory, rounds: 0, told };
    run.play()?;
    Ok(run.close())
}

#[cfg(feature = "fleet")]
fn with_redis(
    mut houses: [House; 2],
    world: &Arc<World>,
    args: &Args,
) -> Result<[House; 2], BoxError> {
    if args.redis {
        let live = Arc::new(Live::start(world, args)?);
        houses.iter_mut().for_each(|house| house.live = Some(live.clone()));
    }
    Ok(houses)
}

impl Run {
    /// Until the time is up, or something is found.
    fn play(&mut self) -> Result<(), BoxError> {
        loop {
            // The seed alone tells which house plays, so that a round can be played again.
            let seed = self.args.seed.wrapping_add(self.rounds);
            let house = &self.houses[(seed % 2) as usize];
            house.round(seed, self.args.round_time(), self.descriptors);
            self.world.leak_between_rounds()?;
            self.memory.sample();
            if self.world.report.failures() > 0 {
                println!("that was a round on {}; again from there: --seed {seed}", house.name);
            }
            self.rounds += 1;
            self.tell();
            if self.world.report.elapsed() >= self.args.time || self.world.report.failures() > 0 {
                return Ok(());
            }
        }
    }

    fn tell(&mut self) {
        if self.told.elapsed() < TOLD_EVERY {
            return;
        }
        self.told = Instant::now();
        let report = &self.world.report;
        let calls = |part| grouped(report.calls(part));
        println!(
            "{:>6} s  {} rounds  calls: {} group, {} service, {} http, {} upload  {} descriptors  \
             {}",
            report.elapsed().as_secs(),
            self.rounds,
            calls("group"),
            calls("service"),
            calls("http"),
            calls("upload"),
            census::descriptors().map_or("?".into(), |count| count.to_string()),
            mebibytes(self.memory.latest()),
        );
    }

    fn close(&self) -> ExitCode {
        let report = &self.world.report;
        println!("\n{}", report.summary());
        println!("what the layers counted");
        for (name, stats) in self.stats() {
            println!("  {name}: {}", Counted(vec![stats]).tell());
        }
        println!(
            "\n{} rounds in {} s, --seed {}",
            self.rounds,
            report.elapsed().as_secs(),
            self.args.seed
        );
        println!("slowest call: {}", self.world.calls.slowest().unwrap_or_default());
        self.judge_memory();
        #[cfg(feature = "fleet")]
        if let Some(live) = &self.houses[0].live {
            println!("redis: {}", live.tell());
            // After a failure, there may be more in it, and nobody waits for that.
            if report.failures() == 0 {
                live.close();
            }
        }
        if self.args.sees_everything() {
            self.judge_coverage();
        }
        match report.failures() {
            0 => println!("left behind: nothing; found: nothing"),
            failures => println!("FOUND: {failures} failures"),
        }
        if report.failures() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn judge_memory(&self) {
        match self.memory.verdict() {
            Verdict::TooFew => println!("NOT CHECKED: memory, for there were too few rounds"),
            Verdict::Flat(change) => println!("memory: {change}"),
            Verdict::Grew(change) => self.world.report.fail("memory", &change.to_string()),
        }
    }

    /// What never happened was not tested.
    fn judge_coverage(&self) {
        let report = &self.world.report;
        let mut events =
            [&Groups::EVENTS.all()[..], &Services::EVENTS.all(), &http::EVENTS, &uploads::EVENTS]
                .concat();
        #[cfg(feature = "fleet")]
        events.extend(fleet::EVENTS);
        #[cfg(feature = "fleet")]
        if self.args.redis {
            events.extend(fleet::live::EVENTS);
        }
        if self.args.sees_what_is_rare() {
            events.push(http::CUT_OFF);
            if cfg!(feature = "spill") && self.descriptors.is_some() {
                events.push(http::SPILLED);
            }
        }
        let mut missing: Vec<_> = events
            .into_iter()
            .filter(|event| report.counted(event) == 0)
            .map(str::to_owned)
            .collect();
        let of = |part| {
            Counted(
                self.stats()
                    .filter(|(name, _)| name.starts_with(part))
                    .map(|(_, stats)| stats)
                    .collect(),
            )
        };
        missing.extend(of(Services::EVENTS.part).missing_of_services());
        missing.extend(of(http::PART).missing_of_http(self.args.sees_what_is_rare()));
        for event in missing {
            report.fail("not tested", &format!("nothing was counted as `{event}`"));
        }
    }

    fn stats(&self) -> impl Iterator<Item = (String, Stats)> {
        self.houses.iter().flat_map(House::stats)
    }
}
