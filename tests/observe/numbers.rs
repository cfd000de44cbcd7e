//! What is counted, measured and gauged.

use crate::support::*;
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
    assert_eq!(recorded.histogram("singleflight_flight_duration_seconds"), [("outcome=landed".to_owned(), vec![2.0])]);
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
    assert_eq!(recorded.histogram("singleflight_flight_duration_seconds"), [("outcome=landed".to_owned(), vec![0.25])]);
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
    assert_eq!(recorded.histogram("singleflight_flight_waiters"), []);
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
async fn a_follower_that_loses_its_patience_has_waited_and_passes() {
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
    assert_eq!(recorded.passes(), are([("reason=patience", 1)]));
    assert_eq!(recorded.calls(), calls([("leader/landed", 1), ("follower/passed", 1)]));
    assert_eq!(recorded.histogram("singleflight_flight_waiters"), [(String::new(), vec![1.0])]);
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

#[tokio::test]
async fn every_metric_is_described_with_its_unit() {
    use metrics::Unit::{Count, Seconds};
    use metrics_util::debugging::DebuggingRecorder;
    let recorder = DebuggingRecorder::new();
    let _here = metrics::set_default_local_recorder(&recorder);
    let layer = SingleflightLayer::by_key(|n: &u32| *n).filter(|n| *n > 0);
    let mut service = layer.layer(service_fn(|n: u32| async move { Ok::<_, Infallible>(n) }));
    service.call(0).await.unwrap();
    service.call(1).await.unwrap();
    let mut described: Vec<_> = recorder.snapshotter().snapshot().into_vec().into_iter().collect::<Vec<_>>();
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
            ("singleflight_passes_total", Some(Count)),
            ("singleflight_waiters", Some(Count)),
        ]
    );
    assert!(described.iter().all(|(_, _, text, _)| text.as_ref().is_some_and(|text| text.ends_with('.'))));
}
