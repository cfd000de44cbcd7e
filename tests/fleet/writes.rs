//! Writes and `forget` through one replica concern the flights of all.

use crate::support::*;
use http::Method;
use tokio::time::{Instant, sleep};
use tower_singleflight::{
    Fleet, FleetReason, HttpPolicy, SingleflightLayer,
    fleet::testing::{Fault, MemoryEngine, Operation},
};

/// Reads take 200 ms. A write takes no time.
fn upstream() -> Upstream {
    Upstream::reading(ms(200))
}

#[tokio::test(start_paused = true)]
async fn a_read_after_a_write_through_another_replica_joins_no_flight_from_before_it() {
    let upstream = upstream();
    let replicas = replicas(&upstream, 3);
    let before = replicas[0].ask("/x");
    settle().await;
    replicas[1].write("/x").await;
    let after = replicas[2].ask("/x");
    assert_eq!(before.await.unwrap(), "1");
    assert_eq!(after.await.unwrap(), "3");
}

#[tokio::test(start_paused = true)]
async fn the_epoch_alone_keeps_a_read_from_a_flight_from_before_a_write() {
    let upstream = upstream();
    let replicas = replicas(&upstream, 3);
    // The leader hears nothing of the write, so that its flight stays open.
    replicas[0].engine.drop_pushes(true);
    let before = replicas[0].ask("/x");
    settle().await;
    replicas[1].write("/x").await;
    let after = [replicas[2].ask("/x"), replicas[1].ask("/x")];
    settle().await;
    assert!(replicas.iter().any(|replica| replica.count(Operation::ShutAndEnter) == 1));
    for answer in after {
        assert_eq!(answer.await.unwrap(), "3");
    }
    assert_eq!(before.await.unwrap(), "1");
}

#[tokio::test(start_paused = true)]
async fn a_write_seals_all_queries_keys_and_users_of_its_path() {
    let upstream = upstream();
    let replicas = replicas(&upstream, 2);
    replicas[0].engine.drop_pushes(true);
    let ask = |replica: &Replica, path: &str, user: &str| {
        tokio::spawn(text(replica.send(request(Method::GET, path, &[("authorization", user)]))))
    };
    let before = [
        ask(&replicas[0], "/x?a", "one"),
        ask(&replicas[0], "/x?b", "two"),
        ask(&replicas[0], "/y", "one"),
    ];
    settle().await;
    replicas[1].write("/x").await;
    let after = [
        ask(&replicas[1], "/x?a", "one"),
        ask(&replicas[1], "/x?b", "two"),
        ask(&replicas[1], "/y", "one"),
    ];
    let mut answers = Vec::new();
    for answer in before.into_iter().chain(after) {
        answers.push(answer.await.unwrap());
    }
    assert_eq!(answers, ["1", "2", "3", "5", "6", "3"], "another path is not concerned");
}

