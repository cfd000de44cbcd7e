//! The process of a replica. It makes requests when its parent tells it to.

use crate::{
    client::{Client, client},
    rivals::{Contender, Rivals},
    upstream::{Caller, length, now},
};
use std::{sync::Arc, thread, time::Duration};
use tokio::{sync::mpsc::unbounded_channel, task::JoinSet, time::sleep};
use tower::ServiceExt;
use tower_singleflight::Fleet;
use tower_singleflight_redis::RedisEngine;

/// Reads `{contender} {requests} {path}` until there are no more lines. Answers each with what
/// failed, when the first request ended, and how many microseconds later each of them.
pub(crate) fn main(redis: &str, lease: Duration, upstream: Caller) {
    // One worker: there are as many processes as it takes to fill a machine.
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(1).enable_all().build().unwrap().block_on(serve(redis, lease, upstream));
}

async fn serve(redis: &str, lease: Duration, upstream: Caller) {
    let engine = RedisEngine::open(redis).unwrap();
    let fleet = Fleet::new(engine, "the secret of the benchmark").lease(lease);
    let rivals = Arc::new(Rivals::connect(redis, upstream).await);
    let clients = Contender::ALL.map(|contender| {
        let rivals = Arc::clone(&rivals);
        let source = move |path: String| {
            let rivals = Arc::clone(&rivals);
            async move { rivals.get(contender, &path).await }
        };
        client(source, Some(&fleet).filter(|_| contender == Contender::Fleet))
    });
    while !fleet.is_up() {
        sleep(Duration::from_millis(5)).await;
    }
    println!("up");

    let (sender, mut commands) = unbounded_channel();
    thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    while let Some(command) = commands.recv().await {
        let [contender, requests, path] =
            command.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let contender: usize = contender.parse().unwrap();
        println!("{}", burst(&clients[contender], requests.parse().unwrap(), path).await);
    }
}

async fn burst(client: &Client, requests: usize, path: &str) -> String {
    let mut answers = JoinSet::new();
    for _ in 0..requests {
        let (client, path) = (client.clone(), path.to_owned());
        answers.spawn(async move {
            let whole = length(&path);
            client.oneshot(path).await.is_ok_and(|body| body.len() == whole).then(now)
        });
    }
    let ends = answers.join_all().await;
    let failed = ends.iter().filter(|end| end.is_none()).count();
    let ends: Vec<_> = ends.into_iter().flatten().collect();
    let first = ends.iter().copied().min().unwrap_or(0);
    let later: String = ends.iter().map(|end| format!(" {}", (end - first) / 1000)).collect();
    format!("{failed} {first}{later}")
}
