//! Replicas and Redis that stop, die, forget and refuse. Each request still gets its own right
//! answer.

use crate::{
    calls::replicas,
    replica::Replica,
    server::{Server, server},
    upstream::Upstream,
};
use std::{
    thread,
    time::{Duration, Instant},
};
use tokio::time::sleep;

const LEASE: Duration = Duration::from_millis(800);

/// Lets the first replica lead, and the others follow.
async fn lead_and_follow(replicas: &mut [Replica], upstream: &Upstream, path: &str) {
    replicas[0].get(1, path);
    while upstream.calls(path) == 0 {
        sleep(Duration::from_millis(5)).await;
    }
    for replica in &mut replicas[1..] {
        replica.get(10, path);
    }
    sleep(Duration::from_millis(300)).await;
}

#[tokio::test]
async fn a_killed_leader_is_replaced_within_its_lease() {
    let (server, upstream) = (server!(), Upstream::start().await);
    let mut replicas = replicas(3, &server.url(), &upstream, LEASE).await;
    let path = "/1000/100/key";

    lead_and_follow(&mut replicas, &upstream, path).await;
    assert_eq!(upstream.calls(path), 1);
    replicas[0].kill();
    for replica in &mut replicas[1..] {
        let got = replica.got().await;
        got.all_right(10);
        // The lease, a tenth, and a call. The rest is for the machine.
        assert!(got.slowest < Duration::from_secs(6), "{got:?}");
    }
    assert_eq!(upstream.calls(path), 2);
}

#[tokio::test]
async fn a_leader_that_stops_for_longer_than_its_lease_keeps_its_answer() {
    let (server, upstream) = (server!(), Upstream::start().await);
    let mut replicas = replicas(3, &server.url(), &upstream, LEASE).await;
    let path = "/1000/100/key";

    lead_and_follow(&mut replicas, &upstream, path).await;
    replicas[0].stop();
    for replica in &mut replicas[1..] {
        let got = replica.got().await;
        assert!(!got.all_right(10).calls.contains(&1), "{got:?}");
    }
    replicas[0].go_on();
    assert!(replicas[0].got().await.all_right(1).calls.contains(&1));
    assert_eq!(upstream.calls(path), 2);
}

#[tokio::test]
async fn a_leader_that_stops_for_less_than_its_lease_is_waited_for() {
    let (server, upstream) = (server!(), Upstream::start().await);
    let mut replicas = replicas(3, &server.url(), &upstream, Duration::from_secs(10)).await;
    let path = "/1000/100/key";

    lead_and_follow(&mut replicas, &upstream, path).await;
    replicas[0].stop();
    sleep(Duration::from_secs(2)).await;
    replicas[0].go_on();
    replicas[0].got().await.all_right(1);
    for replica in &mut replicas[1..] {
        replica.got().await.all_right(10);
    }
    // Its answer may come too late to be fresh: then each makes its own call.
    assert!(upstream.calls(path) <= 3, "{}", upstream.calls(path));
}

/// Requests without pause, while something happens to Redis. Returns the slowest.
async fn under_load(
    replicas: &mut [Replica],
    upstream: &Upstream,
    bytes: usize,
    mut happens: impl FnMut(usize),
) -> Duration {
    let mut slowest = Duration::ZERO;
    for round in 0..20 {
        let path = format!("/50/{bytes}/{round}");
        for replica in replicas.iter_mut() {
            replica.get(10, &path);
        }
        sleep(Duration::from_millis(20)).await;
        happens(round);
        for replica in replicas.iter_mut() {
            let got = replica.got().await;
            slowest = slowest.max(got.all_right(10).slowest);
        }
        // A local flight each, and no more.
        assert!(
            upstream.calls(&path) <= replicas.len(),
            "{} calls for {path}",
            upstream.calls(&path)
        );
    }
    slowest
}

#[tokio::test]
async fn redis_is_killed_and_restarted_under_load() {
    let (mut server, upstream) = (server!(), Upstream::start().await);
    let mut replicas = replicas(3, &server.url(), &upstream, LEASE).await;
    let port = server.port;

    let slowest = under_load(&mut replicas, &upstream, 1000, |round| match round {
        3 | 12 => server.kill(),
        7 | 16 => server.start_at(port),
        _ => {}
    })
    .await;
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
}

#[tokio::test]
async fn redis_is_flushed_under_load() {
    let (server, upstream) = (server!(), Upstream::start().await);
    let mut replicas = replicas(3, &server.url(), &upstream, LEASE).await;

    under_load(&mut replicas, &upstream, 20_000, |_| server.ask("FLUSHALL")).await;
    under_load(&mut replicas, &upstream, 10_000, |_| server.ask("SCRIPT FLUSH")).await;
}

