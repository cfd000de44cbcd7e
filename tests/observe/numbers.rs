//! What is counted, measured and gauged.

use crate::support::*;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use std::{convert::Infallible, future::pending, time::Duration};
use tokio::time::{advance, sleep};
use tokio_test::{assert_pending, assert_ready, task::spawn};
use tower::{Layer, Service, service_fn};
use tower_singleflight::{Group, SingleflightLayer};

#[tokio::test(start_paused = true)]
async fn a_call_alone_leads_a_flight_that_lands() {
    let mut recorded = record();
    let group = Group::new();
    let (end, mut leader) = lead(&group, 1);
    assert_eq!(recorded.in_progress(), (1, 1));
    assert_pending!(leader.poll());
    assert_eq!((recorded.calls(), recorded.flights()), (are([]), are([])));
    advance(Duration::from_secs(2)).await;
    end.send("landed").unwrap();
    assert_ready!(leader.poll());
    assert_eq!(recorded.in_progress(), (0, 0));
    assert_eq!(recorded.calls(), calls([("leader/landed", 1)]));
    assert_eq!(recorded.flights(), are([("outcome=landed", 1)]));
    assert_eq!(
        recorded.histogram("singleflight_flight_duration_seconds"),
        [("outcome=landed".to_owned(), vec![2.0])]
    );
    assert_eq!(recorded.histogram("singleflight_flight_waiters"), [(String::new(), vec![1.0])]);
    assert_eq!((recorded.passes(), recorded.vetoes()), (are([]), are([])));
}

#[tokio::test(start_paused = true)]
async fn followers_count_as_such_and_wait_with_their_leader() {
    let mut recorded = record();
    let group = Group::new();
    let (end, leader) = lead(&group, 1);
    let followers = [follow(&group, 1), follow(&group, 1)];
    assert_eq!(recorded.in_progress(), (1, 3));
    advance(Duration::from_millis(250)).await;
    end.send(()).unwrap();
    settle().await;
    assert_eq!(recorded.in_progress(), (0, 0));
    assert_eq!(recorded.calls(), are([]));
    for mut call in followers.into_iter().chain([leader]) {
        assert_ready!(call.poll());
    }
    assert_eq!(recorded.calls(), calls([("leader/landed", 1), ("follower/landed", 2)]));
    assert_eq!(recorded.histogram("singleflight_flight_waiters"), [(String::new(), vec![3.0])]);
    assert_eq!(
        recorded.histogram("singleflight_flight_duration_seconds"),
        [("outcome=landed".to_owned(), vec![0.25])]
    );
}

#[tokio::test(start_paused = true)]
async fn those_who_left_and_the_flight_that_everybody_left() {
    let mut recorded = record();
    let group = Group::<u32, ()>::new();
    let leader = group.run(1, pending);
    let follower = group.run(1, pending);
    drop(leader);
    assert_eq!(recorded.in_progress(), (1, 1));
    assert_eq!(recorded.calls(), calls([("leader/left", 1)]));
    advance(Duration::from_secs(1)).await;
    drop(follower);
    assert_eq!(recorded.in_progress(), (0, 0));
    assert_eq!(recorded.calls(), calls([("leader/left", 1), ("follower/left", 1)]));
    assert_eq!(recorded.flights(), are([("outcome=cancelled", 1)]));
    assert_eq!(
        recorded.histogram("singleflight_flight_duration_seconds"),
        [("outcome=cancelled".to_owned(), vec![1.0])]
    );
    assert!(recorded.histogram("singleflight_flight_waiters").is_empty());
}

#[tokio::test]
async fn a_result_that_is_there_and_never_taken_was_landed_for_but_left() {
    let mut recorded = record();
    let group = Group::new();
    let (end, leader) = lead(&group, 1);
    let follower = follow(&group, 1);
    end.send(()).unwrap();
    settle().await;
    drop((leader, follower));
    assert_eq!(recorded.histogram("singleflight_flight_waiters"), [(String::new(), vec![2.0])]);
    assert_eq!(recorded.calls(), calls([("leader/left", 1), ("follower/left", 1)]));
    assert_eq!(recorded.flights(), are([("outcome=landed", 1)]));
}

#[tokio::test]
async fn a_flight_that_runs_to_its_completion_lands_for_nobody() {
    let mut recorded = record();
    let group = Group::new();
    drop(group.spawn(1, || async {}));
    assert_eq!(recorded.in_progress(), (1, 0));
    settle().await;
    assert_eq!(recorded.in_progress(), (0, 0));
    assert_eq!(recorded.flights(), are([("outcome=landed", 1)]));
    assert_eq!(recorded.histogram("singleflight_flight_waiters"), [(String::new(), vec![0.0])]);
    assert_eq!(recorded.calls(), calls([("leader/left", 1)]));
}

