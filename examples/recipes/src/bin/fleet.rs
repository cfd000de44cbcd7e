//! Three gateways, three processes, one upstream call: a fleet that meets in Redis.
//!
//! ```sh
//! cargo run --release -p recipes --bin fleet
//! ```
//!
//! It needs `redis-server` in the `PATH` (`apt-get install redis-server`), and starts one of its
//! own on a free port. The gateways are processes of this program. Their upstream takes a second
//! for each call. It prints
//!
//! ```text
//! redis-server at 127.0.0.1:40001, three gateways at 127.0.0.1:40002, 127.0.0.1:40003, 127.0.0.1:40004
//!
//! 100 clients ask each gateway for one report
//!   1 upstream call, 300 answers, 0 errors, the last after 1.03 s
//!
//! they ask again, and the gateway that leads is killed
//!   2 upstream calls, 200 answers, 100 errors: the clients of the killed gateway
//!   another gateway took over 3.08 s after the kill
//!
//! the gateway is back, Redis is killed, and they ask again
//!   3 upstream calls, 300 answers, 0 errors, the last after 1.03 s: each gateway works alone
//!
//! Redis is back, and they ask again
//!   1 upstream call, 300 answers, 0 errors, the last after 1.04 s
//! ```
//!
//! What to copy is `gateway`, and there the three lines about the fleet. All that the program
//! starts ends with it.

