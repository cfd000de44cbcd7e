//! Many tasks on two threads, each with a key of its own.

use crate::{
    contender::{Answer, BARE, BY_KEY, Contender, Visit},
    contenders::visit_all,
    options::Options,
    report::{Report, Table},
    rounds::Lineup,
    runtime::two_threads,
    work::YieldOnce,
};
use cpu_time::ProcessTime;
use std::{hint::black_box, time::Instant};
use tokio::{runtime::Runtime, task::JoinSet};

const TASKS: u64 = 64;
const WALL: usize = 0;
const CPU: usize = 1;

pub(crate) fn run(options: &Options) -> Report {
    let (calls, rounds) = (options.size(200, 5), options.rounds(200));
    let runtime = two_threads();
    let mut threads = Threads { runtime: &runtime, calls, lineup: Lineup::new() };
    visit_all(&mut threads);
    let rounds_run = threads.lineup.run(rounds);
    let mut table =
        Table::new("", &["", "time ÷ bare", "`by_key` ÷ this", "CPU ÷ bare", "`by_key` ÷ this"]);
    for name in rounds_run.names() {
        let ratios = [WALL, CPU].map(|measure| {
            let of_bare = rounds_run.ratio((name, measure), (BARE, measure));
            let of_it = rounds_run.ratio((BY_KEY, measure), (name, measure));
            [of_bare.to_string(), of_it.to_string()]
        });
        table.row([name.to_string()].into_iter().chain(ratios.concat()));
    }
    let about = format!(
        "{TASKS} tasks on a runtime of 2 threads, each making {calls} calls one after the other \
         with a key of its own; the inner work yields once; {rounds} rounds."
    );
    Report { title: "64 tasks, 2 threads, distinct keys", about, tables: vec![table], panel: None }
}

struct Threads<'a> {
    runtime: &'a Runtime,
    calls: usize,
    lineup: Lineup<'a, 2>,
}

impl Visit<YieldOnce> for Threads<'_> {
    fn visit<C: Contender<YieldOnce>>(&mut self) {
        let (runtime, calls) = (self.runtime, self.calls);
        let contender = C::new(YieldOnce);
        self.lineup.add(C::NAME, move || runtime.block_on(storm(&contender, calls)));
    }
}

async fn storm<C: Contender<YieldOnce>>(contender: &C, calls: usize) -> [f64; 2] {
    let mut tasks = JoinSet::new();
    let (start, cpu) = (Instant::now(), ProcessTime::now());
    for key in 0..TASKS {
        let mut contender = contender.clone();
        tasks.spawn(async move {
            for _ in 0..calls {
                black_box(contender.call(key).await.value());
            }
        });
    }
    tasks.join_all().await;
    [start.elapsed().as_secs_f64(), cpu.elapsed().as_secs_f64()]
}
