//! An engine that loses, garbles and lies. Each request has an answer, and it is its own.

use crate::support::*;
use bytes::Bytes;
use tokio::time::{Instant, sleep};
use tower_singleflight::{
    FleetReason,
    fleet::{
        engine::{Push, Token},
        testing::{Fault, Operation},
    },
};

#[tokio::test(start_paused = true)]
async fn a_lost_entry_or_reply_costs_fifty_milliseconds() {
    for fault in [Fault::LoseOperation, Fault::LoseReply] {
        let upstream = Upstream::new();
        let replica = &replicas(&upstream, 1)[0];
        replica.engine.fault(Operation::Enter, fault);
        let start = Instant::now();
        assert_eq!(text(replica.get("/x")).await, "1");
        assert_eq!(start.elapsed(), ms(50) + WORK);
        replica.went_alone(1, FleetReason::Timeout);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_close_is_no_trouble_for_those_here_and_ends_with_the_lease() {
    for fault in [Fault::LoseOperation, Fault::LoseReply, Fault::FailReply] {
        let upstream = Upstream::new();
        let replicas = replicas(&upstream, 2);
        replicas[0].engine.fault(Operation::Close, fault);
        let led = replicas[0].ask("/x");
        settle().await;
        let start = Instant::now();
        assert_eq!(replicas[1].ask("/x").await.unwrap(), "2");
        assert!(start.elapsed() < ms(7_000), "{fault:?} {:?}", start.elapsed());
        assert_eq!(led.await.unwrap(), "1");
        sleep(ms(20_000)).await;
        assert_eq!(replicas[0].engine.stored(), 0, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_landing_ends_with_the_lease() {
    let upstream = Upstream::new();
    let replicas = replicas(&upstream, 2);
    replicas[0].engine.fault(Operation::Land, Fault::LoseOperation);
    let led = replicas[0].ask("/x");
    settle().await;
    assert_eq!(replicas[1].ask("/x").await.unwrap(), "2");
    assert_eq!(led.await.unwrap(), "1");
}

#[tokio::test(start_paused = true)]
async fn a_landing_whose_reply_was_lost_is_repeated_once() {
    let upstream = Upstream::new();
    let replicas = replicas(&upstream, 2);
    replicas[0].engine.fault(Operation::Land, Fault::FailReply);
    let led = replicas[0].ask("/x");
    settle().await;
    assert_eq!(replicas[1].ask("/x").await.unwrap(), "1");
    assert_eq!(led.await.unwrap(), "1");
    settle().await;
    assert_eq!(replicas[0].count(Operation::Land), 2);
}

#[tokio::test(start_paused = true)]
async fn a_lost_push_is_found_out_at_the_check() {
    let upstream = Upstream::new();
    let replicas = replicas(&upstream, 2);
    let led = replicas[0].ask("/x");
    settle().await;
    replicas[1].engine.drop_pushes(true);
    let start = Instant::now();
    assert_eq!(replicas[1].ask("/x").await.unwrap(), "1");
    assert!(start.elapsed() <= ms(3_300));
    led.await.unwrap();
    assert_eq!(upstream.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn after_a_reconnect_those_who_wait_look_at_once() {
    let upstream = Upstream::new();
    let replicas = replicas(&upstream, 2);
    let led = replicas[0].ask("/x");
    settle().await;
    let start = Instant::now();
    let waits = replicas[1].ask("/x");
    settle().await;
    replicas[1].engine.partition(true);
    sleep(ms(100)).await;
    replicas[1].engine.partition(false);
    assert_eq!(waits.await.unwrap(), "1");
    assert_eq!(start.elapsed(), ms(100));
    led.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_stays_lost_lets_those_who_wait_go() {
    let upstream = Upstream::answering(ms(2_000), |number| whole(&number.to_string()));
    let replicas = replicas(&upstream, 2);
    let led = replicas[0].ask("/x");
    settle().await;
    let start = Instant::now();
    let waits = replicas[1].ask("/x");
    settle().await;
    replicas[1].engine.partition(true);
    assert_eq!(waits.await.unwrap(), "2");
    assert!(start.elapsed() <= ms(2_000 + 600), "{:?}", start.elapsed());
    replicas[1].went_alone(1, FleetReason::Down);
    led.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_hangs_keeps_those_who_wait_for_a_second_at_most() {
    let upstream = Upstream::answering(ms(5_000), |number| whole(&number.to_string()));
    let replicas = replicas(&upstream, 2);
    let led = replicas[0].ask("/x");
    settle().await;
    let start = Instant::now();
    let waits = replicas[1].ask("/x");
    sleep(ms(10)).await;
    replicas[1].engine.stop(true);
    assert_eq!(waits.await.unwrap(), "2");
    assert!(start.elapsed() <= ms(1_000 + 5_000), "{:?}", start.elapsed());
    replicas[1].went_alone(1, FleetReason::Down);
    replicas[1].engine.stop(false);
    led.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_flushed_engine_costs_one_call_more_at_most() {
    let upstream = Upstream::answering(ms(6_000), |number| whole(&number.to_string()));
    let replicas = replicas(&upstream, 4);
    let asked: Vec<_> = replicas.iter().map(|replica| replica.ask("/x")).collect();
    settle().await;
    replicas[0].engine.wipe();
    let mut answers = Vec::new();
    for answer in asked {
        answers.push(answer.await.unwrap());
    }
    assert_eq!(answers, ["1", "2", "2", "2"]);
    assert_eq!(replicas[0].count(Operation::Land), 0);
}

#[tokio::test(start_paused = true)]
async fn an_evicted_set_of_waiters_is_registered_again() {
    let upstream = Upstream::answering(ms(5_000), |number| whole(&number.to_string()));
    let replicas = replicas(&upstream, 2);
    let asked = [replicas[0].ask("/x"), replicas[1].ask("/x")];
    settle().await;
    replicas[0].engine.evict_waiting();
    for answer in asked {
        assert_eq!(answer.await.unwrap(), "1");
    }
}

#[tokio::test(start_paused = true)]
async fn an_evicted_payload_lets_the_replica_go() {
    let upstream = Upstream::answering(WORK, |_| whole(&"x".repeat(100_000)));
    let replicas = replicas(&upstream, 2);
    let asked = [replicas[0].ask("/x"), replicas[1].ask("/x")];
    settle().await;
    replicas[1].engine.fault(Operation::Fetch, Fault::Delay(ms(20)));
    sleep(WORK + ms(5)).await;
    replicas[0].engine.evict_payloads();
    for answer in asked {
        assert_eq!(answer.await.unwrap().len(), 100_000);
    }
    replicas[1].went_alone(1, FleetReason::Gone);
}

#[tokio::test(start_paused = true)]
async fn a_garbled_payload_is_never_taken() {
    let upstream = Upstream::answering(WORK, |_| whole(&"x".repeat(100_000)));
    let replicas = replicas(&upstream, 2);
    let asked = [replicas[0].ask("/x"), replicas[1].ask("/x")];
    settle().await;
    replicas[1].engine.fault(Operation::Fetch, Fault::Delay(ms(20)));
    sleep(WORK + ms(5)).await;
    replicas[0].engine.garble_payloads(|payload| {
        let mut garbled = payload.to_vec();
        garbled[50_000] ^= 1;
        garbled.into()
    });
    for answer in asked {
        assert_eq!(answer.await.unwrap(), "x".repeat(100_000));
    }
    replicas[1].went_alone(1, FleetReason::Garbled);
    assert_eq!(upstream.calls(), 2);
}

/// The tokens of a replica, which are counted from 1.
fn tokens_of(replica: &Replica) -> impl Iterator<Item = Token> {
    let of = replica.engine.replica().expect("it listens");
    (1..=4).map(move |number| Token::new(of, number))
}

#[tokio::test(start_paused = true)]
async fn a_forged_push_is_as_if_it_had_not_come() {
    let upstream = Upstream::answering(ms(400), |number| whole(&number.to_string()));
    let replicas = replicas(&upstream, 2);
    let led = replicas[0].ask("/x");
    settle().await;
    let waits = replicas[1].ask("/x");
    settle().await;
    for token in tokens_of(&replicas[1]) {
        replicas[1]
            .engine
            .push(Push::Landed { token, payload: Some(Bytes::from_static(b"forged")) });
    }
    settle().await;
    assert_eq!(waits.await.unwrap(), "1");
    led.await.unwrap();
    assert_eq!(upstream.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_result_of_a_flight_that_has_ended_cannot_be_given_again() {
    let upstream = Upstream::answering(ms(100), |number| whole(&number.to_string()));
    let replicas = replicas(&upstream, 2);
    let led = replicas[0].ask("/x");
    settle().await;
    replicas[1].ask("/x").await.unwrap();
    led.await.unwrap();
    let old = replicas[0].engine.payloads().remove(0);
    settle().await;
    let led = replicas[0].ask("/x");
    settle().await;
    let waits = replicas[1].ask("/x");
    settle().await;
    for token in tokens_of(&replicas[1]) {
        replicas[1].engine.push(Push::Landed { token, payload: Some(old.clone()) });
    }
    settle().await;
    assert_eq!(waits.await.unwrap(), "2", "not the answer of the first flight");
    assert_eq!(led.await.unwrap(), "2");
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_is_told_again_and_again_goes_alone() {
    let upstream = Upstream::answering(ms(1_000), |number| whole(&number.to_string()));
    let replicas = replicas(&upstream, 2);
    let led = replicas[0].ask("/x");
    settle().await;
    let waits = replicas[1].ask("/x");
    for number in 1..=20 {
        settle().await;
        let token = Token::new(replicas[1].engine.replica().unwrap(), number);
        replicas[1].engine.push(Push::Again { token });
    }
    assert_eq!(waits.await.unwrap(), "2");
    replicas[1].went_alone(1, FleetReason::Gone);
    assert!(replicas[1].count(Operation::Enter) <= 8);
    led.await.unwrap();
}
