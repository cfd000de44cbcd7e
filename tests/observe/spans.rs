//! A span a flight, in its leader's, and the links of its followers to it.

use crate::support::*;
use std::future::pending;
use tokio_test::{assert_pending, assert_ready, task::spawn};
use tower::{Layer, Service, service_fn};
use tower_singleflight::{Group, SingleflightLayer};
use tracing::{
    Instrument, Span, info, info_span,
    subscriber::{NoSubscriber, with_default},
};
use tracing_subscriber::{filter::LevelFilter, layer::SubscriberExt};

#[tokio::test]
async fn a_flight_has_a_span_in_its_leaders() {
    let (log, _tracing) = trace();
    let group = Group::new();
    let (end, mut leader) = info_span!("leader").in_scope(|| lead(&group, 1));
    info_span!("elsewhere").in_scope(|| assert_pending!(leader.poll()));
    let [flight] = log.flights()[..] else { panic!("{:?}", log.all()) };
    assert_eq!(log.parent_of(flight), Some(log.opened("leader")[0]));
    assert_eq!(log.fields_of(flight), "");
    end.send(()).unwrap();
    assert_ready!(leader.poll());
    assert_eq!(log.fields_of(flight), " outcome=\"landed\" waiters=1");
    assert!(log.is_closed(flight), "{:?}", log.all());
}

#[tokio::test]
async fn the_work_runs_in_the_span_of_its_flight() {
    let (log, _tracing) = trace();
    let group = Group::new();
    let leader = info_span!("leader").in_scope(|| {
        group.run(1, || {
            info!("called");
            async { info!("polled") }
        })
    });
    leader.await;
    let flight = log.flights()[0];
    let inside: Vec<_> = log
        .events()
        .iter()
        .map(|told| match told {
            Told::Event { inside, .. } => *inside,
            told => panic!("{told:?}"),
        })
        .collect();
    assert_eq!(inside, [Some(flight), Some(flight)]);
}

#[tokio::test]
async fn a_flight_without_a_span_around_it_is_a_root() {
    let (log, _tracing) = trace();
    Group::new().run(1, || async {}).await;
    assert_eq!(log.parent_of(log.flights()[0]), None);
}

#[tokio::test]
async fn a_flight_inside_another_has_its_span_in_the_others() {
    let (log, _tracing) = trace();
    let group = Group::new();
    let same = group.clone();
    group.run(1, || async move { same.run(2, || async {}).await.value }).await;
    let [outer, inner] = log.flights()[..] else { panic!("{:?}", log.all()) };
    assert_eq!(log.parent_of(inner), Some(outer));
}

#[tokio::test]
async fn followers_follow_from_the_span_of_their_flight_whenever_they_join() {
    let (log, _tracing) = trace();
    let group = Group::new();
    let join = |name: &'static str| {
        let span = info_span!("follower", name);
        (span.in_scope(|| follow(&group, 1)), span)
    };
    let (end, mut leader) = info_span!("leader").in_scope(|| lead(&group, 1));
    let early = join("before its first poll");
    assert!(log.flights().is_empty());
    settle().await;
    let late = join("after it");
    let flight = log.flights()[0];
    assert_eq!(log.followers_of(flight), log.opened("follower"));
    assert_eq!(log.followers_of(flight).len(), 2);
    end.send(()).unwrap();
    settle().await;
    assert!(log.is_closed(flight), "though nobody has taken the result");
    assert_eq!(log.fields_of(flight), " outcome=\"landed\" waiters=3");
    for mut waiter in [early.0, late.0] {
        assert_ready!(waiter.poll());
    }
    assert_ready!(leader.poll());
}

#[tokio::test]
async fn a_follower_in_no_span_has_no_link() {
    let (log, _tracing) = trace();
    let group = Group::<u32, ()>::new();
    let _leader = info_span!("leader").in_scope(|| lead(&group, 1));
    let _early = follow(&group, 1);
    settle().await;
    let _late = follow(&group, 1);
    assert!(log.followers_of(log.flights()[0]).is_empty());
}

#[tokio::test]
async fn a_flight_that_everybody_left_is_cancelled() {
    let (log, _tracing) = trace();
    let group = Group::<u32, ()>::new();
    let mut leader = spawn(group.run(1, pending));
    assert_pending!(leader.poll());
    drop(leader);
    let flight = log.flights()[0];
    assert_eq!(log.fields_of(flight), " outcome=\"cancelled\"");
    assert!(log.is_closed(flight));
}

#[tokio::test]
async fn a_flight_that_never_took_off_has_no_span_and_keeps_none_of_its_followers_open() {
    let (log, _tracing) = trace();
    let group = Group::<u32, ()>::new();
    let leader = group.run(1, pending);
    let follower = info_span!("follower").in_scope(|| group.run(1, pending));
    drop((leader, follower));
    assert!(log.flights().is_empty());
    assert!(log.is_closed(log.opened("follower")[0]), "{:?}", log.all());
}

#[tokio::test]
async fn a_flight_that_took_off_unseen_keeps_none_of_its_followers_open() {
    let (log, _tracing) = trace();
    let group = Group::<u32, ()>::new();
    let mut leader = spawn(group.run(1, pending));
    with_default(NoSubscriber::default(), || assert_pending!(leader.poll()));
    let follower = info_span!("follower").in_scope(|| follow(&group, 1));
    drop(follower);
    assert!(log.is_closed(log.opened("follower")[0]), "{:?}", log.all());
    assert!(log.flights().is_empty());
}

