//! What a fleet saves and costs over a real Redis: `cargo bench -p tower-singleflight-redis`.
//!
//! The replicas are in one process, each with an engine of its own, and Redis is a process on the
//! same machine. So latencies are those of a machine that does everything at once. Counts are
//! exact.

#[allow(dead_code, unused_imports, unused_macros)]
#[path = "../tests/it/server.rs"]
mod server;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use server::Server;
use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::time::sleep;
use tower::{Layer, Service, ServiceExt, service_fn, util::BoxCloneService};
use tower_singleflight::{Fleet, SingleflightLayer};
use tower_singleflight_redis::RedisEngine;

type Replica = BoxCloneService<Request<Empty<Bytes>>, Response<Bytes>, Infallible>;

/// The upstream: it answers after a pause, and counts.
struct Upstream {
    pause: Duration,
    body: Bytes,
    calls: AtomicUsize,
    /// When it last answered each path.
    answered: Mutex<HashMap<String, Instant>>,
}

impl Upstream {
    fn new(pause: Duration, bytes: usize) -> Arc<Self> {
        let body = Bytes::from(vec![b'.'; bytes]);
        Arc::new(Self { pause, body, calls: AtomicUsize::new(0), answered: Mutex::default() })
    }

    async fn call(
        self: Arc<Self>,
        request: Request<Empty<Bytes>>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        self.calls.fetch_add(1, Relaxed);
        sleep(self.pause).await;
        self.answered
            .lock()
            .unwrap()
            .entry(request.uri().path().to_owned())
            .or_insert_with(Instant::now);
        Ok(Response::new(Full::new(self.body.clone())))
    }
}

