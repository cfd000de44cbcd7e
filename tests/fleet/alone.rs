//! When a replica makes its own call, and what that costs.

use crate::support::*;
use http::{HeaderValue, Method, Response, StatusCode, header};
use tokio::time::{Instant, sleep};
use tower::{Layer, ServiceExt};
use tower_singleflight::{
    Fleet, FleetKey, FleetReason, HttpPolicy, KeyWriter, Role, SingleflightLayer,
    fleet::testing::{Fault, MemoryEngine, Operation},
};

/// Answers with this header.
fn with_header(name: &'static str, value: &'static str) -> Upstream {
    Upstream::answering(WORK, move |number| {
        let mut response = whole(&number.to_string());
        response.headers_mut().insert(name, HeaderValue::from_static(value));
        response
    })
}

#[tokio::test(start_paused = true)]
async fn a_veto_releases_the_others_at_the_head_and_marks_the_name() {
    let upstream = with_header("cache-control", "private");
    let replicas = replicas(&upstream, 4);
    let start = Instant::now();
    let asked: Vec<_> = replicas[..3].iter().map(|replica| replica.ask("/x")).collect();
    for answer in asked {
        answer.await.unwrap();
    }
    assert_eq!(start.elapsed(), 2 * WORK, "in parallel");
    assert_eq!(upstream.calls(), 3);
    replicas[1].went_alone(1, FleetReason::Veto);
    // The fourth has not heard of it.
    let start = Instant::now();
    replicas[3].ask("/x").await.unwrap();
    assert_eq!(start.elapsed(), WORK, "it passes without waiting");
    replicas[3].went_alone(1, FleetReason::Unshareable);
}

