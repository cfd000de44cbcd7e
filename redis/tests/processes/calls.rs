//! N replicas, one call.

use crate::{replica::Replica, server::server, upstream::Upstream};
use std::time::Duration;
use tokio::time::sleep;

const LEASE: Duration = Duration::from_secs(3);

/// So many replicas.
pub(crate) async fn replicas(
    count: usize,
    redis: &str,
    upstream: &Upstream,
    lease: Duration,
) -> Vec<Replica> {
    let mut replicas = Vec::new();
    for _ in 0..count {
        replicas.push(Replica::start(redis, upstream.address, lease).await);
    }
    replicas
}

#[tokio::test]
async fn a_burst_over_all_replicas_is_one_call() {
    let (server, upstream) = (server!(), Upstream::start().await);
    let mut replicas = replicas(4, &server.url(), &upstream, LEASE).await;

    let mut calls = 0;
    for (burst, bytes) in [0, 1000, 8000, 9000, 100_000, 300_000].into_iter().enumerate() {
        let path = format!("/300/{bytes}/{burst}");
        for replica in &mut replicas {
            replica.get(25, &path);
        }
        for replica in &mut replicas {
            println!("{path}: {}", replica.got().await.all_right(25).stats);
        }
        calls += upstream.calls(&path);
    }
    // One more than bursts: the machine may have been too busy for one of them.
    assert!((6..=7).contains(&calls), "{calls} calls for 6 bursts");
}

#[tokio::test]
async fn nothing_is_left_in_redis() {
    let (server, upstream) = (server!(), Upstream::start().await);
    let mut replicas = replicas(2, &server.url(), &upstream, Duration::from_millis(500)).await;

    for burst in 0..20 {
        for replica in &mut replicas {
            replica.get(5, &format!("/20/10000/{burst}"));
        }
    }
    for replica in &mut replicas {
        for _ in 0..20 {
            replica.got().await.all_right(5);
        }
    }
    sleep(Duration::from_secs(4)).await;
    assert_eq!(server.keys(), [""; 0]);
}

#[tokio::test]
async fn nothing_is_cached() {
    let (server, upstream) = (server!(), Upstream::start().await);
    let mut replicas = replicas(2, &server.url(), &upstream, LEASE).await;

    let path = "/10/100/key";
    for round in 1..=5 {
        for replica in &mut replicas {
            replica.get(1, path);
            replica.got().await.all_right(1);
            // A head that came less than 100 ms ago may be joined.
            sleep(Duration::from_millis(300)).await;
        }
        assert_eq!(upstream.calls(path), 2 * round);
    }
}
