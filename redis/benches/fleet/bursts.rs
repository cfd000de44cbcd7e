//! A burst for one key, over processes, by each contender in turn.

use crate::{
    report::{columns, heading, load, ms, percentile, range, range_and_mean},
    rivals::Contender,
    stage::{Burst, Stage},
};
use std::time::Duration;

/// The most processes.
pub(crate) const PROCESSES: usize = 16;

/// The requests of a large burst, over all processes.
const REQUESTS: usize = 10_000;

const BYTES: usize = 1024;

/// Some rounds of one contender.
pub(crate) struct Row {
    pub(crate) contender: Contender,
    processes: usize,
    pub(crate) each: usize,
    upstream_calls: Vec<usize>,
    /// Of all requests, in order.
    behind: Vec<Duration>,
    /// Of the last request of each round, in order.
    pub(crate) last: Vec<Duration>,
    commands: f64,
    cpu: f64,
}

/// Prints the tables, and gives the rows of the second.
pub(crate) async fn run(stage: &mut Stage, rounds: usize) -> Vec<Row> {
    let mut rows = Vec::new();
    for processes in [1, 2, 4, 8] {
        let contenders = [Contender::Fleet, Contender::Alone];
        rows.extend(measure(stage, &contenders, processes, REQUESTS / processes, rounds).await);
    }
    let mut rivals = measure(stage, &Contender::ALL, PROCESSES, REQUESTS / PROCESSES, rounds).await;
    heading(&format!("10,000 requests for one key, upstream 50 ms, {rounds} rounds"));
    print(rows.iter().chain(
        rivals.iter().filter(|row| matches!(row.contender, Contender::Fleet | Contender::Alone)),
    ));
    for each in [100, 1] {
        rivals.splice(0..0, measure(stage, &Contender::ALL, PROCESSES, each, rounds).await);
    }
    heading(&format!("Beside other ways: 16 processes, upstream 50 ms, {rounds} rounds by turns"));
    print(rivals.iter());
    rivals
}

async fn measure(
    stage: &mut Stage,
    contenders: &[Contender],
    processes: usize,
    each: usize,
    rounds: usize,
) -> Vec<Row> {
    let mut bursts: Vec<Vec<Burst>> = contenders.iter().map(|_| Vec::new()).collect();
    for round in 0..=rounds {
        for (contender, bursts) in contenders.iter().zip(&mut bursts) {
            let burst = stage.burst(*contender, processes, each, BYTES).await;
            // The first one warms up.
            if round > 0 {
                bursts.push(burst);
            }
        }
    }
    let rows = contenders.iter().zip(bursts);
    rows.map(|(&contender, bursts)| Row::new(contender, processes, each, bursts)).collect()
}

impl Row {
    fn new(contender: Contender, processes: usize, each: usize, bursts: Vec<Burst>) -> Self {
        let rounds = bursts.len() as f64;
        let mut last: Vec<_> =
            bursts.iter().filter_map(|burst| burst.behind.last().copied()).collect();
        last.sort_unstable();
        let mut behind: Vec<_> = bursts.iter().flat_map(|burst| burst.behind.clone()).collect();
        behind.sort_unstable();
        Self {
            contender,
            processes,
            each,
            upstream_calls: bursts.iter().map(|burst| burst.upstream_calls).collect(),
            behind,
            last,
            commands: bursts.iter().map(|burst| burst.commands as f64).sum::<f64>() / rounds,
            cpu: bursts.iter().map(|burst| burst.cpu).sum::<f64>() / rounds,
        }
    }

    pub(crate) fn upstream_calls(&self) -> String {
        range(&self.upstream_calls)
    }
}

fn print<'a>(rows: impl Iterator<Item = &'a Row>) {
    columns(&[
        "processes",
        "requests each",
        "",
        "upstream calls",
        "p50 behind",
        "p99 behind",
        "the last: p50",
        "the last: max",
        "commands",
        "CPU of Redis",
    ]);
    for row in rows {
        let asks = row.contender != Contender::Alone;
        println!(
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            row.processes,
            row.each,
            row.contender.name(),
            range_and_mean(&row.upstream_calls),
            ms(percentile(&row.behind, 50)),
            ms(percentile(&row.behind, 99)),
            ms(percentile(&row.last, 50)),
            ms(percentile(&row.last, 100)),
            if asks { format!("{:.1}", row.commands) } else { "-".to_owned() },
            if asks { format!("{:.0} µs", row.cpu) } else { "-".to_owned() },
        );
    }
    println!("\nLoad at the end {}.", load());
}