#[tokio::test]
async fn a_panic_of_the_work_in_a_task() {
    let mut recorded = record();
    let group = Group::<u32, ()>::new();
    let mut waiters = [spawn(group.run(1, || async { panic!("the work") })), follow(&group, 1)];
    settle().await;
    for waiter in &mut waiters {
        assert!(panics(|| waiter.poll()));
    }
    drop(waiters);
    assert_eq!(recorded.in_progress(), (0, 0));
    assert_eq!(recorded.flights(), are([("outcome=panicked", 1)]));
    assert_eq!(recorded.calls(), calls([("leader/panicked", 1), ("follower/panicked", 1)]));
}

#[test]
fn a_panic_of_the_work_in_place() {
    let mut recorded = record();
    let group = Group::<u32, ()>::new();
    let mut leader = spawn(group.run(1, || async { panic!("the work") }));
    assert!(panics(|| leader.poll()));
    drop(leader);
    assert_eq!(recorded.in_progress(), (0, 0));
    assert_eq!(recorded.flights(), are([("outcome=panicked", 1)]));
    assert_eq!(recorded.calls(), calls([("leader/panicked", 1)]));
}

#[test]
fn a_panic_as_the_key_of_a_landed_flight_is_dropped() {
    #[derive(PartialEq, Eq, Hash)]
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("the key");
        }
    }
    let mut recorded = record();
    let group = Group::new();
    let mut leader = spawn(group.run(Bomb, || async {}));
    assert!(panics(|| leader.poll()));
    drop(leader);
    assert_eq!(recorded.in_progress(), (0, 0));
    assert_eq!(recorded.flights(), are([("outcome=landed", 1)]));
    assert_eq!(recorded.calls(), calls([("leader/panicked", 1)]));
}

#[test]
fn a_flight_that_is_lost_and_led_anew_counts_twice() {
    let mut recorded = record();
    let group = Group::new();
    let runtime = doomed();
    let (mut leader, mut heir) = {
        let _inside = runtime.enter();
        (spawn(group.run(1, pending::<()>)), spawn(group.run(1, || async {})))
    };
    drop(runtime);
    assert_eq!(recorded.flights(), are([("outcome=lost", 1)]));
    assert_eq!(recorded.in_progress(), (1, 2));
    assert_ready!(heir.poll());
    assert_ready!(leader.poll());
    assert_eq!(recorded.in_progress(), (0, 0));
    assert_eq!(recorded.flights(), are([("outcome=landed", 1), ("outcome=lost", 1)]));
    assert_eq!(recorded.calls(), calls([("leader/landed", 1), ("follower/landed", 1)]));
}

#[test]
fn a_flight_that_nobody_can_lead_anew() {
    let mut recorded = record();
    let group = Group::new();
    let runtime = doomed();
    let mut ticket = {
        let _inside = runtime.enter();
        spawn(group.spawn(1, pending::<()>))
    };
    drop(runtime);
    assert!(panics(|| ticket.poll()));
    drop(ticket);
    assert_eq!(recorded.in_progress(), (0, 0));
    assert_eq!(recorded.flights(), are([("outcome=lost", 1)]));
    assert_eq!(recorded.calls(), calls([("leader/panicked", 1)]));
}

#[test]
fn a_lost_flight_whose_last_heir_leaves_is_lost_once() {
    let mut recorded = record();
    let group = Group::new();
    let runtime = doomed();
    let (mut leader, heir) = {
        let _inside = runtime.enter();
        (spawn(group.run(1, pending::<()>)), spawn(group.run(1, || async {})))
    };
    drop(runtime);
    drop(heir);
    assert!(panics(|| leader.poll()));
    assert_eq!(recorded.in_progress(), (0, 0));
    assert_eq!(recorded.flights(), are([("outcome=lost", 1)]));
    assert_eq!(recorded.calls(), calls([("leader/panicked", 1), ("follower/left", 1)]));
}