#[tokio::test(start_paused = true)]
async fn a_shareable_answer_removes_the_mark() {
    let upstream = Upstream::answering(WORK, |number| {
        let mut response = whole(&number.to_string());
        if number <= 2 {
            response
                .headers_mut()
                .insert(header::CACHE_CONTROL, HeaderValue::from_static("private"));
        }
        response
    });
    let replicas = replicas(&upstream, 4);
    let asked = [replicas[0].ask("/x"), replicas[1].ask("/x")];
    for answer in asked {
        answer.await.unwrap();
    }
    assert_eq!(replicas[2].ask("/x").await.unwrap(), "3");
    replicas[2].went_alone(1, FleetReason::Unshareable);
    settle().await;
    let asked = [replicas[2].ask("/x"), replicas[3].ask("/x")];
    for answer in asked {
        assert_eq!(answer.await.unwrap(), "4");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_lets_the_others_go_and_is_never_marked() {
    let upstream = Upstream::answering(WORK, |number| {
        let mut response = whole(&number.to_string());
        if number == 1 {
            *response.status_mut() = StatusCode::FORBIDDEN;
        }
        response
    });
    let replicas = replicas(&upstream, 2);
    let led = tokio::spawn(replicas[0].get("/x"));
    settle().await;
    assert_eq!(text(replicas[1].get("/x")).await, "2");
    assert_eq!(led.await.unwrap().unwrap().status(), StatusCode::FORBIDDEN);
    replicas[1].went_alone(1, FleetReason::Veto);
    settle().await;
    let asked = [replicas[0].ask("/x"), replicas[1].ask("/x")];
    for answer in asked {
        assert_eq!(answer.await.unwrap(), "3");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_says_that_it_is_too_large_lets_the_others_go_at_the_head() {
    let upstream = Upstream::answering(WORK, |number| whole(&number.to_string().repeat(2_000)));
    let replicas = replicas_with(&upstream, 2, |fleet| fleet.body_limit(1_000), |layer| layer);
    let start = Instant::now();
    let asked = [replicas[0].ask("/x"), replicas[1].ask("/x")];
    for answer in asked {
        answer.await.unwrap();
    }
    assert_eq!(start.elapsed(), 2 * WORK);
    replicas[1].went_alone(1, FleetReason::TooLarge);
    let entries = replicas[1].count(Operation::Enter);
    replicas[1].ask("/x").await.unwrap();
    assert_eq!(replicas[1].count(Operation::Enter), entries, "it is remembered");
    assert_eq!(replicas[1].stats().alone_by(FleetReason::Unshareable), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_too_large_for_the_fleet_is_still_shared_here() {
    let upstream = Upstream::answering(WORK, |number| whole(&number.to_string().repeat(2_000)));
    let replicas = replicas_with(&upstream, 2, |fleet| fleet.body_limit(1_000), |layer| layer);
    let asked = [replicas[0].ask("/x"), replicas[1].ask("/x")];
    for answer in asked {
        answer.await.unwrap();
    }
    let asked: Vec<_> = (0..10).map(|_| replicas[1].ask("/x")).collect();
    for answer in asked {
        answer.await.unwrap();
    }
    assert_eq!(upstream.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_grows_too_large_lets_the_others_go() {
    let upstream = Upstream::answering(WORK, |number| {
        let part = number.to_string().repeat(400);
        Response::new(frames(ms(10), (0..5).map(|_| data(&part)).collect()))
    });
    let replicas = replicas_with(&upstream, 2, |fleet| fleet.body_limit(1_000), |layer| layer);
    let start = Instant::now();
    let led = replicas[0].ask("/x");
    settle().await;
    assert_eq!(replicas[1].ask("/x").await.unwrap(), "2".repeat(2_000));
    assert_eq!(start.elapsed(), WORK + ms(30) + WORK + ms(50));
    assert_eq!(led.await.unwrap(), "1".repeat(2_000));
    replicas[1].went_alone(1, FleetReason::TooLarge);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_too_slow_lets_the_others_go() {
    let upstream = Upstream::answering(WORK, |number| {
        Response::new(frames(ms(700), vec![data(&number.to_string()), data(".")]))
    });
    let replicas = replicas(&upstream, 2);
    let start = Instant::now();
    let led = replicas[0].ask("/x");
    settle().await;
    assert_eq!(replicas[1].ask("/x").await.unwrap(), "2.");
    assert_eq!(start.elapsed(), WORK + ms(1_000) + WORK + ms(1_400));
    assert_eq!(led.await.unwrap(), "1.", "its own callers have the whole body");
    replicas[1].went_alone(1, FleetReason::TooSlow);
}

#[tokio::test(start_paused = true)]
async fn nobody_elsewhere_has_a_byte_of_a_body_that_fails() {
    let upstream = Upstream::answering(WORK, |number| match number {
        1 => Response::new(frames(ms(10), vec![data("half"), Err("cut".into())])),
        _ => whole("whole"),
    });
    let replicas = replicas(&upstream, 3);
    let led = tokio::spawn(replicas[0].get("/x"));
    settle().await;
    let asked = [replicas[1].ask("/x"), replicas[2].ask("/x")];
    let unread = led.await.unwrap().unwrap();
    for answer in asked {
        assert_eq!(answer.await.unwrap(), "whole");
    }
    replicas[1].went_alone(1, FleetReason::Failed);
    drop(unread);
}

#[tokio::test(start_paused = true)]
async fn a_body_cut_short_is_not_published() {
    let upstream = Upstream::answering(WORK, |number| match number {
        1 => {
            let body = http_body_util::BodyExt::boxed_unsync(Short);
            Response::new(body)
        }
        _ => whole("whole"),
    });
    let replicas = replicas(&upstream, 2);
    let led = tokio::spawn(replicas[0].get("/x"));
    settle().await;
    assert_eq!(replicas[1].ask("/x").await.unwrap(), "whole");
    drop(led.await.unwrap().unwrap());
    replicas[1].went_alone(1, FleetReason::Failed);
}

/// Says that it has ten bytes, and has none.
struct Short;

impl http_body::Body for Short {
    type Data = bytes::Bytes;
    type Error = tower_singleflight::BoxError;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>, Self::Error>>> {
        std::task::Poll::Ready(None)
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(10)
    }
}

#[tokio::test(start_paused = true)]
async fn a_close_that_takes_too_long_lets_the_others_go() {
    let upstream = Upstream::new();
    let replicas = replicas(&upstream, 2);
    let led = replicas[0].ask("/x");
    settle().await;
    let waits = replicas[1].ask("/x");
    settle().await;
    replicas[0].engine.fault(Operation::Close, Fault::Delay(ms(150)));
    assert_eq!(led.await.unwrap(), "1");
    assert_eq!(waits.await.unwrap(), "2");
    assert_eq!(replicas[0].stats().published, 0);
    assert_eq!(replicas[0].count(Operation::Land), 1, "it lands \"go\"");
}

#[tokio::test(start_paused = true)]
async fn callers_here_do_not_wait_for_the_close() {
    let upstream = Upstream::new();
    let replica = &replicas(&upstream, 1)[0];
    replica.engine.fault(Operation::Close, Fault::Delay(ms(2_000)));
    let start = Instant::now();
    assert_eq!(text(replica.get("/x")).await, "1");
    assert_eq!(start.elapsed(), WORK);
}

#[tokio::test(start_paused = true)]
async fn without_the_engine_the_callers_of_a_replica_share_as_before() {
    let upstream = Upstream::new();
    let replica = &replicas(&upstream, 1)[0];
    replica.engine.partition(true);
    let start = Instant::now();
    let asked: Vec<_> = (0..20).map(|_| replica.ask("/x")).collect();
    for answer in asked {
        assert_eq!(answer.await.unwrap(), "1");
    }
    assert_eq!(start.elapsed(), WORK);
    assert_eq!(replica.engine.operations(), [], "while it is down, it is asked nothing");
    replica.went_alone(1, FleetReason::Down);
    assert!(!replica.fleet.is_up() && !replica.stats().up);
    replica.engine.partition(false);
    assert!(replica.fleet.is_up());
    replica.ask("/x").await.unwrap();
    assert_eq!(replica.stats().led, 1);
}

#[tokio::test(start_paused = true)]
async fn five_entries_without_a_reply_open_the_breaker_and_a_ping_closes_it() {
    let upstream = Upstream::new();
    let replica = &replicas(&upstream, 1)[0];
    replica.engine.stop(true);
    for _ in 0..5 {
        let start = Instant::now();
        replica.ask("/x").await.unwrap();
        assert_eq!(start.elapsed(), ms(50) + WORK, "it waits 50 ms");
    }
    assert!(!replica.fleet.is_up());
    let entries = replica.count(Operation::Enter);
    assert_eq!(entries, 5);
    for _ in 0..50 {
        let start = Instant::now();
        replica.ask("/x").await.unwrap();
        assert_eq!(start.elapsed(), WORK, "it waits for nothing");
    }
    assert_eq!(replica.count(Operation::Enter), entries, "no request is what finds out");
    assert!((1..=4).contains(&replica.count(Operation::Ping)), "{:?}", replica.engine.operations());
    replica.engine.stop(false);
    sleep(ms(1_500)).await;
    assert!(replica.fleet.is_up());
    replica.ask("/x").await.unwrap();
    assert_eq!(replica.stats().led, 1);
}

#[tokio::test(start_paused = true)]
async fn a_reply_in_between_keeps_the_breaker_closed() {
    let upstream = Upstream::new();
    let replica = &replicas(&upstream, 1)[0];
    for at in 0..20 {
        if at % 4 != 3 {
            replica.engine.fault(Operation::Enter, Fault::LoseOperation);
        }
        replica.ask("/x").await.unwrap();
        settle().await;
    }
    assert_eq!(replica.count(Operation::Enter), 20);
}

#[tokio::test(start_paused = true)]
async fn a_full_engine_lets_all_go_alone() {
    let upstream = Upstream::new();
    let replicas = replicas(&upstream, 2);
    replicas[0].engine.fill(true);
    replicas[0].ask("/x").await.unwrap();
    replicas[0].went_alone(1, FleetReason::Busy);
    assert!(replicas[0].fleet.is_up());
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_fills_up_meanwhile_still_gives_small_answers_to_all() {
    for (length, calls) in [(1_000, 1), (100_000, 3)] {
        let upstream = Upstream::answering(WORK, move |_| whole(&"x".repeat(length)));
        let replicas = replicas(&upstream, 3);
        let asked: Vec<_> = replicas.iter().map(|replica| replica.ask("/x")).collect();
        settle().await;
        replicas[0].engine.fill(true);
        for answer in asked {
            assert_eq!(answer.await.unwrap().len(), length);
        }
        assert_eq!(upstream.calls(), calls);
    }
}

#[tokio::test(start_paused = true)]
async fn more_entries_under_way_than_the_cap_go_alone() {
    let upstream = Upstream::answering(ms(1), |_| whole("x"));
    let fleet = |fleet: Fleet| fleet.enter_within(ms(10_000));
    let replica = Replica::with(&upstream, MemoryEngine::new(), fleet, |layer| layer);
    replica.engine.stop(true);
    let asked: Vec<_> = (0..1_034).map(|at| replica.ask(&format!("/{at}"))).collect();
    sleep(ms(10)).await;
    replica.went_alone(10, FleetReason::Busy);
    replica.engine.stop(false);
    for answer in asked {
        answer.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_spent_body_budget_lets_the_others_go() {
    let upstream = Upstream::answering(WORK, |number| match number {
        1 => Response::new(frames(ms(0), (0..10).map(|_| data(&"x".repeat(1_000))).collect())),
        _ => whole("x"),
    });
    let policy = || HttpPolicy::new().body_budget(5_000);
    let replicas = replicas_with(&upstream, 2, |fleet| fleet, |layer| layer.policy(policy()));
    // Two readers, of which one does not read, spend the budget.
    let holders = [tokio::spawn(replicas[0].get("/held")), tokio::spawn(replicas[0].get("/held"))];
    sleep(WORK + ms(5)).await;
    let led = replicas[0].ask("/x");
    settle().await;
    let waits = replicas[1].ask("/x");
    settle().await;
    let mut held = Vec::new();
    for holder in holders {
        held.push(holder.await.unwrap().unwrap());
    }
    let reads = held.pop().unwrap();
    let reading = tokio::spawn(http_body_util::BodyExt::collect(reads.into_body()));
    settle().await;
    led.await.unwrap();
    waits.await.unwrap();
    assert_eq!(replicas[0].stats().published, 0, "{:?}", replicas[0].stats());
    drop(held);
    drop(reading.await);
}

#[tokio::test(start_paused = true)]
async fn wait_at_most_holds_for_a_replica_that_waits_for_another() {
    let upstream = Upstream::answering(ms(5_000), |number| whole(&number.to_string()));
    let replicas = replicas_with(&upstream, 2, |fleet| fleet, |layer| layer.wait_at_most(ms(500)));
    let led = replicas[0].ask("/x");
    settle().await;
    let start = Instant::now();
    assert_eq!(replicas[1].ask("/x").await.unwrap(), "2");
    assert_eq!(start.elapsed(), ms(500 + 5_000));
    replicas[1].went_alone(1, FleetReason::Patience);
    led.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_follower_whose_patience_ends_does_not_follow_its_own_replica_elsewhere() {
    let upstream = Upstream::answering(ms(5_000), |number| whole(&number.to_string()));
    let replicas = replicas_with(&upstream, 1, |fleet| fleet, |layer| layer.wait_at_most(ms(500)));
    let led = replicas[0].ask("/x");
    settle().await;
    let start = Instant::now();
    assert_eq!(replicas[0].ask("/x").await.unwrap(), "2");
    assert_eq!(start.elapsed(), ms(500 + 5_000));
    led.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_call_from_inside_its_own_flight_passes() {
    let slot: std::sync::Arc<std::sync::OnceLock<Replica>> = Default::default();
    let inner = slot.clone();
    let upstream = Upstream::with(move |number, _| {
        let replica = inner.get().cloned();
        Box::pin(async move {
            if number > 1 {
                return Ok(whole("inner"));
            }
            let answer = replica.unwrap().get("/x").await?;
            assert!(answer.extensions().get::<Role>().is_none());
            Ok(whole("outer"))
        })
    });
    let replica = Replica::new(&upstream, MemoryEngine::new());
    assert!(slot.set(replica.clone()).is_ok());
    assert_eq!(text(replica.get("/x")).await, "outer");
    assert_eq!(upstream.calls(), 2);
    assert_eq!(replica.count(Operation::Enter), 1);
}

#[test]
fn a_runtime_that_shut_down_takes_no_fleet_with_it() {
    let (upstream, engine) = (Upstream::new(), MemoryEngine::new());
    let (one, two) =
        (Replica::new(&upstream, engine.another()), Replica::new(&upstream, engine.another()));
    for round in 1..=3 {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let asked = [one.ask("/x"), two.ask("/x")];
            let [a, b] = asked.map(|answer| async { answer.await.unwrap() });
            assert_eq!(a.await, b.await);
            // What looks after these goes with the runtime.
            drop((one.ask("/other"), two.ask("/other")));
            settle().await;
        });
        drop(runtime);
        assert_eq!(upstream.calls(), 2 * round);
        // Another runtime has another clock.
        engine.wipe();
    }
}

#[test]
#[should_panic(expected = "at least 16 bytes")]
fn a_secret_that_is_too_short_panics() {
    let _ = Fleet::new(MemoryEngine::new(), "too short");
}

#[test]
#[should_panic(expected = "at least 500 ms")]
fn a_lease_that_is_too_short_panics() {
    let _ = Fleet::new(MemoryEngine::new(), SECRET).lease(ms(499));
}

#[test]
fn a_layer_keeps_its_type() {
    fn takes(_: SingleflightLayer<tower_singleflight::mode::Http<String>>) {}
    let fleet = Fleet::new(MemoryEngine::new(), SECRET);
    takes(by_path().fleet(&fleet, "test"));
    takes(by_path());
}

#[tokio::test(start_paused = true)]
async fn a_veto_elsewhere_releases_all_callers_of_a_replica_at_once() {
    let upstream = with_header("cache-control", "private");
    let replicas = replicas(&upstream, 2);
    let led = replicas[0].ask("/x");
    settle().await;
    let start = Instant::now();
    let asked: Vec<_> = (0..5).map(|_| replicas[1].ask("/x")).collect();
    let mut answers = Vec::new();
    for answer in asked {
        answers.push(answer.await.unwrap());
    }
    assert_eq!(start.elapsed(), 2 * WORK, "two upstream times in all, not three");
    answers.sort();
    assert_eq!(answers, ["2", "3", "4", "5", "6"]);
    led.await.unwrap();
    replicas[1].went_alone(1, FleetReason::Veto);
    assert_eq!(replicas[1].handle.stats().vetoed, 4);
    let entries = replicas[1].count(Operation::Enter);
    replicas[1].ask("/x").await.unwrap();
    assert_eq!(replicas[1].count(Operation::Enter), entries, "it is remembered here as well");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_leaves_after_a_veto_elsewhere_takes_its_call_along() {
    let upstream = with_header("cache-control", "private");
    let replicas = replicas(&upstream, 2);
    let led = replicas[0].ask("/x");
    settle().await;
    let (leader, follower) = (tokio::spawn(replicas[1].get("/x")), replicas[1].ask("/x"));
    led.await.unwrap();
    sleep(ms(10)).await;
    leader.abort();
    assert_eq!(follower.await.unwrap(), "3");
    assert_eq!((upstream.calls(), upstream.dropped()), (3, 1));
    assert_eq!((replicas[1].handle.in_flight(), replicas[1].handle.waiting()), (0, 0));
}

tokio::task_local! { static USER: u32; }

#[tokio::test(start_paused = true)]
async fn a_lone_call_of_a_separate_group_has_no_fleet_and_keeps_its_task_locals() {
    let upstream = Upstream::with(|_, _| {
        Box::pin(async {
            sleep(WORK).await;
            Ok(whole(&USER.with(u32::to_string)))
        })
    });
    let layer = |layer: FleetLayer| layer.separate_groups();
    let replica = Replica::with(&upstream, MemoryEngine::new(), |fleet| fleet, layer);
    assert_eq!(USER.scope(7, text(replica.get("/x"))).await, "7");
    assert_eq!(replica.engine.operations(), []);
}

/// A key that panics as it is named for the fleet.
#[derive(Hash, PartialEq, Eq)]
struct Nameless;

impl FleetKey for Nameless {
    fn write(&self, _: &mut KeyWriter) {
        panic!("as ordered");
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_panics_as_it_is_named_lets_its_flight_go_alone() {
    for ignores_path in [false, true] {
        let upstream = Upstream::new();
        let fleet = Fleet::new(MemoryEngine::new(), SECRET);
        let policy = HttpPolicy::new().ignore_path(ignores_path);
        let layer = SingleflightLayer::new(|_| Nameless).policy(policy).fleet(&fleet, "test");
        let service = layer.layer(upstream.service());
        let ask = || tokio::spawn(text(service.clone().oneshot(request(Method::GET, "/x", &[]))));
        for answer in [ask(), ask(), ask()] {
            assert_eq!(answer.await.unwrap(), "1", "its callers share as without a fleet");
        }
        assert_eq!(fleet.stats().alone_by(FleetReason::Key), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_published_for_callers_that_found_their_own_replica_leading() {
    let upstream = Upstream::new();
    let layer = |layer: FleetLayer| layer.max_waiters(1);
    let replicas = replicas_with(&upstream, 2, |fleet| fleet, layer);
    let (led, full) = (replicas[0].ask("/x"), replicas[0].ask("/x"));
    assert_eq!((led.await.unwrap(), full.await.unwrap()), ("1".into(), "2".into()));
    settle().await;
    assert_eq!((replicas[0].count(Operation::Land), replicas[0].engine.stored()), (0, 0));
    let (led, full) = (replicas[0].ask("/x"), replicas[0].ask("/x"));
    settle().await;
    let taken = replicas[1].ask("/x");
    assert_eq!((led.await.unwrap(), full.await.unwrap()), ("3".into(), "4".into()));
    assert_eq!(taken.await.unwrap(), "3");
}

#[test]
fn outside_a_runtime_a_flight_goes_alone() {
    let upstream =
        Upstream::with(|number, _| Box::pin(async move { Ok(whole(&number.to_string())) }));
    let replica = Replica::new(&upstream, MemoryEngine::new());
    let mut call = tokio_test::task::spawn(replica.get("/x"));
    assert!(call.poll().is_ready());
    replica.went_alone(1, FleetReason::Down);
}

#[test]
fn a_call_that_is_polled_outside_its_runtime_goes_on() {
    let upstream =
        Upstream::with(|number, _| Box::pin(async move { Ok(whole(&number.to_string())) }));
    let replicas = replicas(&upstream, 2);
    let runtime = paused();
    // The other replica leads, and is not heard of again.
    replicas[0].engine.fault(Operation::Close, Fault::LoseOperation);
    runtime.block_on(replicas[0].get("/x")).unwrap();
    let mut waits = tokio_test::task::spawn(replicas[1].get("/x"));
    let inside = runtime.enter();
    assert!(waits.poll().is_pending());
    drop(inside);
    let token =
        tower_singleflight::fleet::engine::Token::new(replicas[1].engine.replica().unwrap(), 1);
    replicas[1].engine.wipe();
    replicas[1].engine.push(tower_singleflight::fleet::engine::Push::Again { token });
    runtime.block_on(settle());
    assert!(waits.is_woken());
    assert!(waits.poll().is_ready(), "it leads, and has its answer");
    assert_eq!(replicas[1].stats().taken_over, 1);
}