use axum::{
    Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header::HOST},
    routing::get,
};
use std::{
    env,
    fs::File,
    io::{self, Read},
    net::{Ipv4Addr, SocketAddr},
    process::{ExitCode, Stdio},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    net::TcpListener,
    process::{Child, Command},
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tower::BoxError;
use tower_singleflight::{Fleet, SingleflightLayer};
use tower_singleflight_redis::RedisEngine;

#[tokio::main]
async fn main() -> ExitCode {
    let args: Vec<_> = env::args().skip(1).collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let ended = match args[..] {
        [] => demonstrate().await,
        ["redis", port] => redis(port).await,
        ["gateway", name, redis, upstream] => gateway(name, redis, upstream).await,
        _ => Err("it takes no arguments".into()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// One of three.
async fn gateway(name: &str, redis: &str, upstream: &str) -> Result<(), BoxError> {
    let engine = RedisEngine::open(format!("redis://{redis}"))?;
    let fleet = Fleet::new(engine, env::var("FLEET_SECRET")?)
        // Only so that the numbers are the same on a machine that is busy. Keep the 50 ms.
        .enter_within(Duration::from_millis(500));
    let layer = SingleflightLayer::new(|req| req.uri().path().to_owned()).fleet(&fleet, "reports");

    let calls = Upstream {
        url: format!("http://{upstream}"),
        gateway: name.to_owned(),
        http: reqwest::Client::new(),
    };
    let app = Router::new()
        .route("/reports/{id}", get(report))
        .layer(layer)
        .route("/up", get(async move || fleet.is_up().to_string()))
        .with_state(calls);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("{}", listener.local_addr()?);
    tokio::select! {
        ended = axum::serve(listener, app) => Ok(ended?),
        () = parent_ends() => Ok(()),
    }
}

#[derive(Clone)]
struct Upstream {
    url: String,
    gateway: String,
    http: reqwest::Client,
}

async fn report(
    State(upstream): State<Upstream>,
    Path(id): Path<String>,
) -> Result<String, StatusCode> {
    let request =
        upstream.http.get(format!("{}/{id}", upstream.url)).header("x-gateway", upstream.gateway);
    let answer = async { request.send().await?.error_for_status()?.text().await };
    // A status, and no error: other gateways share it.
    answer.await.map_err(|_| StatusCode::BAD_GATEWAY)
}

/// Runs `redis-server` for as long as the program runs, however that ends.
async fn redis(port: &str) -> Result<(), BoxError> {
    let mut server = Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    tokio::select! {
        ended = server.wait() => return Err(format!("redis-server ended: {}", ended?).into()),
        () = parent_ends() => {}
    }
    Ok(server.kill().await?)
}

/// The parent holds the other end of standard input. However it ends, the system closes that.
async fn parent_ends() {
    let _ = tokio::io::stdin().read(&mut [0]).await;
}

/// Starts this program once more.
fn start(args: &[&str], secret: &str) -> io::Result<Child> {
    Command::new(env::current_exe()?)
        .args(args)
        .env("FLEET_SECRET", secret)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
}

struct Gateway {
    process: Child,
    address: String,
}

impl Gateway {
    /// Returns when it listens.
    async fn start(
        name: usize,
        redis: &str,
        upstream: SocketAddr,
        secret: &str,
    ) -> Result<Self, BoxError> {
        let mut process =
            start(&["gateway", &name.to_string(), redis, &upstream.to_string()], secret)?;
        let stdout = process.stdout.take().ok_or("it has an output")?;
        let address =
            BufReader::new(stdout).lines().next_line().await?.ok_or("a gateway does not start")?;
        Ok(Self { process, address })
    }

    /// Waits until it has found out that Redis is there, or that it is not.
    async fn sees_redis(&self, is_up: bool) -> Result<(), BoxError> {
        let url = format!("http://{}/up", self.address);
        let seen = async {
            while reqwest::get(&url).await?.text().await? != is_up.to_string() {
                sleep(Duration::from_millis(20)).await;
            }
            Ok(())
        };
        timeout(Duration::from_secs(20), seen).await.map_err(|_| "a gateway does not find Redis")?
    }
}

/// Ends `redis-server`, without a word to it.
async fn kill(mut redis: Child) -> io::Result<()> {
    drop(redis.stdin.take());
    redis.wait().await.map(drop)
}

async fn demonstrate() -> Result<(), BoxError> {
    if let Err(error) =
        Command::new("redis-server").arg("--version").stdout(Stdio::null()).status().await
    {
        return Err(format!(
            "redis-server cannot be run ({error}): install it, as with `apt-get install \
             redis-server`"
        )
        .into());
    }
    let secret = secret()?;
    let port = free_port().await?;
    let redis_at = format!("127.0.0.1:{port}");
    let redis = start(&["redis", &port.to_string()], &secret)?;
    let (upstream, mut calls) = upstream().await?;
    let mut gateways = Vec::new();
    for name in 0..3 {
        gateways.push(Gateway::start(name, &redis_at, upstream, &secret).await?);
    }
    let addresses: Vec<_> = gateways.iter().map(|gateway| gateway.address.as_str()).collect();
    println!("redis-server at {redis_at}, three gateways at {}", addresses.join(", "));
    all_see_redis(&gateways, true).await?;

    println!("\n100 clients ask each gateway for one report");
    let burst = Burst::start(&gateways);
    println!("  {}", burst.end(&mut calls).await);

    println!("\nthey ask again, and the gateway that leads is killed");
    let burst = Burst::start(&gateways);
    let leader = calls.recv().await.ok_or("the upstream has ended")?;
    // Its clients are there, and the others follow.
    sleep(Duration::from_millis(200)).await;
    gateways[leader].process.kill().await?;
    let killed = Instant::now();
    calls.recv().await.ok_or("the upstream has ended")?;
    let took_over = killed.elapsed();
    let ended = burst.end(&mut calls).await;
    println!(
        "  {} upstream calls, {} answers, {} errors: the clients of the killed gateway",
        2 + ended.calls,
        ended.answers,
        ended.errors
    );
    println!("  another gateway took over {:.2} s after the kill", took_over.as_secs_f64());

    println!("\nthe gateway is back, Redis is killed, and they ask again");
    gateways[leader] = Gateway::start(leader, &redis_at, upstream, &secret).await?;
    all_see_redis(&gateways, true).await?;
    kill(redis).await?;
    all_see_redis(&gateways, false).await?;
    let burst = Burst::start(&gateways);
    println!("  {}: each gateway works alone", burst.end(&mut calls).await);

    println!("\nRedis is back, and they ask again");
    let redis = start(&["redis", &port.to_string()], &secret)?;
    all_see_redis(&gateways, true).await?;
    let burst = Burst::start(&gateways);
    println!("  {}", burst.end(&mut calls).await);
    Ok(kill(redis).await?)
}

async fn all_see_redis(gateways: &[Gateway], is_up: bool) -> Result<(), BoxError> {
    for gateway in gateways {
        gateway.sees_redis(is_up).await?;
    }
    Ok(())
}

/// A slow backend. Tells which gateway calls it, each time that one does.
async fn upstream() -> io::Result<(SocketAddr, mpsc::UnboundedReceiver<usize>)> {
    let (tell, calls) = mpsc::unbounded_channel();
    let report = async move |Path(id): Path<String>, headers: HeaderMap| {
        let gateway = headers.get("x-gateway").and_then(|name| name.to_str().ok()?.parse().ok());
        let _ = tell.send(gateway.expect("a gateway says its name"));
        sleep(Duration::from_secs(1)).await;
        format!("report {id}\n")
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(axum::serve(listener, Router::new().route("/{id}", get(report))).into_future());
    Ok((address, calls))
}

/// 100 clients of each gateway, at once.
struct Burst {
    began: Instant,
    clients: JoinSet<reqwest::Result<String>>,
}

impl Burst {
    fn start(gateways: &[Gateway]) -> Self {
        let mut clients = JoinSet::new();
        let http = reqwest::Client::new();
        for gateway in gateways {
            // As behind a load balancer: requests with different hosts share nothing.
            let request = http
                .get(format!("http://{}/reports/7", gateway.address))
                .header(HOST, "shop.example");
            for _ in 0..100 {
                let request = request.try_clone().expect("it has no body");
                clients.spawn(async { request.send().await?.error_for_status()?.text().await });
            }
        }
        Self { began: Instant::now(), clients }
    }

    /// Waits for all answers.
    async fn end(mut self, calls: &mut mpsc::UnboundedReceiver<usize>) -> Ended {
        let mut ended = Ended { calls: 0, answers: 0, errors: 0, last: Duration::ZERO };
        while let Some(answer) = self.clients.join_next().await {
            match answer {
                Ok(Ok(report)) if report == "report 7\n" => ended.answers += 1,
                _ => ended.errors += 1,
            }
        }
        ended.last = self.began.elapsed();
        while calls.try_recv().is_ok() {
            ended.calls += 1;
        }
        ended
    }
}

struct Ended {
    calls: u32,
    answers: u32,
    errors: u32,
    last: Duration,
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { calls, answers, errors, last } = self;
        let plural = if *calls == 1 { "" } else { "s" };
        let last = last.as_secs_f64();
        write!(
            f,
            "{calls} upstream call{plural}, {answers} answers, {errors} errors, the last after \
             {last:.2} s"
        )
    }
}

/// What all replicas have, and nobody else. A real one comes from where your other secrets are.
fn secret() -> io::Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

async fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?.local_addr()?.port())
}
