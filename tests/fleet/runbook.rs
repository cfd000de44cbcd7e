//! The rows of the runbook about fleets. Each test is named after one, brings its cause about, and
//! looks at the counter that the row names.

use crate::support::*;
use tokio::time::{Instant, sleep};
use tower_singleflight::{Fleet, FleetReason, fleet::testing::MemoryEngine};

const RUNBOOK: &str = include_str!("../../src/guide/runbook.md");

/// The section "Fleet down" has a row that tells to look at this.
#[track_caller]
fn look_at(what: &str) {
    let section = RUNBOOK.split_once("\n# Fleet down\n").expect("there is such a section").1;
    let section = section.split("\n# ").next().unwrap();
    assert!(section.contains(&format!("\n| {what} | ")), "there is no such row: {what}");
}

/// All replicas ask for the same at once.
async fn ask_all(replicas: &[Replica]) {
    let asked: Vec<_> = replicas.iter().map(|replica| replica.ask("/x")).collect();
    for answer in asked {
        answer.await.expect("no request fails");
    }
}

#[tokio::test(start_paused = true)]
async fn all_replicas_are_alone_because_the_engine_is_down() {
    look_at("`alone`, `down`, on all replicas");
    let upstream = Upstream::new();
    let replicas = replicas(&upstream, 3);
    replicas.iter().for_each(|replica| replica.engine.partition(true));
    ask_all(&replicas).await;
    for replica in &replicas {
        assert!(!replica.fleet.is_up());
        replica.went_alone(1, FleetReason::Down);
    }
    assert_eq!(upstream.calls(), replicas.len(), "one for each replica");

    replicas.iter().for_each(|replica| replica.engine.partition(false));
    sleep(ms(2_000)).await;
    ask_all(&replicas).await;
    assert_eq!(upstream.calls(), replicas.len() + 1, "they join again, without a restart");
}

#[tokio::test(start_paused = true)]
async fn one_replica_is_alone_because_of_its_network() {
    look_at("the same, on one replica");
    let upstream = Upstream::new();
    let replicas = replicas(&upstream, 3);
    replicas[2].engine.partition(true);
    ask_all(&replicas).await;
    assert_eq!(replicas.iter().map(|replica| replica.stats().alone).collect::<Vec<_>>(), [0, 0, 1]);
    replicas[2].went_alone(1, FleetReason::Down);
    assert_eq!(upstream.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn requests_time_out_because_the_engine_is_slow() {
    look_at("`alone`, `timeout`");
    let upstream = Upstream::new();
    let engine = MemoryEngine::new();
    let replica = Replica::new(&upstream, engine.another());
    replica.engine.delay(ms(80));
    let start = Instant::now();
    replica.ask("/x").await.unwrap();
    assert_eq!(start.elapsed(), ms(50) + WORK, "it waits as long as `enter_within` says");
    replica.went_alone(1, FleetReason::Timeout);

    let patient = |fleet: Fleet| fleet.enter_within(ms(200));
    let replica = Replica::with(&upstream, engine.another(), patient, |layer| layer);
    replica.engine.delay(ms(80));
    replica.ask("/y").await.unwrap();
    assert_eq!((replica.stats().led, replica.stats().alone), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn requests_go_alone_because_the_engine_is_full() {
    look_at("`alone`, `busy`");
    let replicas = replicas(&Upstream::new(), 2);
    replicas[0].engine.fill(true);
    ask_all(&replicas).await;
    replicas.iter().for_each(|replica| replica.went_alone(1, FleetReason::Busy));
}

/// A replica goes alone, because something happens to a result while it is on its way.
async fn a_result_is_spoilt(spoil: impl FnOnce(&MemoryEngine), reason: FleetReason) {
    let replicas = replicas(&Upstream::answering(WORK, |_| whole(&"x".repeat(100_000))), 2);
    replicas[1].engine.delay(ms(10));
    let asked = [replicas[0].ask("/x"), replicas[1].ask("/x")];
    sleep(WORK + ms(5)).await;
    spoil(&replicas[0].engine);
    for answer in asked {
        assert_eq!(answer.await.unwrap().len(), 100_000);
    }
    replicas[1].went_alone(1, reason);
}

#[tokio::test(start_paused = true)]
async fn requests_go_alone_because_the_engine_lost_the_result() {
    look_at("`alone`, `gone`");
    a_result_is_spoilt(MemoryEngine::evict_payloads, FleetReason::Gone).await;
}

#[tokio::test(start_paused = true)]
async fn requests_go_alone_because_another_program_writes_to_the_keys() {
    look_at("`alone`, `garbled`");
    let garble = |engine: &MemoryEngine| engine.garble_payloads(|_| "of another program".into());
    a_result_is_spoilt(garble, FleetReason::Garbled).await;
}

#[tokio::test(start_paused = true)]
async fn all_replicas_lead_because_they_do_not_meet() {
    look_at("`led` on all replicas, and no `followed`");
    let by_host = |replica: &Replica, host: &str| {
        tokio::spawn(text(replica.send(request(http::Method::GET, "/x", &[("host", host)]))))
    };
    let engine = MemoryEngine::new();
    let replica = |secret: &str, version: &str, name: &str| {
        let (upstream, engine) = (Upstream::new(), engine.another());
        let fleet = Fleet::new(engine.clone(), secret).version(version);
        let layer = by_path().fleet(&fleet, name);
        Replica::of(&upstream, engine, fleet, layer)
    };
    let other = "fedcba9876543210";
    let [one, same] = [replica(SECRET, "1", "test"), replica(SECRET, "1", "test")];
    let apart =
        [replica(other, "1", "test"), replica(SECRET, "2", "test"), replica(SECRET, "1", "pages")];
    let asked = [&one, &same, &apart[0], &apart[1], &apart[2]].map(|replica| by_host(replica, "a"));
    for answer in asked {
        answer.await.unwrap();
    }
    assert_eq!((one.stats().led + same.stats().led, same.stats().followed), (1, 1), "they meet");
    for replica in &apart {
        assert_eq!((replica.stats().led, replica.stats().followed), (1, 0));
    }

    let asked = [by_host(&one, "a"), by_host(&same, "b")];
    for answer in asked {
        answer.await.unwrap();
    }
    assert_eq!(one.stats().led + same.stats().led, 3, "two hosts do not share");
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_lost_because_a_replica_stalls_and_is_taken_over() {
    look_at("`leases_lost`");
    look_at("`taken_over`");
    let replicas = replicas(&Upstream::answering(ms(6_000), |_| whole("x")), 2);
    let asked = [replicas[0].ask("/x"), replicas[1].ask("/x")];
    settle().await;
    replicas[0].engine.expire_leases();
    for answer in asked {
        answer.await.unwrap();
    }
    assert_eq!((replicas[0].stats().leases_lost, replicas[1].stats().taken_over), (1, 1));
}