#[tokio::test]
async fn inboxes_are_cut_off_under_load() {
    let (server, upstream) = (server!(), Upstream::start().await);
    let mut replicas = replicas(3, &server.url(), &upstream, LEASE).await;

    under_load(&mut replicas, &upstream, 1000, |_| {
        let _: usize = server.ask("CLIENT KILL TYPE pubsub");
    })
    .await;
}

#[tokio::test]
async fn redis_is_full_under_load() {
    for policy in ["noeviction", "allkeys-lru"] {
        let (server, upstream) = (server!("--maxmemory-policy", policy), Upstream::start().await);
        let mut replicas = replicas(3, &server.url(), &upstream, LEASE).await;
        let used: String = server.ask("INFO memory");
        let used = used.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap();
        let limit = used.trim().parse::<usize>().unwrap() + 100_000;
        let () = server.ask(&format!("CONFIG SET maxmemory {limit}"));

        under_load(&mut replicas, &upstream, 200_000, |_| {}).await;
        under_load(&mut replicas, &upstream, 1000, |_| {}).await;
    }
}

#[tokio::test]
async fn redis_stops_while_replicas_wait() {
    let (server, upstream) = (server!(), Upstream::start().await);
    let mut replicas = replicas(3, &server.url(), &upstream, Duration::from_secs(10)).await;
    let path = "/2000/100/key";

    lead_and_follow(&mut replicas, &upstream, path).await;
    server.stop();
    for replica in &mut replicas[1..] {
        // They wait for a second at most, and make their own call.
        let got = replica.got().await;
        got.all_right(10);
        assert!(got.slowest < Duration::from_secs(6), "{got:?}");
    }
    replicas[0].got().await.all_right(1);
    assert!(upstream.calls(path) <= 3);

    // New requests do not wait for it at all.
    for replica in &mut replicas {
        replica.get(10, "/10/100/other");
    }
    for replica in &mut replicas {
        replica.got().await.all_right(10);
    }
    server.go_on();
}

#[tokio::test]
async fn redis_stops_for_ten_seconds_under_load() {
    let (server, upstream) = (server!(), Upstream::start().await);
    let mut replicas = replicas(3, &server.url(), &upstream, LEASE).await;

    under_load(&mut replicas, &upstream, 1000, |_| {}).await;
    server.stop();
    let (stopped, mut round) = (Instant::now(), 0);
    while stopped.elapsed() < Duration::from_secs(10) {
        // It is noticed within a second. After that, requests wait for the upstream alone.
        let is_known = stopped.elapsed() > Duration::from_secs(3);
        let path = format!("/50/1000/stopped-{round}");
        for replica in &mut replicas {
            replica.get(10, &path);
        }
        for replica in &mut replicas {
            let got = replica.got().await;
            let slowest = got.all_right(10).slowest;
            assert!(slowest < Duration::from_secs(if is_known { 1 } else { 4 }), "{got:?}");
        }
        assert!(upstream.calls(&path) <= replicas.len(), "{}", upstream.calls(&path));
        round += 1;
    }
    server.go_on();
    for attempt in 0.. {
        assert!(attempt < 50, "the replicas do not share calls again");
        let path = format!("/300/1000/again-{attempt}");
        for replica in &mut replicas {
            replica.get(10, &path);
        }
        for replica in &mut replicas {
            replica.got().await.all_right(10);
        }
        if upstream.calls(&path) == 1 {
            break;
        }
    }
}

#[tokio::test]
async fn redis_sleeps_under_load() {
    // Redis 6.2 has no such switch: there `DEBUG` is always allowed.
    let server = server!("--enable-debug-command", "local");
    let upstream = Upstream::start().await;
    let mut replicas = replicas(3, &server.url(), &upstream, LEASE).await;
    let mut asleep = Vec::new();

    let slowest = under_load(&mut replicas, &upstream, 1000, |round| {
        if round % 5 == 3 {
            let url = server.url();
            // The command lasts as long as the sleep, and the upstream is of this thread.
            asleep.push(thread::spawn(move || {
                let mut connection = redis::Client::open(url).unwrap().get_connection().unwrap();
                redis::cmd("DEBUG").arg("SLEEP").arg("0.8").exec(&mut connection).unwrap();
            }));
        }
    })
    .await;
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    assert_eq!(asleep.len(), 4);
    asleep.into_iter().for_each(|asleep| asleep.join().unwrap());
}

#[tokio::test]
async fn a_replica_of_redis_becomes_the_primary() {
    let (server, upstream) = (server!(), Upstream::start().await);
    let other: Server = server!();
    let mut replicas = replicas(3, &server.url(), &upstream, LEASE).await;

    under_load(&mut replicas, &upstream, 1000, |round| match round {
        3 => server.ask(&format!("REPLICAOF 127.0.0.1 {}", other.port)),
        10 => server.ask("REPLICAOF NO ONE"),
        _ => {}
    })
    .await;
}