#[test]
fn a_flight_whose_work_panics_has_panicked() {
    let (log, _tracing) = trace();
    let group = Group::<u32, ()>::new();
    let mut leader = spawn(group.run(1, || async { panic!("the work") }));
    assert!(panics(|| leader.poll()));
    let flight = log.flights()[0];
    assert_eq!(log.fields_of(flight), " outcome=\"panicked\"");
    assert!(log.is_closed(flight));
}

#[test]
fn a_lost_flight_that_is_led_anew_has_another_span_in_that_of_its_new_leader() {
    let (log, _tracing) = trace();
    let group = Group::new();
    let runtime = doomed();
    let (mut leader, mut heir) = runtime.block_on(async {
        let mut leader = info_span!("first").in_scope(|| spawn(group.run(1, pending::<()>)));
        assert_pending!(leader.poll());
        let heir = info_span!("second").in_scope(|| spawn(group.run(1, || async {})));
        settle().await;
        (leader, heir)
    });
    drop(runtime);
    let [lost] = log.flights()[..] else { panic!("{:?}", log.all()) };
    assert_eq!(log.fields_of(lost), " outcome=\"lost\"");
    assert!(log.is_closed(lost));
    assert_ready!(heir.poll());
    assert_ready!(leader.poll());
    let [_, anew] = log.flights()[..] else { panic!("{:?}", log.all()) };
    assert_eq!(log.parent_of(lost), Some(log.opened("first")[0]));
    assert_eq!(log.parent_of(anew), Some(log.opened("second")[0]));
    assert_eq!(log.fields_of(anew), " outcome=\"landed\" waiters=2");
    assert!(log.followers_of(anew).is_empty());
}

#[test]
fn work_that_was_lent_to_a_lost_flight_has_a_span_too() {
    let (log, _tracing) = trace();
    let group = Group::new();
    let (lost, spare) = (doomed(), doomed());
    let leader = {
        let _inside = lost.enter();
        group.run(1, pending::<()>)
    };
    let ticket = {
        let _inside = spare.enter();
        info_span!("lender").in_scope(|| group.spawn(1, || async {}))
    };
    drop(lost);
    spare.block_on(async { tokio::join!(ticket, leader) });
    let anew = *log.flights().last().unwrap();
    assert_eq!(log.parent_of(anew), Some(log.opened("lender")[0]));
    assert_eq!(log.fields_of(anew), " outcome=\"landed\" waiters=2");
}

#[tokio::test]
async fn a_subscriber_that_wants_no_spans_of_flights_has_the_work_in_the_leaders() {
    let log = Log::default();
    let subscriber = tracing_subscriber::registry().with(LevelFilter::INFO).with(log.clone());
    let _tracing = listen(subscriber);
    let group = Group::new();
    let here = || Span::current().metadata().map(|metadata| metadata.name());
    let leader = info_span!("leader").in_scope(|| group.run(1, move || async move { here() }));
    let follower = info_span!("follower").in_scope(|| group.run(1, || async { None }));
    let (leader, follower) = tokio::join!(leader, follower);
    assert_eq!((leader.value, follower.value), (Some("leader"), Some("leader")));
    let [Told::Opened { name: "leader", .. }, Told::Opened { name: "follower", .. }, ..] =
        &log.all()[..]
    else {
        panic!("{:?}", log.all())
    };
    assert!(!log.all().iter().any(|told| matches!(told, Told::Follows { .. })));
    assert!(log.flights().is_empty());
}

#[test]
fn the_subscriber_that_knows_the_leader_gets_the_span_whoever_polls() {
    let (log, tracing) = trace();
    let group = Group::new();
    let leader = info_span!("leader").in_scope(|| group.run(1, || async {}));
    drop(tracing);
    let (other, _tracing) = trace();
    assert_ready!(spawn(leader).poll());
    assert_eq!(log.parent_of(log.flights()[0]), Some(log.opened("leader")[0]));
    assert!(other.all().is_empty());
}

#[tokio::test]
async fn a_flight_that_goes_on_has_a_span_for_each_call_in_the_span_of_who_made_it() {
    let (log, _tracing) = trace();
    let layer = SingleflightLayer::by_key(|n: &u32| *n).followers_retry(1);
    let mut service = layer.layer(service_fn(|_: u32| async {
        tokio::task::yield_now().await;
        Err::<u32, u32>(1)
    }));
    let mut call = |span: Span| {
        let call = span.in_scope(|| service.call(1));
        call.instrument(span)
    };
    let (leader, follower) = (call(info_span!("leader")), call(info_span!("follower")));
    assert_eq!(tokio::join!(leader, follower), (Err(1), Err(1)));
    let [first, second] = log.flights()[..] else { panic!("{:?}", log.all()) };
    assert_eq!(log.parent_of(first), Some(log.opened("leader")[0]));
    assert_eq!(log.parent_of(second), Some(log.opened("follower")[0]));
    assert_eq!(log.followers_of(first), log.opened("follower"));
    for flight in [first, second] {
        assert_eq!(log.fields_of(flight), " outcome=\"landed\" waiters=1");
        assert!(log.is_closed(flight));
    }
}
