//! The leader is killed while the upstream works on its call.

use crate::{
    report::{columns, heading, ms, percentile, range_and_mean},
    rivals::Contender,
    server::Server,
    stage::Stage,
    upstream::now,
};
use std::{mem, time::Duration};
use tokio::time::sleep;

const PROCESSES: usize = 16;
const EACH: usize = 100;

pub(crate) async fn run(server: &Server, quick: bool) {
    heading(&format!(
        "The leader is killed at 25 ms of the upstream's 50: {PROCESSES} processes, {EACH} \
         requests each"
    ));
    columns(&["lease", "rounds", "upstream calls", "the last answer: min", "p50", "max"]);
    for (lease, rounds) in [(1, if quick { 2 } else { 10 }), (3, if quick { 1 } else { 5 })] {
        let mut stage = Stage::new(server, PROCESSES, Duration::from_secs(lease)).await;
        let (mut calls, mut lasts) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let (upstream_calls, last) = round(&mut stage).await;
            calls.push(upstream_calls);
            lasts.push(last);
        }
        lasts.sort_unstable();
        println!(
            "| {lease} s | {rounds} | {} | {} | {} | {} |",
            range_and_mean(&calls),
            ms(lasts[0]),
            ms(percentile(&lasts, 50)),
            ms(percentile(&lasts, 100)),
        );
    }
}

/// How often the upstream was called, and how long after the first request the last one ended
/// that was not made in the killed process.
async fn round(stage: &mut Stage) -> (usize, Duration) {
    let start = now();
    let path = stage.send(Contender::Fleet, PROCESSES, EACH, 1024);
    let leader = stage.upstream.caller(&path).await;
    sleep(Duration::from_millis(25)).await;
    stage.replicas[leader].kill();
    let mut last = start;
    for (number, replica) in stage.replicas.iter_mut().enumerate() {
        if number != leader {
            last = replica.got().await.into_iter().fold(last, u64::max);
        }
    }
    let calls = stage.upstream.calls(&path).callers.len();
    let mut newcomer = stage.replica(leader);
    newcomer.up().await;
    drop(mem::replace(&mut stage.replicas[leader], newcomer));
    (calls, Duration::from_nanos(last - start))
}