#[tokio::test]
async fn a_filter_lets_calls_pass() {
    let mut recorded = record();
    let layer = SingleflightLayer::by_key(|n: &u32| *n).filter(|n| *n > 1);
    let mut service = layer.layer(service_fn(|n: u32| async move { Ok::<_, Infallible>(n) }));
    assert_eq!(service.call(1).await, Ok(1));
    assert_eq!(service.call(2).await, Ok(2));
    assert_eq!(recorded.passes(), are([("reason=filter", 1)]));
    assert_eq!(recorded.calls(), calls([("none/passed", 1), ("leader/landed", 1)]));
    assert_eq!(recorded.flights(), are([("outcome=landed", 1)]));
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_loses_its_patience_is_counted_once_by_how_it_ends() {
    let mut recorded = record();
    let layer = SingleflightLayer::by_key(|n: &u32| *n).wait_at_most(Duration::from_secs(1));
    let mut service = layer.layer(service_fn(|n: u32| async move {
        sleep(Duration::from_secs(3)).await;
        Ok::<_, Infallible>(n)
    }));
    let (leader, follower) = (service.call(1), service.call(1));
    let (leader, follower) = tokio::join!(leader, follower);
    assert_eq!((leader, follower), (Ok(1), Ok(1)));
    assert_eq!(recorded.in_progress(), (0, 0));
    assert_eq!(recorded.numbers("singleflight_timeouts_total"), are([("", 1)]));
    assert_eq!(layer.handle().stats().timed_out, 1);
    assert_eq!(recorded.passes(), are([]));
    assert_eq!(recorded.calls(), calls([("leader/landed", 2)]));
    assert_eq!(recorded.flights(), are([("outcome=landed", 2)]));
    assert_eq!(
        recorded.histogram("singleflight_flight_waiters"),
        [(String::new(), vec![1.0, 1.0])]
    );
}

#[tokio::test]
async fn a_call_inside_its_own_flight_passes() {
    let mut recorded = record();
    let group = Group::new();
    let same = group.clone();
    let outcome = group.run(1, || async move { same.run(1, || async { 7 }).await.value }).await;
    assert_eq!(outcome.value, 7);
    assert_eq!(recorded.passes(), are([("reason=reentrant", 1)]));
    assert_eq!(recorded.calls(), calls([("none/passed", 1), ("leader/landed", 1)]));
}

#[tokio::test]
async fn a_follower_that_is_polled_inside_its_flight_has_waited_and_passes() {
    let mut recorded = record();
    let group = Group::new();
    let (send, receive) = tokio::sync::oneshot::channel();
    let leader = group.run(1, || async move {
        let follower: tower_singleflight::Run<u32> = receive.await.unwrap();
        follower.await.value
    });
    assert!(send.send(group.run(1, || async { 7 })).is_ok());
    assert_eq!(leader.await.value, 7);
    assert_eq!(recorded.passes(), are([("reason=reentrant", 1)]));
    assert_eq!(recorded.calls(), calls([("follower/passed", 1), ("leader/landed", 1)]));
    assert_eq!(recorded.in_progress(), (0, 0));
}

#[tokio::test]
async fn a_recorder_that_is_set_later_counts_from_then_on() {
    let group = Group::new();
    let (end, mut unseen) = lead(&group, 1);
    end.send(()).unwrap();
    assert_ready!(unseen.poll());
    let mut recorded = record();
    assert_ready!(spawn(group.run(1, || async {})).poll());
    assert_eq!(recorded.calls(), calls([("leader/landed", 1)]));
    assert_eq!(recorded.flights(), are([("outcome=landed", 1)]));
    drop(recorded);
    let mut another = record();
    assert_ready!(spawn(group.run(1, || async {})).poll());
    assert_eq!(another.calls(), calls([("leader/landed", 1)]));
}

/// A near miss, a refusal, a timeout and a veto.
async fn provoke_the_rest() {
    let layer = SingleflightLayer::new(|_| 1).wait_at_most(Duration::from_secs(2));
    let mut service = layer.layer(service_fn(|request: Request<Empty<Bytes>>| async move {
        sleep(Duration::from_secs(if request.uri().path() == "/slow" { 3 } else { 1 })).await;
        let status = if request.uri().path() == "/refused" { 403 } else { 200 };
        let answer = Response::builder().status(status).header("set-cookie", "id=1");
        Ok::<_, Infallible>(answer.body(Empty::<Bytes>::new()).unwrap())
    }));
    let mut call = |path| service.call(Request::get(path).body(Empty::new()).unwrap());
    let vetoed = [call("/vetoed"), call("/vetoed"), call("/vetoed")];
    let refused = [call("/refused"), call("/refused"), call("/refused")];
    let slow = [call("/slow"), call("/slow")];
    futures_util::future::join_all(vetoed.into_iter().chain(refused).chain(slow)).await;
}

#[tokio::test(start_paused = true)]
async fn every_metric_is_described_with_its_unit() {
    use metrics::Unit::{Count, Seconds};
    use metrics_util::debugging::DebuggingRecorder;
    let recorder = DebuggingRecorder::new();
    let _here = metrics::set_default_local_recorder(&recorder);
    let layer = SingleflightLayer::by_key(|n: &u32| *n).filter(|n| *n > 0);
    let mut service = layer.layer(service_fn(|n: u32| async move { Ok::<_, Infallible>(n) }));
    service.call(0).await.unwrap();
    service.call(1).await.unwrap();
    provoke_the_rest().await;
    let mut described: Vec<_> =
        recorder.snapshotter().snapshot().into_vec().into_iter().collect::<Vec<_>>();
    described.sort_by_key(|(key, ..)| key.key().name().to_owned());
    described.dedup_by_key(|(key, ..)| key.key().name().to_owned());
    let units: Vec<_> = described.iter().map(|(key, unit, ..)| (key.key().name(), *unit)).collect();
    assert_eq!(
        units,
        [
            ("singleflight_calls_total", Some(Count)),
            ("singleflight_flight_duration_seconds", Some(Seconds)),
            ("singleflight_flight_waiters", Some(Count)),
            ("singleflight_flights_in_progress", Some(Count)),
            ("singleflight_flights_total", Some(Count)),
            ("singleflight_near_misses_total", Some(Count)),
            ("singleflight_passes_total", Some(Count)),
            ("singleflight_refusals_total", Some(Count)),
            ("singleflight_timeouts_total", Some(Count)),
            ("singleflight_vetoes_total", Some(Count)),
            ("singleflight_waiters", Some(Count)),
        ]
    );
    assert!(
        described
            .iter()
            .all(|(_, _, text, _)| text.as_ref().is_some_and(|text| text.ends_with('.')))
    );
}

#[tokio::test(start_paused = true)]
async fn a_key_that_panics_as_patience_ends_ends_a_call_that_is_counted_once() {
    let mut recorded = record();
    let keys = std::sync::atomic::AtomicU32::new(0);
    let layer = SingleflightLayer::by_key(move |_: &u32| {
        assert!(keys.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < 2, "no more keys");
        1
    });
    let layer = layer.wait_at_most(Duration::from_secs(1));
    let mut service = layer.layer(service_fn(|_: u32| pending::<Result<u32, Infallible>>()));
    let (leader, mut follower) = (service.call(1), spawn(service.call(1)));
    assert_pending!(follower.poll());
    advance(Duration::from_secs(1)).await;
    assert!(panics(|| follower.poll()));
    drop((leader, follower));
    let ended: u64 = recorded.calls().iter().map(|(_, number)| number).sum();
    assert_eq!((ended, recorded.in_progress()), (2, (0, 0)), "{:?}", recorded.calls());
}

#[tokio::test]
async fn followers_that_go_on_after_an_error_are_counted_once_each() {
    let mut recorded = record();
    let layer = SingleflightLayer::by_key(|n: &u32| *n).followers_retry(1);
    let mut service = layer.layer(service_fn(|_: u32| async {
        tokio::task::yield_now().await;
        Err::<u32, u32>(1)
    }));
    let made = [service.call(1), service.call(1), service.call(1)];
    assert_eq!(recorded.in_progress(), (1, 3));
    let ended = futures_util::future::join_all(made).await;
    assert_eq!(ended, [Err(1); 3]);
    assert_eq!(recorded.numbers("singleflight_refusals_total"), are([("", 1)]));
    assert_eq!(layer.handle().stats().refused, 1);
    assert_eq!(recorded.calls(), calls([("leader/landed", 2), ("follower/landed", 1)]));
    assert_eq!(recorded.flights(), are([("outcome=landed", 2)]));
    assert_eq!(recorded.in_progress(), (0, 0));
    assert_eq!(
        recorded.histogram("singleflight_flight_waiters"),
        [(String::new(), vec![1.0, 2.0])]
    );
}

#[tokio::test]
async fn a_leader_that_leaves_its_error_untaken_has_left() {
    let mut recorded = record();
    let layer = SingleflightLayer::by_key(|n: &u32| *n).followers_retry(1);
    let mut service = layer.layer(service_fn(|_: u32| async { Err::<u32, u32>(1) }));
    let (leader, follower) = (service.call(1), service.call(1));
    settle().await;
    assert_eq!(recorded.in_progress(), (1, 1));
    drop(leader);
    assert_eq!(recorded.in_progress(), (1, 1));
    drop(follower);
    assert_eq!(recorded.in_progress(), (0, 0));
    assert_eq!(recorded.calls(), calls([("leader/left", 1), ("follower/left", 1)]));
    assert_eq!(recorded.flights(), are([("outcome=landed", 1)]));
}

#[tokio::test]
async fn near_misses_are_counted_by_reason() {
    let mut recorded = record();
    let layer = SingleflightLayer::by_key(|n: &u32| *n).max_waiters(2);
    let mut service = layer.layer(service_fn(|_: u32| pending::<Result<u32, Infallible>>()));
    let made = [service.call(1), service.call(1), service.call(1)];
    layer.handle().forget_all();
    let sealed = service.call(1);
    assert_eq!(
        recorded.numbers("singleflight_near_misses_total"),
        are([("reason=full", 1), ("reason=sealed", 1)])
    );
    drop((made, sealed));
    assert_eq!(recorded.in_progress(), (0, 0));
}