#[tokio::test(start_paused = true)]
async fn a_flight_that_is_on_a_replica_already_is_sealed_by_a_push() {
    let upstream = upstream();
    let replicas = replicas(&upstream, 2);
    let before = replicas[0].ask("/x");
    settle().await;
    replicas[1].write("/x").await;
    settle().await;
    let after = replicas[0].ask("/x");
    assert_eq!((before.await.unwrap(), after.await.unwrap()), ("1".to_owned(), "3".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_flight_that_follows_another_replica_is_sealed_too() {
    let upstream = upstream();
    let replicas = replicas(&upstream, 3);
    let before = [replicas[0].ask("/x"), replicas[1].ask("/x")];
    settle().await;
    replicas[2].write("/x").await;
    settle().await;
    let after = replicas[1].ask("/x");
    for answer in before {
        assert_eq!(answer.await.unwrap(), "1");
    }
    assert_eq!(after.await.unwrap(), "3");
}

#[tokio::test(start_paused = true)]
async fn a_late_stream_elsewhere_is_sealed_too() {
    let upstream = Upstream::with(|number, request| {
        Box::pin(async move {
            let mut response = match request.method() {
                &Method::GET => {
                    http::Response::new(frames(ms(100), vec![data(&number.to_string()), data(".")]))
                }
                _ => whole("written"),
            };
            response.headers_mut().insert("cache-control", "max-age=60".parse().unwrap());
            Ok(response)
        })
    });
    let replicas = replicas(&upstream, 2);
    let before = replicas[0].ask("/x");
    sleep(ms(50)).await;
    let late = replicas[0].ask("/x");
    settle().await;
    assert_eq!(upstream.calls(), 1, "it joined late");
    replicas[1].write("/x").await;
    settle().await;
    let after = replicas[0].ask("/x");
    assert_eq!((before.await.unwrap(), late.await.unwrap()), ("1.".to_owned(), "1.".to_owned()));
    assert_eq!(after.await.unwrap(), "3.");
}

#[tokio::test(start_paused = true)]
async fn a_read_during_a_write_is_not_joined_after_it() {
    let upstream = Upstream::with(|number, _| {
        Box::pin(async move {
            sleep(ms(200)).await;
            Ok(whole(&number.to_string()))
        })
    });
    let replicas = replicas(&upstream, 3);
    replicas[0].engine.drop_pushes(true);
    let writing = tokio::spawn({
        let replica = replicas[1].clone();
        async move { replica.write("/x").await }
    });
    sleep(ms(100)).await;
    let during = replicas[0].ask("/x");
    writing.await.unwrap();
    let after = replicas[2].ask("/x");
    assert_eq!((during.await.unwrap(), after.await.unwrap()), ("2".to_owned(), "3".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn two_writes_that_overlap_seal_each() {
    let upstream = Upstream::with(|number, request| {
        let time = if request.method() == Method::GET { 300 } else { number as u64 * 100 };
        Box::pin(async move {
            sleep(ms(time)).await;
            Ok(whole(&number.to_string()))
        })
    });
    let replicas = replicas(&upstream, 3);
    let write = |at: usize| {
        let replica = replicas[at].clone();
        tokio::spawn(async move { replica.write("/x").await })
    };
    let (one, two) = (write(0), write(1));
    one.await.unwrap();
    let between = replicas[0].ask("/x");
    settle().await;
    two.await.unwrap();
    let after = replicas[2].ask("/x");
    assert_eq!((between.await.unwrap(), after.await.unwrap()), ("3".to_owned(), "4".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn the_answer_of_a_write_waits_for_its_seal_but_not_long() {
    let upstream = upstream();
    let replica = &replicas(&upstream, 1)[0];
    replica.engine.delay(ms(10));
    let start = Instant::now();
    replica.write("/x").await;
    assert!((ms(10)..=ms(15)).contains(&start.elapsed()), "one round trip: {:?}", start.elapsed());
    replica.engine.delay(ms(0));
    replica.engine.stop(true);
    let start = Instant::now();
    replica.write("/x").await;
    assert_eq!(start.elapsed(), ms(50));
    replica.engine.stop(false);
    replica.engine.partition(true);
    let start = Instant::now();
    replica.write("/x").await;
    assert_eq!(start.elapsed(), ms(0));
    settle().await;
    assert!(replica.stats().seals_lost > 0);
}

#[tokio::test(start_paused = true)]
async fn a_seal_that_is_lost_is_counted_and_does_not_fail_the_write() {
    let upstream = upstream();
    let replica = &replicas(&upstream, 1)[0];
    for _ in 0..4 {
        replica.engine.fault(Operation::Seal, Fault::FailReply);
    }
    replica.write("/x").await;
    sleep(ms(100)).await;
    assert_eq!((replica.stats().seals, replica.stats().seals_lost), (0, 4));
}

#[tokio::test(start_paused = true)]
async fn forget_seals_on_all_replicas() {
    let upstream = upstream();
    let replicas = replicas(&upstream, 3);
    let before = [replicas[0].ask("/x"), replicas[1].ask("/x"), replicas[0].ask("/y")];
    settle().await;
    replicas[2].handle.forget("/x");
    settle().await;
    let after = [
        replicas[0].ask("/x"),
        replicas[1].ask("/x"),
        replicas[2].ask("/x"),
        replicas[2].ask("/y"),
    ];
    let mut answers = Vec::new();
    for answer in before.into_iter().chain(after) {
        answers.push(answer.await.unwrap());
    }
    assert_eq!(answers, ["1", "1", "2", "3", "3", "3", "2"]);
}

#[tokio::test(start_paused = true)]
async fn without_seal_on_write_nothing_is_sent() {
    let upstream = upstream();
    let policy = || HttpPolicy::new().seal_on_write(false);
    let replicas = replicas_with(&upstream, 2, |fleet| fleet, |layer| layer.policy(policy()));
    let before = replicas[0].ask("/x");
    settle().await;
    replicas[1].write("/x").await;
    settle().await;
    assert_eq!(replicas[1].count(Operation::Seal), 0);
    assert_eq!(replicas[1].ask("/x").await.unwrap(), "1");
    before.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn where_the_policy_ignores_the_path_a_write_seals_its_key() {
    let upstream = upstream();
    let fleet = |fleet| fleet;
    let replicas = replicas_with(&upstream, 2, fleet, |layer| {
        layer.policy(HttpPolicy::new().ignore_path(true))
    });
    replicas[0].engine.drop_pushes(true);
    let before = [replicas[0].ask("/x"), replicas[0].ask("/y")];
    settle().await;
    replicas[1].write("/x").await;
    let after = [replicas[1].ask("/x"), replicas[1].ask("/y")];
    let mut answers = Vec::new();
    for answer in before.into_iter().chain(after) {
        answers.push(answer.await.unwrap());
    }
    assert_eq!(answers, ["1", "2", "4", "2"]);
}

#[tokio::test(start_paused = true)]
async fn a_replica_does_not_follow_its_own_flight_from_before_a_write_although_the_seal_was_lost() {
    let upstream = upstream();
    let replica = &replicas(&upstream, 1)[0];
    let before = replica.ask("/x");
    settle().await;
    for _ in 0..4 {
        replica.engine.fault(Operation::Seal, Fault::LoseOperation);
    }
    // Neither is its flight closed in the engine.
    replica.engine.fault(Operation::Close, Fault::LoseOperation);
    replica.write("/x").await;
    let after = replica.ask("/x");
    assert_eq!((before.await.unwrap(), after.await.unwrap()), ("1".to_owned(), "3".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_write_to_another_spelling_of_a_path_seals_it_on_all_replicas() {
    let upstream = upstream();
    let replicas = replicas(&upstream, 2);
    replicas[0].engine.drop_pushes(true);
    let before = replicas[0].ask("/items/7");
    settle().await;
    replicas[1].write("http://host/%69tems/7?x").await;
    let after = replicas[1].ask("/items/7");
    assert_eq!((before.await.unwrap(), after.await.unwrap()), ("1".to_owned(), "3".to_owned()));
}

/// The path of a write that no nested router stripped is the whole one.
#[cfg(feature = "axum")]
#[tokio::test(start_paused = true)]
async fn a_write_seals_the_reads_below_a_nested_router_on_all_replicas() {
    let upstream = upstream();
    let replicas = replicas(&upstream, 2);
    replicas[0].engine.drop_pushes(true);
    let nested = |replica: &Replica, original: &'static str| {
        let mut request = request(Method::GET, "/x", &[]);
        request.extensions_mut().insert(axum::extract::OriginalUri(original.parse().unwrap()));
        tokio::spawn(text(replica.send(request)))
    };
    let before = [nested(&replicas[0], "/one/x"), nested(&replicas[0], "/two/x")];
    settle().await;
    replicas[1].write("/one/x").await;
    let after = [nested(&replicas[1], "/one/x"), nested(&replicas[1], "/two/x")];
    let mut answers = Vec::new();
    for answer in before.into_iter().chain(after) {
        answers.push(answer.await.unwrap());
    }
    assert_eq!(answers, ["1", "2", "4", "2"]);
}

#[tokio::test(start_paused = true)]
async fn forget_if_forgets_its_keys_on_all_replicas() {
    let upstream = upstream();
    let replicas = replicas(&upstream, 3);
    // Replica 2 has no flight for `/z`, so it is not asked about it.
    let before = [
        replicas[0].ask("/x"),
        replicas[0].ask("/y"),
        replicas[0].ask("/z"),
        replicas[2].ask("/x"),
        replicas[2].ask("/y"),
    ];
    settle().await;
    replicas[2].handle.forget_if(|path| path != "/y");
    settle().await;
    let after = ["/x", "/y", "/z"].map(|path| replicas[1].ask(path));
    let mut answers = Vec::new();
    for answer in before.into_iter().chain(after) {
        answers.push(answer.await.unwrap());
    }
    assert_eq!(answers, ["1", "2", "3", "1", "2", "4", "2", "3"]);
}

#[tokio::test(start_paused = true)]
async fn forget_if_that_panics_forgets_the_other_keys_on_all_replicas() {
    let upstream = upstream();
    let replicas = replicas(&upstream, 2);
    let before = [replicas[0].ask("/x"), replicas[0].ask("/y")];
    let here = [replicas[1].ask("/x"), replicas[1].ask("/y")];
    settle().await;
    let forget_if = || replicas[1].handle.forget_if(|path| path == "/x" || panic!("no"));
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(forget_if)).unwrap_err();
    settle().await;
    let after = [replicas[0].ask("/x"), replicas[0].ask("/y")];
    let mut answers = Vec::new();
    for answer in before.into_iter().chain(here).chain(after) {
        answers.push(answer.await.unwrap());
    }
    assert_eq!(answers, ["1", "2", "1", "2", "3", "2"]);
}

#[tokio::test(start_paused = true)]
async fn forget_all_forgets_all_keys_on_all_replicas() {
    let upstream = upstream();
    let replicas = replicas(&upstream, 3);
    let before = [replicas[0].ask("/x"), replicas[1].ask("/x"), replicas[0].ask("/y")];
    settle().await;
    replicas[2].handle.forget_all();
    settle().await;
    let after = [replicas[1].ask("/x"), replicas[2].ask("/x"), replicas[2].ask("/y")];
    let mut answers = Vec::new();
    for answer in before.into_iter().chain(after) {
        answers.push(answer.await.unwrap());
    }
    assert_eq!(answers, ["1", "1", "2", "3", "3", "4"]);
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_key_is_not_asked_for_seals_all_keys_where_the_policy_ignores_the_path() {
    let upstream = upstream();
    let replicas = replicas_with(
        &upstream,
        2,
        |fleet| fleet,
        |layer| layer.policy(HttpPolicy::new().ignore_path(true)),
    );
    let before = replicas[0].ask("/x");
    settle().await;
    replicas[1].handle.set_enabled(false);
    replicas[1].write("/x").await;
    settle().await;
    let after = replicas[0].ask("/x");
    assert_eq!((before.await.unwrap(), after.await.unwrap()), ("1".to_owned(), "3".to_owned()));
}

/// Answers that may be held, 50 ms after each call.
fn held_upstream() -> Upstream {
    Upstream::answering(ms(50), |number| {
        let mut response = whole(&number.to_string());
        response.headers_mut().insert("cache-control", "max-age=60".parse().unwrap());
        response
    })
}

#[tokio::test(start_paused = true)]
async fn a_held_result_is_sealed_by_a_write_on_another_replica() {
    let upstream = held_upstream();
    let replicas = replicas_with(&upstream, 2, |fleet| fleet, |layer| layer.hold_for(ms(2_000)));
    assert_eq!(replicas[0].ask("/x").await.unwrap(), "1");
    assert_eq!(replicas[0].ask("/x").await.unwrap(), "1", "it is held");
    replicas[1].write("/x").await;
    settle().await;
    assert_eq!(replicas[0].ask("/x").await.unwrap(), "3");
}

#[tokio::test(start_paused = true)]
async fn a_held_result_without_a_body_is_sealed_by_a_write_on_another_replica() {
    let upstream = Upstream::answering(ms(50), |number| {
        let mut response = whole("");
        response.headers_mut().insert("cache-control", "max-age=60".parse().unwrap());
        response.headers_mut().insert("number", number.into());
        response
    });
    let replicas = replicas_with(&upstream, 2, |fleet| fleet, |layer| layer.hold_for(ms(2_000)));
    let number = async || replicas[0].get("/x").await.unwrap().headers()["number"].clone();
    assert_eq!((number().await, number().await), ("1".parse().unwrap(), "1".parse().unwrap()));
    replicas[1].write("/x").await;
    settle().await;
    assert_eq!(number().await, "3");
}

#[tokio::test(start_paused = true)]
async fn a_held_result_is_forgotten_on_another_replica() {
    let upstream = held_upstream();
    let replicas = replicas_with(&upstream, 2, |fleet| fleet, |layer| layer.hold_for(ms(2_000)));
    assert_eq!(replicas[0].ask("/x").await.unwrap(), "1");
    assert_eq!(replicas[0].ask("/x").await.unwrap(), "1", "it is held");
    replicas[1].handle.forget("/x");
    settle().await;
    assert_eq!(replicas[0].ask("/x").await.unwrap(), "2");
}

#[tokio::test(start_paused = true)]
async fn what_is_forgotten_before_its_leader_knows_that_it_leads_is_not_followed() {
    for forget in [
        |replica: &Replica| replica.handle.forget("/x"),
        |replica: &Replica| {
            replica.handle.forget_all();
        },
    ] {
        let upstream = upstream();
        let replicas = replicas(&upstream, 3);
        replicas[0].engine.fault(Operation::Enter, Fault::DelayReply(ms(20)));
        let before = replicas[0].ask("/x");
        sleep(ms(10)).await;
        forget(&replicas[1]);
        sleep(ms(50)).await;
        let after = replicas[2].ask("/x");
        assert_eq!((before.await.unwrap(), after.await.unwrap()), ("1".to_owned(), "2".to_owned()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_after_forget_on_its_replica_gets_no_answer_from_before_it() {
    for forget in [
        |replica: &Replica| replica.handle.forget("/x"),
        |replica: &Replica| {
            replica.handle.forget_all();
        },
    ] {
        let upstream = upstream();
        let replicas = replicas(&upstream, 2);
        let before = replicas[0].ask("/x");
        settle().await;
        replicas[1].engine.delay(ms(10));
        forget(&replicas[1]);
        let after = replicas[1].ask("/x");
        assert_eq!((before.await.unwrap(), after.await.unwrap()), ("1".to_owned(), "2".to_owned()));
        replicas[1].went_alone(1, FleetReason::Sealed);
    }
}

#[tokio::test(start_paused = true)]
async fn calls_follow_again_once_the_others_know_what_is_forgotten() {
    let upstream = upstream();
    let replicas = replicas(&upstream, 2);
    // More than are noted one by one.
    for at in 0..5_000 {
        replicas[1].handle.forget(&format!("/{at}"));
    }
    assert_eq!(replicas[1].ask("/y").await.unwrap(), "1");
    replicas[1].went_alone(1, FleetReason::Sealed);
    sleep(ms(100)).await;
    let leads = replicas[0].ask("/x");
    settle().await;
    let follows = ["/x", "/x"].map(|path| replicas[1].ask(path));
    leads.await.unwrap();
    for answer in follows {
        assert_eq!(answer.await.unwrap(), "2");
    }
    assert_eq!(replicas[1].stats().taken, 1);
}

#[tokio::test(start_paused = true)]
async fn a_write_is_told_although_entries_are_too_slow() {
    let upstream = upstream();
    let replicas = replicas(&upstream, 3);
    replicas[1].engine.delay(ms(80));
    for at in 0..6 {
        replicas[1].ask(&format!("/w{at}"));
    }
    sleep(ms(90)).await;
    assert!(!replicas[1].fleet.is_up(), "the breaker is open");
    let before = replicas[0].ask("/x");
    settle().await;
    replicas[1].write("/x").await;
    sleep(ms(50)).await;
    let after = replicas[2].ask("/x");
    assert_eq!((before.await.unwrap(), after.await.unwrap()), ("7".to_owned(), "9".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn many_keys_are_forgotten_at_once() {
    let upstream = upstream();
    let replicas = replicas(&upstream, 2);
    let paths: Vec<_> = (0..300).map(|at| format!("/{at}")).collect();
    for path in &paths {
        replicas[0].ask(path);
        replicas[1].ask(path);
    }
    settle().await;
    assert_eq!(upstream.calls(), 300);
    replicas[1].engine.delay(ms(10));
    replicas[1].handle.forget_if(|_| true);
    sleep(ms(100)).await;
    paths.iter().for_each(|path| drop(replicas[0].ask(path)));
    settle().await;
    assert_eq!(upstream.calls(), 600);
}

/// Replicas with one key for all paths.
fn one_key(upstream: &Upstream, number: usize) -> Vec<Replica> {
    let engine = MemoryEngine::new();
    let replica = |_| {
        let engine = engine.another();
        let fleet = Fleet::new(engine.clone(), SECRET);
        let layer = SingleflightLayer::new(|_: &http::Request<()>| "key".to_owned());
        Replica::of(upstream, engine, fleet.clone(), layer.fleet(&fleet, "test"))
    };
    (0..number).map(replica).collect()
}

#[tokio::test(start_paused = true)]
async fn a_write_with_the_key_of_another_path_seals_that_too_while_the_layer_is_on_or_off() {
    for on in [true, false] {
        let upstream = upstream();
        let replicas = one_key(&upstream, 3);
        let before = replicas[0].ask("/x");
        settle().await;
        replicas[1].handle.set_enabled(on);
        replicas[1].write("/y").await;
        settle().await;
        let after = replicas[2].ask("/x");
        assert_eq!((before.await.unwrap(), after.await.unwrap()), ("1".to_owned(), "3".to_owned()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_through_a_layer_with_another_policy_seals_the_flights_of_its_path() {
    let upstream = upstream();
    let engine = MemoryEngine::new();
    // One layer compares the path, and its clone does not. The write has another key.
    let replica = || {
        let engine = engine.another();
        let fleet = Fleet::new(engine.clone(), SECRET);
        let by_uri =
            SingleflightLayer::new(|request: &http::Request<()>| request.uri().to_string());
        let compares = by_uri.fleet(&fleet, "test");
        let ignores = compares.clone().policy(HttpPolicy::new().ignore_path(true));
        [compares, ignores]
            .map(|layer| Replica::of(&upstream, engine.clone(), fleet.clone(), layer))
    };
    let (one, other) = (replica(), replica());
    for (reads, writes) in [(0, 1), (1, 0)] {
        let before = one[reads].ask("/x?a");
        settle().await;
        other[writes].write("/x").await;
        settle().await;
        let after = other[reads].ask("/x?a");
        assert_ne!(before.await.unwrap(), after.await.unwrap());
        let before = one[reads].ask("/x?a");
        settle().await;
        one[writes].write("/x").await;
        settle().await;
        let after = one[reads].ask("/x?a");
        assert_ne!(before.await.unwrap(), after.await.unwrap(), "in one process");
    }
}

/// A call of replica 0 goes on for replica 1 alone. Then its callers come back.
async fn a_call_that_goes_on_for_others_is_not_followed_after(change: impl FnOnce(&Replica)) {
    let upstream = upstream();
    let replicas = replicas(&upstream, 2);
    let follower = goes_on_for(&replicas[1], &replicas[0]).await;
    assert_eq!((upstream.calls(), upstream.dropped()), (1, 0), "it goes on");
    change(&replicas[0]);
    settle().await;
    let after = replicas[0].ask("/x").await.unwrap();
    assert_eq!((follower.await.unwrap(), after), ("1".to_owned(), "2".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn forget_forgets_a_call_that_goes_on_for_others_alone() {
    let change = |replica: &Replica| replica.handle.forget("/x");
    a_call_that_goes_on_for_others_is_not_followed_after(change).await;
}

#[tokio::test(start_paused = true)]
async fn forget_if_forgets_a_call_that_goes_on_for_others_alone() {
    let change = |replica: &Replica| replica.handle.forget_if(|path| path == "/x");
    a_call_that_goes_on_for_others_is_not_followed_after(change).await;
}

#[tokio::test(start_paused = true)]
async fn a_layer_that_is_off_for_a_moment_forgets_a_call_that_goes_on_for_others_alone() {
    let change = |replica: &Replica| {
        replica.handle.set_enabled(false);
        replica.handle.set_enabled(true);
    };
    a_call_that_goes_on_for_others_is_not_followed_after(change).await;
}

/// How long it takes to forget so many flights.
async fn time_to_forget(flights: usize) -> std::time::Duration {
    let replica = &replicas(&upstream(), 1)[0];
    let asked: Vec<_> = (0..flights).map(|at| replica.ask(&format!("/{at}"))).collect();
    settle().await;
    let start = std::time::Instant::now();
    replica.handle.forget_all();
    let time = start.elapsed();
    for answer in asked {
        answer.await.unwrap();
    }
    time
}

#[tokio::test(start_paused = true)]
async fn forget_all_takes_time_in_proportion_to_the_flights() {
    let mut ten_times_few = ms(0);
    for _ in 0..10 {
        ten_times_few += time_to_forget(500).await;
    }
    // The least of three: other programs only add to it.
    let mut many = time_to_forget(5_000).await;
    for _ in 0..2 {
        many = many.min(time_to_forget(5_000).await);
    }
    assert!(many < 2 * ten_times_few, "{many:?}, and {ten_times_few:?} in ten parts");
}

#[tokio::test(start_paused = true)]
async fn forget_outside_a_runtime_reaches_all_replicas() {
    let replicas = replicas(&upstream(), 2);
    let before = replicas[0].ask("/x");
    settle().await;
    let handle = replicas[1].handle.clone();
    std::thread::spawn(move || handle.forget("/x")).join().unwrap();
    settle().await;
    let after = replicas[0].ask("/x");
    assert_eq!((before.await.unwrap(), after.await.unwrap()), ("1".to_owned(), "2".to_owned()));
    assert_eq!(replicas[1].stats().seals_lost, 0);
}

#[tokio::test(start_paused = true)]
async fn a_write_through_a_clone_seals_a_call_that_goes_on_for_others() {
    for through_a_clone in [false, true] {
        let (upstream, engine) = (upstream(), MemoryEngine::new());
        let fleet = Fleet::new(engine.clone(), SECRET);
        let layer = by_path().fleet(&fleet, "test");
        let clone = layer.clone().policy(HttpPolicy::new().refusals(1));
        let reads = Replica::of(&upstream, engine.clone(), fleet.clone(), layer);
        let clone = Replica::of(&upstream, engine.clone(), fleet, clone);
        let elsewhere = Replica::new(&upstream, engine.another());
        let follows = goes_on_for(&elsewhere, &reads).await;
        for _ in 0..4 {
            engine.fault(Operation::Seal, Fault::LoseOperation);
        }
        if through_a_clone { &clone } else { &reads }.write("/x").await;
        assert_eq!(reads.ask("/x").await.unwrap(), "3", "through a clone: {through_a_clone}");
        assert_eq!(follows.await.unwrap(), "1");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_seal_of_an_answered_write_leaves_no_call_of_its_replica_to_follow() {
    // The write begins before the read, and is answered after it.
    let upstream = Upstream::with(|number, request| {
        Box::pin(async move {
            sleep(if request.method() == Method::GET { ms(400) } else { ms(100) }).await;
            Ok(whole(&number.to_string()))
        })
    });
    let replicas = replicas(&upstream, 2);
    let writer = replicas[0].clone();
    let written = tokio::spawn(async move { writer.write("/x").await });
    settle().await;
    let follows = goes_on_for(&replicas[1], &replicas[0]).await;
    for _ in 0..2 {
        replicas[0].engine.fault(Operation::Seal, Fault::LoseOperation);
    }
    written.await.unwrap();
    assert_eq!(replicas[0].ask("/x").await.unwrap(), "3", "a call of its own");
    assert_eq!(follows.await.unwrap(), "2");
}

#[test]
fn a_call_that_is_dropped_outside_a_runtime_closes_its_sealed_flight() {
    let runtime = paused();
    let replica = runtime.block_on(async { replicas(&upstream(), 1).remove(0) });
    let mut call = Box::pin(replica.get("/x"));
    runtime.block_on(async {
        assert!(futures_util::poll!(call.as_mut()).is_pending());
        settle().await;
    });
    // Told, and not heard before the drop.
    replica.handle.forget("/x");
    drop(call);
    runtime.block_on(settle());
    assert_eq!(replica.count(Operation::Seal), 1);
}