fn replica(upstream: &Arc<Upstream>, fleet: Option<&Fleet>) -> Replica {
    let layer = SingleflightLayer::new(|request: &Request<_>| request.uri().path().to_owned());
    let layer = match fleet {
        Some(fleet) => layer.fleet(fleet, "bench"),
        None => layer,
    };
    let upstream = Arc::clone(upstream);
    let service = layer.layer(service_fn(move |request| Arc::clone(&upstream).call(request)));
    // With its body: a request has ended when the client has all of it.
    BoxCloneService::new(service_fn(move |request| {
        let service = service.clone();
        async move {
            let response = service.oneshot(request).await.unwrap();
            Ok(Response::new(response.into_body().collect().await.unwrap().to_bytes()))
        }
    }))
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

async fn get(mut replica: Replica, path: &str) -> Instant {
    let request = Request::get(format!("http://upstream{path}")).body(Empty::new()).unwrap();
    replica.ready().await.unwrap().call(request).await.unwrap();
    Instant::now()
}

/// The CPU time of Redis in microseconds, and how many scripts it ran.
fn used(server: &Server) -> (f64, u64) {
    let number = |section: &str, name: &str| {
        let info: String = server.ask(&format!("INFO {section}"));
        let value = info.lines().find_map(|line| Some(line.split_once(name)?.1.to_owned()));
        value.map_or(0.0, |value| value.split(',').next().unwrap().trim().parse::<f64>().unwrap())
    };
    let cpu = number("cpu", "used_cpu_sys:") + number("cpu", "used_cpu_user:");
    (cpu * 1e6, number("commandstats", "cmdstat_evalsha:calls=") as u64)
}

fn percentile(sorted: &[Duration], percent: usize) -> String {
    let value = sorted[(sorted.len() - 1) * percent / 100];
    format!("{:.2} ms", value.as_secs_f64() * 1e3)
}

/// One burst: so many requests at once, over all replicas. How long after the upstream's first
/// answer each one ended.
async fn burst(
    replicas: &[Replica],
    upstream: &Upstream,
    requests: usize,
    path: &str,
) -> Vec<Duration> {
    let tasks = (0..requests).map(|number| {
        let (replica, path) = (replicas[number % replicas.len()].clone(), path.to_owned());
        tokio::spawn(async move { get(replica, &path).await })
    });
    let ends = join_all(tasks).await;
    let answered = upstream.answered.lock().unwrap()[path];
    ends.into_iter().map(|end| end.unwrap().saturating_duration_since(answered)).collect()
}

async fn bursts(server: &Server) {
    println!("\n## 10,000 requests for one key, upstream 50 ms, 10 rounds\n");
    println!(
        "| replicas | | upstream calls | p50 behind the answer | p99 | scripts a round | CPU of Redis a round |"
    );
    println!("|---|---|---|---|---|---|---|");
    for count in [1, 2, 4, 8, 16] {
        for with_fleet in [false, true] {
            let fleets = fleets(server, count).await;
            let upstream = Upstream::new(Duration::from_millis(50), 1024);
            let replicas =
                fleets.iter().map(|fleet| replica(&upstream, with_fleet.then_some(fleet)));
            let replicas: Vec<_> = replicas.collect();
            let before = used(server);
            let mut times = Vec::new();
            for round in 0..10 {
                times.extend(
                    burst(&replicas, &upstream, 10_000, &format!("/{count}/{with_fleet}/{round}"))
                        .await,
                );
            }
            let after = used(server);
            times.sort();
            println!(
                "| {count} | {} | {:.1} | {} | {} | {} | {} |",
                if with_fleet { "fleet" } else { "no fleet" },
                upstream.calls.load(Relaxed) as f64 / 10.0,
                percentile(&times, 50),
                percentile(&times, 99),
                (after.1 - before.1) as f64 / 10.0,
                if with_fleet {
                    format!("{:.0} µs", (after.0 - before.0) / 10.0)
                } else {
                    "-".to_owned()
                },
            );
        }
    }
}

async fn lone(server: &Server) {
    println!("\n## Lone requests: no two alike, 8 at a time, 2 s each\n");
    println!("| upstream | | requests/s | p50 | p99 | CPU of Redis a request |");
    println!("|---|---|---|---|---|---|");
    for pause in [1, 5, 20, 50] {
        for with_fleet in [false, true] {
            let fleets = fleets(server, 1).await;
            let upstream = Upstream::new(Duration::from_millis(pause), 1024);
            let replica = replica(&upstream, with_fleet.then_some(&fleets[0]));
            let (before, start) = (used(server), Instant::now());
            let clients = (0..8).map(|client| {
                let replica = replica.clone();
                tokio::spawn(async move {
                    let mut times = Vec::new();
                    while start.elapsed() < Duration::from_secs(2) {
                        let begin = Instant::now();
                        let path = format!("/{pause}/{with_fleet}/{client}/{}", times.len());
                        times.push(get(replica.clone(), &path).await - begin);
                    }
                    times
                })
            });
            let times = join_all(clients).await.into_iter().flat_map(Result::unwrap);
            let mut times: Vec<_> = times.collect();
            let cpu = (used(server).0 - before.0) / times.len() as f64;
            times.sort();
            println!(
                "| {pause} ms | {} | {:.0} | {} | {} | {} |",
                if with_fleet { "fleet" } else { "no fleet" },
                times.len() as f64 / start.elapsed().as_secs_f64(),
                percentile(&times, 50),
                percentile(&times, 99),
                if with_fleet { format!("{cpu:.0} µs") } else { "-".to_owned() },
            );
        }
    }
}

async fn sizes(server: &Server) {
    println!("\n## Sizes: one request a replica, upstream 50 ms, 20 rounds\n");
    println!(
        "| bytes | replicas | upstream calls | p50 behind the answer | p99 | CPU of Redis a flight |"
    );
    println!("|---|---|---|---|---|---|");
    for bytes in [1 << 10, 8 << 10, 64 << 10, 1_000_000] {
        for count in [2, 4, 16] {
            let fleets = fleets(server, count).await;
            let upstream = Upstream::new(Duration::from_millis(50), bytes);
            let replicas: Vec<_> =
                fleets.iter().map(|fleet| replica(&upstream, Some(fleet))).collect();
            let before = used(server);
            let mut times = Vec::new();
            for round in 0..20 {
                times.extend(
                    burst(&replicas, &upstream, count, &format!("/{bytes}/{count}/{round}")).await,
                );
            }
            let cpu = (used(server).0 - before.0) / 20.0;
            times.sort();
            println!(
                "| {bytes} | {count} | {:.2} | {} | {} | {cpu:.0} µs |",
                upstream.calls.load(Relaxed) as f64 / 20.0,
                percentile(&times, 50),
                percentile(&times, 99),
            );
        }
    }
}

async fn stopped(server: &Server) {
    println!(
        "\n## Redis stops for 5 s under steady load: 4 replicas, 400 requests/s of 100 keys, upstream 20 ms\n"
    );
    println!("| | requests | p50 | p99 | slowest |");
    println!("|---|---|---|---|---|");
    let fleets = fleets(server, 4).await;
    let upstream = Upstream::new(Duration::from_millis(20), 1024);
    let replicas: Vec<_> = fleets.iter().map(|fleet| replica(&upstream, Some(fleet))).collect();
    for phase in ["before", "while it is stopped", "after"] {
        match phase {
            "while it is stopped" => server.stop(),
            "after" => server.go_on(),
            _ => {}
        }
        let mut requests = Vec::new();
        for number in 0..2000 {
            let (replica, path) = (replicas[number % 4].clone(), format!("/{}", number / 4 % 100));
            requests.push(tokio::spawn(async move {
                let begin = Instant::now();
                get(replica, &path).await - begin
            }));
            sleep(Duration::from_micros(2500)).await;
        }
        let times = join_all(requests).await.into_iter().map(Result::unwrap);
        let mut times: Vec<_> = times.collect();
        times.sort();
        let count = times.len();
        let (p50, p99, slowest) =
            (percentile(&times, 50), percentile(&times, 99), percentile(&times, 100));
        println!("| {phase} | {count} | {p50} | {p99} | {slowest} |");
    }
}

async fn waiting(server: &Server) {
    println!("\n## What waiting costs: 8 replicas, upstream 9 s, lease 3 s\n");
    let fleets = fleets(server, 8).await;
    let upstream = Upstream::new(Duration::from_secs(9), 1024);
    let replicas: Vec<_> = fleets.iter().map(|fleet| replica(&upstream, Some(fleet))).collect();
    let before = used(server);
    burst(&replicas, &upstream, 80, "/waiting").await;
    let scripts = used(server).1 - before.1;
    // Entering, closing, landing.
    let beside = replicas.len() as u64 + 2;
    println!(
        "{scripts} scripts in all, {beside} of them to enter, close and land: {:.2} a replica and second.",
        scripts.saturating_sub(beside) as f64 / (9.0 * replicas.len() as f64)
    );
}

#[tokio::main]
async fn main() {
    let Some(server) = Server::start(&[]) else { return };
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let version: String = server.ask("INFO server");
    let version = version
        .lines()
        .find_map(|line| line.strip_prefix("redis_version:"))
        .unwrap_or("?")
        .to_owned();
    println!(
        "Redis {version}, {cores} cores, load at the start {}.",
        load.split(' ').next().unwrap_or("?")
    );
    bursts(&server).await;
    lone(&server).await;
    sizes(&server).await;
    stopped(&server).await;
    waiting(&server).await;
}
