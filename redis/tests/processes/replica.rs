//! A replica: this test binary once more, as a process that makes requests when it is told to.

use crate::upstream;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use std::{
    collections::BTreeSet,
    env,
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};
use tokio::{
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    task::JoinSet,
    time::{sleep, timeout},
};
use tower::{Layer, ServiceExt, service_fn};
use tower_singleflight::{Fleet, SingleflightLayer};
use tower_singleflight_redis::RedisEngine;

/// What a test waits for at most.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process, as its parent sees it.
pub(crate) struct Replica {
    process: Child,
    lines: UnboundedReceiver<String>,
}

/// What became of some requests.
#[derive(Debug, Default)]
pub(crate) struct Got {
    pub(crate) right: usize,
    pub(crate) wrong: usize,
    pub(crate) failed: usize,
    /// The calls of the upstream that answered.
    pub(crate) calls: BTreeSet<usize>,
    pub(crate) slowest: Duration,
    /// The counters of its fleet, for messages.
    pub(crate) stats: String,
}

impl Replica {
    /// Starts a process, and waits until it is connected.
    pub(crate) async fn start(redis: &str, upstream: SocketAddr, lease: Duration) -> Self {
        let mut process = Command::new(env::current_exe().unwrap())
            .args(["replica::process", "--exact", "--ignored", "--nocapture"])
            .env("REPLICA_REDIS", redis)
            .env("REPLICA_UPSTREAM", upstream.to_string())
            .env("REPLICA_LEASE", lease.as_millis().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = unbounded_channel();
        let output = process.stdout.take().unwrap();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Some((_, line)) = line.split_once("@ ") {
                    let _ = sender.send(line.to_owned());
                }
            }
        });
        let mut replica = Self { process, lines };
        assert_eq!(replica.line().await, "up");
        replica
    }

    /// Makes it send so many requests at once.
    pub(crate) fn get(&mut self, requests: usize, path: &str) {
        writeln!(self.process.stdin.as_mut().unwrap(), "get {requests} {path}").unwrap();
    }

    /// Waits for the end of all requests of one `get`.
    pub(crate) async fn got(&mut self) -> Got {
        let line = self.line().await;
        let (line, stats) = line.split_once(" | ").unwrap();
        let mut words = line.split(' ').map(|word| word.parse::<usize>().unwrap());
        let mut next = || words.next().unwrap();
        let (right, wrong, failed, slowest) =
            (next(), next(), next(), Duration::from_millis(next() as u64));
        Got { right, wrong, failed, slowest, calls: words.collect(), stats: stats.to_owned() }
    }

    async fn line(&mut self) -> String {
        timeout(PATIENCE, self.lines.recv())
            .await
            .expect("a replica hangs")
            .expect("a replica has ended")
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub(crate) fn stop(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn go_on(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        assert!(
            Command::new("kill")
                .args([signal, &self.process.id().to_string()])
                .status()
                .unwrap()
                .success()
        );
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Got {
    /// Asserts that each request got its own right answer.
    pub(crate) fn all_right(&self, requests: usize) -> &Self {
        assert!(self.right == requests && self.wrong == 0 && self.failed == 0, "{self:?}");
        self
    }
}

/// The process itself.
#[test]
#[ignore = "the tests start it"]
fn process() {
    let Ok(redis) = env::var("REPLICA_REDIS") else { return };
    let upstream = env::var("REPLICA_UPSTREAM").unwrap().parse().unwrap();
    let lease = Duration::from_millis(env::var("REPLICA_LEASE").unwrap().parse().unwrap());
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(serve(&redis, upstream, lease));
}

/// Reads commands until there are no more.
async fn serve(redis: &str, upstream: SocketAddr, lease: Duration) {
    // The machine of the tests is busy: Redis is asked with more patience than by default.
    let fleet = Fleet::new(RedisEngine::open(redis).unwrap(), "the secret of the tests");
    let fleet = fleet.lease(lease).enter_within(Duration::from_secs(1));
    let layer = SingleflightLayer::new(|request: &Request<_>| request.uri().path().to_owned())
        .fleet(&fleet, "tests");
    let service = layer.layer(service_fn(move |request: Request<Empty<Bytes>>| async move {
        let body = upstream::call(upstream, request.uri().path()).await.map_err(Arc::new)?;
        Ok::<_, Arc<std::io::Error>>(Response::new(Full::new(Bytes::from(body))))
    }));
    while !fleet.is_up() {
        sleep(Duration::from_millis(5)).await;
    }
    println!("@ up");

    let (sender, mut commands) = unbounded_channel();
    thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    while let Some(command) = commands.recv().await {
        let [requests, path] = command.split(' ').skip(1).collect::<Vec<_>>().try_into().unwrap();
        let mut answers = JoinSet::new();
        for _ in 0..requests.parse().unwrap() {
            let request =
                Request::get(format!("http://upstream{path}")).body(Empty::new()).unwrap();
            let service = service.clone();
            answers.spawn(async move {
                let start = Instant::now();
                let response = service.oneshot(request).await.ok()?;
                let body = response.into_body().collect().await.ok()?.to_bytes();
                Some((body, start.elapsed()))
            });
        }
        let (path, fleet) = (path.to_owned(), fleet.clone());
        tokio::spawn(async move {
            let mut got = Got::default();
            while let Some(answer) = answers.join_next().await {
                let Ok(Some((body, time))) = answer else {
                    got.failed += 1;
                    continue;
                };
                got.slowest = got.slowest.max(time);
                match read(&body, &path) {
                    Some(call) => {
                        got.right += 1;
                        got.calls.insert(call);
                    }
                    None => got.wrong += 1,
                }
            }
            let calls: String = got.calls.iter().map(|call| format!(" {call}")).collect();
            let Got { right, wrong, failed, slowest, .. } = got;
            println!(
                "@ {right} {wrong} {failed} {}{calls} | {:?}",
                slowest.as_millis(),
                fleet.stats()
            );
        });
    }
}

/// The number of the call that gave this body, if it is a whole body for this path.
fn read(body: &[u8], path: &str) -> Option<usize> {
    let (call, dots) =
        std::str::from_utf8(body).ok()?.strip_prefix(path)?.strip_prefix('#')?.split_once(' ')?;
    let length: usize = path.split('/').nth(2)?.parse().ok()?;
    // In one step: a replica that is busy for long closes its flights too late for others.
    let whole = dots == ".".repeat(length);
    call.parse().ok().filter(|_| whole)
}
