//! What a fleet costs in ordinary traffic, while it waits, and while Redis hangs. The replicas and
//! an upstream that takes no time of its own are in this process.

use crate::{
    client::{Client, client},
    meter::Meter,
    report::{columns, heading, ms, percentile},
    server::Server,
};
use bytes::Bytes;
use futures_util::future::join_all;
use std::time::{Duration, Instant};
use tokio::time::sleep;
use tower::ServiceExt;
use tower_singleflight::Fleet;
use tower_singleflight_redis::RedisEngine;

/// A replica above an upstream that answers after a pause.
fn replica(pause: Duration, fleet: Option<&Fleet>) -> Client {
    let source = move |_| async move {
        sleep(pause).await;
        Bytes::from_static(&[b'.'; 1024])
    };
    client(source, fleet)
}

async fn fleets(server: &Server, count: usize) -> Vec<Fleet> {
    let fleet =
        || Fleet::new(RedisEngine::open(server.url()).unwrap(), "the secret of the benchmark");
    let fleets: Vec<_> = (0..count).map(|_| fleet()).collect();
    while !fleets.iter().all(Fleet::is_up) {
        sleep(Duration::from_millis(5)).await;
    }
    fleets
}

async fn get(replica: Client, path: String) -> Duration {
    let begin = Instant::now();
    replica.oneshot(path).await.unwrap();
    begin.elapsed()
}

pub(crate) async fn lone(server: &Server, time: Duration) {
    heading(&format!("Lone requests: no two alike, 8 at a time, {} s each", time.as_secs_f64()));
    columns(&["upstream", "", "requests/s", "p50", "p99", "CPU of Redis a request"]);
    let mut meter = Meter::new(server);
    for pause in [1, 5, 20, 50] {
        for with_fleet in [false, true] {
            let fleets = fleets(server, 1).await;
            let fleet = with_fleet.then_some(&fleets[0]);
            let replica = replica(Duration::from_millis(pause), fleet);
            let (before, start) = (meter.cpu(), Instant::now());
            let clients = (0..8).map(|client| {
                let replica = replica.clone();
                tokio::spawn(async move {
                    let mut times = Vec::new();
                    while start.elapsed() < time {
                        let path = format!("/{pause}/{with_fleet}/{client}/{}", times.len());
                        times.push(get(replica.clone(), path).await);
                    }
                    times
                })
            });
            let times = join_all(clients).await.into_iter().flat_map(Result::unwrap);
            let mut times: Vec<_> = times.collect();
            let elapsed = start.elapsed();
            let cpu = (meter.cpu() - before) / times.len() as f64;
            times.sort_unstable();
            println!(
                "| {pause} ms | {} | {:.0} | {} | {} | {} |",
                if with_fleet { "fleet" } else { "no fleet" },
                times.len() as f64 / elapsed.as_secs_f64(),
                ms(percentile(&times, 50)),
                ms(percentile(&times, 99)),
                if with_fleet { format!("{cpu:.0} µs") } else { "-".to_owned() },
            );
        }
    }
}

pub(crate) async fn stopped(server: &Server, time: Duration) {
    heading(&format!(
        "Redis stops for {} s: 4 replicas, 400 requests/s of 100 keys, upstream 20 ms",
        time.as_secs()
    ));
    columns(&["", "requests", "p50", "p99", "slowest"]);
    let fleets = fleets(server, 4).await;
    let replicas: Vec<_> =
        fleets.iter().map(|fleet| replica(Duration::from_millis(20), Some(fleet))).collect();
    for phase in ["before", "while it is stopped", "after"] {
        match phase {
            "while it is stopped" => server.stop(),
            "after" => server.go_on(),
            _ => {}
        }
        let mut requests = Vec::new();
        let count = time.as_millis() as usize * 2 / 5;
        for number in 0..count {
            let (replica, path) = (replicas[number % 4].clone(), format!("/{}", number / 4 % 100));
            requests.push(tokio::spawn(get(replica, path)));
            sleep(Duration::from_micros(2500)).await;
        }
        let times = join_all(requests).await.into_iter().map(Result::unwrap);
        let mut times: Vec<_> = times.collect();
        times.sort_unstable();
        let [p50, p99, slowest] = [50, 99, 100].map(|percent| ms(percentile(&times, percent)));
        println!("| {phase} | {count} | {p50} | {p99} | {slowest} |");
    }
}

pub(crate) async fn waiting(server: &Server, time: Duration) {
    heading(&format!("What waiting costs: 8 replicas, upstream {} s, lease 3 s", time.as_secs()));
    let fleets = fleets(server, 8).await;
    let replicas = fleets.iter().map(|fleet| replica(time, Some(fleet)));
    let mut meter = Meter::new(server);
    let before = meter.calls(&["evalsha"]);
    join_all(replicas.map(|replica| tokio::spawn(get(replica, "/waiting".to_owned())))).await;
    let scripts = meter.calls(&["evalsha"]) - before;
    // Entering, closing, landing.
    let beside = fleets.len() as u64 + 2;
    println!(
        "{scripts} scripts in all, {beside} of them to enter, close and land: {:.2} a replica and \
         second.",
        scripts.saturating_sub(beside) as f64 / (time.as_secs_f64() * fleets.len() as f64)
    );
}
