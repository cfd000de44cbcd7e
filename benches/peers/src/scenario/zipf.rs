//! Traffic as it comes: few keys are hot, most are not.

use crate::{
    contender::{Answer, BARE, BY_KEY, Contender, Visit},
    contenders::visit_all,
    options::Options,
    report::{Report, Table},
    rounds::{Lineup, Rounds},
    runtime::two_threads,
    work::{Nap, Tally, Work},
};
use cpu_time::ProcessTime;
use fastrand::Rng;
use std::{collections::HashMap, hint::black_box, sync::Arc, time::Duration};
use tokio::{runtime::Runtime, task::JoinSet};

const KEYS: usize = 10_000;

/// What the inner work does.
const UPSTREAMS: [(&str, Nap); 2] = [
    ("The inner work sleeps for 1 ms", Nap { time: Duration::from_millis(1), reads: 0 }),
    (
        "The inner work sleeps for 1 ms, and then hashes 8 KiB",
        Nap { time: Duration::from_millis(1), reads: 8 * 1024 },
    ),
];

/// What each task asks for, in this order.
type Traffic = Arc<[Vec<u64>]>;

pub(crate) fn run(options: &Options) -> Report {
    let (tasks, calls) = options.size((512, 50), (8, 4));
    let rounds = options.rounds(25);
    let runtime = two_threads();
    let traffic = traffic(tasks, calls);

    let mut report = Report {
        title: "Zipf mix",
        about: format!(
            "{tasks} tasks on a runtime of 2 threads, each making {calls} calls one after the \
             other; the keys are zipf-distributed (s = 1) over {KEYS}; CPU time of the process; \
             {rounds} rounds. The inner calls are those of one separate run."
        ),
        tables: Vec::new(),
        panel: None,
    };
    for (caption, upstream) in UPSTREAMS {
        let mut counted =
            Counted { upstream, runtime: &runtime, traffic: &traffic, shares: HashMap::new() };
        visit_all(&mut counted);
        let mut timed =
            Timed { upstream, runtime: &runtime, traffic: &traffic, lineup: Lineup::new() };
        visit_all(&mut timed);
        tell(caption, timed.lineup.run(rounds), &counted.shares, &mut report);
    }
    report
}

fn tell(caption: &str, measured: Rounds<1>, shares: &HashMap<&str, f64>, report: &mut Report) {
    let head = ["", "CPU a call ÷ bare", "`by_key` ÷ this", "inner calls a call"];
    let mut table = Table::new(caption, &head);
    for name in measured.names() {
        table.row([
            name.to_string(),
            measured.ratio((name, 0), (BARE, 0)).to_string(),
            measured.ratio((BY_KEY, 0), (name, 0)).to_string(),
            format!("{:.2}", shares[name]),
        ]);
    }
    report.tables.push(table);
}

fn traffic(tasks: usize, calls: usize) -> Traffic {
    let mut rng = Rng::with_seed(0x7a69_7066);
    let mut sum = 0.0;
    let below: Vec<f64> = (1..=KEYS)
        .map(|rank| {
            sum += 1.0 / rank as f64;
            sum
        })
        .collect();
    let mut draw = || {
        let point = rng.f64() * sum;
        below.partition_point(|below| *below <= point) as u64
    };
    (0..tasks).map(|_| (0..calls).map(|_| draw()).collect()).collect()
}

struct Timed<'a> {
    upstream: Nap,
    runtime: &'a Runtime,
    traffic: &'a Traffic,
    lineup: Lineup<'a, 1>,
}

impl Visit<Nap> for Timed<'_> {
    fn visit<C: Contender<Nap>>(&mut self) {
        let (runtime, traffic) = (self.runtime, self.traffic);
        let contender = C::new(self.upstream);
        self.lineup.add(C::NAME, move || {
            let cpu = ProcessTime::now();
            runtime.block_on(serve(&contender, traffic));
            [cpu.elapsed().as_secs_f64()]
        });
    }
}

/// The inner calls of a call, by contender.
struct Counted<'a> {
    upstream: Nap,
    runtime: &'a Runtime,
    traffic: &'a Traffic,
    shares: HashMap<&'static str, f64>,
}

impl Visit<Tally<Nap>> for Counted<'_> {
    fn visit<C: Contender<Tally<Nap>>>(&mut self) {
        let work = Tally::new(self.upstream);
        self.runtime.block_on(serve(&C::new(work.clone()), self.traffic));
        let calls: usize = self.traffic.iter().map(Vec::len).sum();
        self.shares.insert(C::NAME, work.started() as f64 / calls as f64);
    }
}

async fn serve<W: Work, C: Contender<W>>(contender: &C, traffic: &Traffic) {
    let mut tasks = JoinSet::new();
    for task in 0..traffic.len() {
        let (mut contender, traffic) = (contender.clone(), traffic.clone());
        tasks.spawn(async move {
            for &key in &traffic[task] {
                assert_eq!(black_box(contender.call(key).await.value()), key);
            }
        });
    }
    tasks.join_all().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_key_comes_ten_times_as_often_as_the_tenth() {
        let traffic = traffic(100, 1_000);
        let of = |key| traffic.iter().flatten().filter(|known| **known == key).count() as f64;
        let total = (1..=KEYS).map(|rank| 1.0 / rank as f64).sum::<f64>();
        assert!((of(0) / 100_000.0 * total - 1.0).abs() < 0.1);
        assert!((of(0) / of(9) / 10.0 - 1.0).abs() < 0.2);
        assert!(traffic.iter().flatten().all(|key| *key < KEYS as u64));
    }
}
