//! What becomes of a flight whose leader goes away.

use crate::support::*;
use std::{
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep},
};
use tower_singleflight::{
    FleetReason,
    fleet::testing::{Fault, MemoryEngine, Operation},
};

/// The first call never answers. The others do.
fn first_hangs() -> Upstream {
    Upstream::with(|number, _| {
        Box::pin(async move {
            if number == 1 {
                std::future::pending::<()>().await;
            }
            sleep(ANEW).await;
            Ok(whole(&number.to_string()))
        })
    })
}

/// Longer than the time over which those who wait find out.
const ANEW: Duration = Duration::from_millis(400);

#[tokio::test(start_paused = true)]
async fn at_the_end_of_the_lease_one_of_those_who_wait_leads() {
    let upstream = first_hangs();
    let replicas = replicas(&upstream, 5);
    let _stopped = replicas[0].ask("/x");
    settle().await;
    let start = Instant::now();
    let asked: Vec<_> = replicas[1..].iter().map(|replica| replica.ask("/x")).collect();
    settle().await;
    // It stops: its leases end, and it does not hear of that.
    replicas[0].engine.partition(true);
    for answer in asked {
        assert_eq!(answer.await.unwrap(), "2");
    }
    let lease = ms(3_000);
    assert!(start.elapsed() <= lease + lease / 10 + ANEW + ms(10), "{:?}", start.elapsed());
    assert_eq!(upstream.calls(), 2);
    assert_eq!(replicas.iter().map(|replica| replica.stats().taken_over).sum::<u64>(), 1);
    let entries: usize = replicas[1..].iter().map(|replica| replica.count(Operation::Enter)).sum();
    let checks: usize = replicas[1..].iter().map(|replica| replica.count(Operation::Check)).sum();
    assert_eq!((entries, checks), (8, 1), "one CHECK, and one more ENTER for each that waits");
}

