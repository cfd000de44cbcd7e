//! Larger answers.

use crate::{
    report::{columns, heading, ms, percentile, range_and_mean},
    rivals::Contender,
    stage::Stage,
};

pub(crate) async fn run(stage: &mut Stage, rounds: usize) {
    heading(&format!("Sizes: one request a process, upstream 50 ms, {rounds} rounds"));
    columns(&["bytes", "processes", "upstream calls", "p50 behind", "p99", "CPU of Redis"]);
    for bytes in [1 << 10, 8 << 10, 64 << 10, 1_000_000] {
        for processes in [2, 4, 16] {
            let (mut calls, mut behind, mut cpu) = (Vec::new(), Vec::new(), 0.0);
            for _ in 0..rounds {
                let burst = stage.burst(Contender::Fleet, processes, 1, bytes).await;
                calls.push(burst.upstream_calls);
                behind.extend(burst.behind);
                cpu += burst.cpu / rounds as f64;
            }
            behind.sort_unstable();
            println!(
                "| {bytes} | {processes} | {} | {} | {} | {cpu:.0} µs |",
                range_and_mean(&calls),
                ms(percentile(&behind, 50)),
                ms(percentile(&behind, 99)),
            );
        }
    }
}