#[tokio::test(start_paused = true)]
async fn a_takeover_is_one_call_however_quick_the_upstream_is() {
    for bytes in [1, 100_000] {
        let upstream = Upstream::with(move |number, _| {
            Box::pin(async move {
                if number == 1 {
                    std::future::pending::<()>().await;
                }
                sleep(ms(1)).await;
                Ok(whole(&number.to_string().repeat(bytes)))
            })
        });
        let replicas = replicas(&upstream, 9);
        let _stopped = replicas[0].ask("/x");
        settle().await;
        let asked: Vec<_> = replicas[1..].iter().map(|replica| replica.ask("/x")).collect();
        settle().await;
        replicas[0].engine.partition(true);
        for answer in asked {
            assert_eq!(answer.await.unwrap(), "2".repeat(bytes));
        }
        assert_eq!(upstream.calls(), 2);
        assert_eq!(replicas.iter().map(|replica| replica.stats().taken_over).sum::<u64>(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn the_call_of_a_leader_whose_clients_left_goes_on_for_those_who_wait() {
    let upstream = Upstream::new();
    let replicas = replicas(&upstream, 2);
    let led = tokio::spawn(replicas[0].get("/x"));
    settle().await;
    let taken = replicas[1].ask("/x");
    settle().await;
    led.abort();
    assert_eq!(taken.await.unwrap(), "1", "the work belongs to the flight");
    assert_eq!((upstream.calls(), upstream.dropped()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn the_call_of_a_leader_whose_clients_left_is_dropped_at_once_if_nobody_follows() {
    let upstream = Upstream::new();
    let replicas = replicas(&upstream, 2);
    let led = tokio::spawn(replicas[0].get("/x"));
    settle().await;
    led.abort();
    settle().await;
    assert_eq!((upstream.calls(), upstream.dropped()), (1, 1));
    assert_eq!(replicas[0].engine.operations(), [Operation::Enter, Operation::Release]);
    assert_eq!(replicas[0].engine.stored(), 0);
    assert_eq!(text(replicas[1].get("/x")).await, "2");
}

#[tokio::test(start_paused = true)]
async fn a_released_flight_is_taken_over_at_once() {
    let upstream = Upstream::new();
    let replicas = replicas(&upstream, 3);
    let led = tokio::spawn(replicas[0].get("/x"));
    settle().await;
    // The leader does not hear that another follows.
    replicas[0].engine.drop_pushes(true);
    let asked = [replicas[1].ask("/x"), replicas[2].ask("/x")];
    settle().await;
    let start = Instant::now();
    led.abort();
    for answer in asked {
        assert_eq!(answer.await.unwrap(), "2");
    }
    assert_eq!(start.elapsed(), WORK);
    assert_eq!(upstream.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_late_lead_is_released_and_not_adopted() {
    let upstream = Upstream::new();
    let replicas = replicas(&upstream, 2);
    replicas[0].engine.fault(Operation::Enter, Fault::DelayReply(ms(70)));
    let start = Instant::now();
    assert_eq!(text(replicas[0].get("/x")).await, "1");
    assert_eq!(start.elapsed(), ms(50) + WORK, "it waits 50 ms for the engine");
    replicas[0].went_alone(1, FleetReason::Timeout);
    settle().await;
    assert_eq!(replicas[0].engine.operations(), [Operation::Enter, Operation::Release]);
    assert_eq!(replicas[0].stats().led, 0);
    assert_eq!(replicas[0].engine.stored(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_follower_of_a_late_lead_enters_again() {
    let upstream = Upstream::answering(ms(200), |number| whole(&number.to_string()));
    let replicas = replicas(&upstream, 2);
    replicas[0].engine.fault(Operation::Enter, Fault::DelayReply(ms(70)));
    let alone = replicas[0].ask("/x");
    settle().await;
    let start = Instant::now();
    assert_eq!(text(replicas[1].get("/x")).await, "2");
    assert_eq!(start.elapsed(), ms(70 + 200));
    assert_eq!(alone.await.unwrap(), "1");
}

#[tokio::test(start_paused = true)]
async fn a_zombie_publishes_nothing() {
    let upstream = Upstream::answering(ms(100), |number| whole(&number.to_string()));
    let replicas = replicas(&upstream, 3);
    let zombie = replicas[0].ask("/x");
    settle().await;
    let waits = replicas[1].ask("/x");
    settle().await;
    replicas[0].engine.expire_leases();
    let other = replicas[2].ask("/x");
    assert_eq!(zombie.await.unwrap(), "1", "its own callers have its answer");
    assert_eq!(other.await.unwrap(), "2");
    settle().await;
    assert_eq!(replicas[0].count(Operation::Land), 0);
    assert_eq!(replicas[0].stats().leases_lost, 1);
    // The tokens of the lost flight went along with the next one, whose result is not for them.
    assert_ne!(waits.await.unwrap(), "1");
}

#[tokio::test(start_paused = true)]
async fn a_lost_lease_ends_renewals_and_nothing_else() {
    let upstream = Upstream::answering(ms(9_500), |number| whole(&number.to_string()));
    let replicas = replicas(&upstream, 1);
    let led = replicas[0].ask("/x");
    sleep(ms(500)).await;
    replicas[0].engine.expire_leases();
    assert_eq!(led.await.unwrap(), "1");
    settle().await;
    assert_eq!(replicas[0].engine.operations(), [Operation::Enter, Operation::Renew]);
    assert_eq!(replicas[0].stats().leases_lost, 1);
}

#[tokio::test(start_paused = true)]
async fn leases_are_renewed_in_one_pipeline_and_none_under_a_third() {
    let upstream = Upstream::answering(ms(900), |number| whole(&number.to_string()));
    let replica = &replicas(&upstream, 1)[0];
    for path in 0..50 {
        replica.ask(&format!("/{path}"));
    }
    sleep(ms(950)).await;
    assert_eq!(
        replica.count(Operation::Renew),
        0,
        "a flight shorter than a third of a lease is not renewed"
    );
    let slow = Upstream::answering(ms(2_900), |number| whole(&number.to_string()));
    let replica = Replica::new(&slow, MemoryEngine::new());
    for path in 0..50 {
        replica.ask(&format!("/{path}"));
    }
    sleep(ms(2_950)).await;
    assert_eq!(replica.count(Operation::Renew), 2, "{:?}", replica.engine.operations());
}

#[tokio::test(start_paused = true)]
async fn a_renewed_flight_is_followed_beyond_its_first_lease() {
    let upstream = Upstream::answering(ms(7_000), |number| whole(&number.to_string()));
    let replicas = replicas(&upstream, 2);
    let led = replicas[0].ask("/x");
    sleep(ms(6_000)).await;
    let taken = replicas[1].ask("/x");
    assert_eq!((led.await.unwrap(), taken.await.unwrap()), ("1".to_owned(), "1".to_owned()));
    assert_eq!(upstream.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_flight_that_is_too_old_takes_no_more_and_still_answers_those_who_wait() {
    let upstream = Upstream::answering(ms(4_000), |number| whole(&number.to_string()));
    let replicas = replicas_with(&upstream, 3, |fleet| fleet, |layer| layer.join_within(ms(1_000)));
    let led = replicas[0].ask("/x");
    settle().await;
    sleep(ms(500)).await;
    // It waits for one second at most, too. So it takes the result only if it asked with more
    // patience.
    let waits = replicas[1].ask("/x");
    sleep(ms(600)).await;
    let newer = replicas[2].ask("/x");
    assert_eq!(led.await.unwrap(), "1");
    assert_eq!(newer.await.unwrap(), "2");
    assert_eq!(waits.await.unwrap(), "3");
    replicas[1].went_alone(1, FleetReason::Patience);
    assert_eq!(upstream.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_second_close_of_a_flight_that_was_too_old_finds_those_who_wait() {
    let upstream = Upstream::answering(ms(1_200), |number| whole(&number.to_string()));
    let replicas = replicas_with(&upstream, 2, |fleet| fleet, |layer| layer.join_within(ms(1_000)));
    let led = replicas[0].ask("/x");
    sleep(ms(500)).await;
    let waits = replicas[1].ask("/x");
    assert_eq!((led.await.unwrap(), waits.await.unwrap()), ("1".to_owned(), "1".to_owned()));
    assert_eq!(replicas[0].count(Operation::Close), 2);
}

#[tokio::test(start_paused = true)]
async fn a_panic_and_an_error_let_the_others_go_at_once() {
    for panics in [false, true] {
        let upstream = Upstream::with(move |number, _| {
            Box::pin(async move {
                sleep(WORK).await;
                match number {
                    1 if panics => panic!("as ordered"),
                    1 => Err(Failure),
                    _ => Ok(whole(&number.to_string())),
                }
            })
        });
        let replicas = replicas(&upstream, 3);
        let led = tokio::spawn(replicas[0].get("/x"));
        settle().await;
        let start = Instant::now();
        let asked = [replicas[1].ask("/x"), replicas[2].ask("/x")];
        match led.await {
            Ok(answer) => assert_eq!((answer.err(), panics), (Some(Failure), false)),
            Err(error) => assert!(error.is_panic() && panics),
        }
        for answer in asked {
            assert!(["2", "3"].contains(&&*answer.await.unwrap()));
        }
        assert_eq!(start.elapsed(), 2 * WORK, "in parallel");
        replicas[1].went_alone(1, FleetReason::Failed);
        assert_eq!(upstream.calls(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_after_the_clients_left_lets_the_others_go() {
    let (panic_now, told) = oneshot::channel::<()>();
    let told = Arc::new(Mutex::new(Some(told)));
    let upstream = Upstream::with(move |number, _| {
        let told = told.lock().unwrap().take();
        Box::pin(async move {
            if let Some(told) = told {
                drop(told.await);
                panic!("as ordered");
            }
            Ok(whole(&number.to_string()))
        })
    });
    let replicas = replicas(&upstream, 2);
    let led = tokio::spawn(replicas[0].get("/x"));
    settle().await;
    let waits = replicas[1].ask("/x");
    settle().await;
    led.abort();
    settle().await;
    panic_now.send(()).unwrap();
    let start = Instant::now();
    assert_eq!(waits.await.unwrap(), "2");
    assert_eq!(start.elapsed(), ms(0));
    replicas[1].went_alone(1, FleetReason::Failed);
}

/// Replicas whose first upstream call asks its own replica for `path`, after 100 ms. A call for
/// `/between` asks for `/x` in turn.
fn replicas_that_ask_themselves(path: &'static str) -> (Upstream, Vec<Replica>) {
    let own = Arc::new(OnceLock::<Replica>::new());
    let seen = own.clone();
    let upstream = Upstream::with(move |number, request| {
        let own = seen.get().cloned().unwrap();
        Box::pin(async move {
            sleep(ms(100)).await;
            let inner = match (number, request.uri().path()) {
                (1, _) => text(own.get(path)).await,
                (_, "/between") => text(own.get("/x")).await,
                _ => String::new(),
            };
            Ok(whole(&format!("{number}{inner}")))
        })
    });
    let replicas = replicas(&upstream, 2);
    assert!(own.set(replicas[0].clone()).is_ok());
    (upstream, replicas)
}

#[tokio::test(start_paused = true)]
async fn a_call_inside_its_own_flight_passes_although_its_callers_here_have_gone() {
    for (path, leave_after, answer) in
        [("/x", ms(50), "12"), ("/between", ms(50), "123"), ("/between", ms(150), "123")]
    {
        let (_, replicas) = replicas_that_ask_themselves(path);
        let start = Instant::now();
        let (led, taken) = (replicas[0].ask("/x"), replicas[1].ask("/x"));
        sleep(leave_after).await;
        led.abort();
        assert_eq!(taken.await.unwrap(), answer);
        assert_eq!(start.elapsed(), ms(100) * answer.len() as u32, "it waited for itself");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_inside_a_flight_does_not_wait_for_a_newcomer_that_follows_the_flight() {
    let (upstream, replicas) = replicas_that_ask_themselves("/x");
    let start = Instant::now();
    let (led, taken) = (replicas[0].ask("/x"), replicas[1].ask("/x"));
    settle().await;
    led.abort();
    settle().await;
    let newcomer = replicas[0].ask("/x");
    assert_eq!((taken.await.unwrap(), newcomer.await.unwrap()), ("12".into(), "12".into()));
    assert_eq!((start.elapsed(), upstream.calls()), (ms(200), 2));
}

#[tokio::test(start_paused = true)]
async fn a_call_goes_on_for_others_until_nobody_can_wait_for_it_any_more() {
    let upstream = Upstream::with(|_, _| Box::pin(std::future::pending()));
    let replicas = replicas(&upstream, 2);
    let (led, waits) = (replicas[0].ask("/x"), replicas[1].ask("/x"));
    settle().await;
    led.abort();
    waits.abort();
    sleep(ms(110_000)).await;
    assert_eq!(upstream.dropped(), 0, "one that had joined late might still wait");
    sleep(ms(20_000)).await;
    assert_eq!(upstream.dropped(), 1);
    assert_eq!(replicas[0].engine.stored(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_goes_on_for_others_ends_with_its_lease() {
    let upstream = Upstream::answering(ms(100_000), |number| whole(&number.to_string()));
    let replicas = replicas(&upstream, 2);
    let (led, waits) = (replicas[0].ask("/x"), replicas[1].ask("/x"));
    settle().await;
    led.abort();
    settle().await;
    replicas[0].engine.wipe();
    sleep(ms(3_000)).await;
    assert_eq!((upstream.calls(), upstream.dropped()), (1, 1));
    waits.abort();
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_follows_a_call_of_its_own_replica_that_goes_on_for_others() {
    for writes in [false, true] {
        let upstream = Upstream::new();
        let replicas = replicas(&upstream, 2);
        let led = tokio::spawn(replicas[0].get("/x"));
        settle().await;
        let taken = replicas[1].ask("/x");
        settle().await;
        led.abort();
        settle().await;
        if writes {
            replicas[0].engine.fault(Operation::Seal, Fault::LoseOperation);
            replicas[0].engine.fault(Operation::Close, Fault::LoseOperation);
            let write = tokio::spawn(replicas[0].send(request(http::Method::PUT, "/x", &[])));
            settle().await;
            drop(write);
        }
        let newcomer = replicas[0].ask("/x");
        assert_eq!(taken.await.unwrap(), "1");
        assert_eq!(newcomer.await.unwrap(), if writes { "3" } else { "1" });
    }
}

#[tokio::test(start_paused = true)]
async fn a_lone_flight_that_was_sealed_or_is_too_old_loses_no_lease() {
    let upstream = Upstream::reading(ms(40_000));
    let replicas = replicas(&upstream, 2);
    let asked = [replicas[0].ask("/sealed"), replicas[0].ask("/old")];
    settle().await;
    replicas[1].write("/sealed").await;
    for answer in asked {
        answer.await.unwrap();
    }
    assert_eq!(replicas[0].stats().leases_lost, 0);
}

#[tokio::test(start_paused = true)]
async fn a_flight_that_is_too_old_takes_no_more_although_its_close_was_lost() {
    let upstream = first_hangs();
    let replicas = replicas(&upstream, 2);
    let hangs = replicas[0].ask("/x");
    settle().await;
    replicas[0].engine.fault(Operation::Close, Fault::LoseOperation);
    sleep(ms(40_000)).await;
    let start = Instant::now();
    assert_eq!(replicas[1].ask("/x").await.unwrap(), "2");
    assert_eq!(start.elapsed(), ANEW, "it waits for no flight");
    hangs.abort();
}
