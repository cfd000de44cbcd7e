//! Calls that led although a flight for their key was in progress.

use crate::support::{Upstream, by_key, call, settle};
use std::time::Duration;
use tower::{Layer, Service};
use tower_singleflight::{Group, NearMiss, Stats};

fn counted(stats: &Stats) -> Vec<(NearMiss, u64)> {
    let all = NearMiss::ALL.iter().map(|why| (*why, stats.near_misses_by(*why)));
    all.filter(|(_, count)| *count > 0).collect()
}

#[tokio::test]
async fn a_lone_call_misses_nothing() {
    let layer = by_key();
    let mut service = layer.layer(Upstream::<&str>::new());
    drop(service.call((1, "one")));
    let _leader = service.call((1, "two"));
    let _follower = service.call((1, "three"));
    let _other = service.call((2, "other"));
    assert_eq!(layer.handle().stats().near_misses(), 0);
}

#[tokio::test]
async fn a_full_flight_is_a_near_miss() {
    let layer = by_key().max_waiters(2);
    let mut service = layer.layer(Upstream::<&str>::new());
    let _calls = [(); 5].map(|()| service.call((1, "one")));
    assert_eq!(counted(&layer.handle().stats()), [(NearMiss::Full, 2)]);
}

#[tokio::test(start_paused = true)]
async fn a_flight_that_is_too_old_is_a_near_miss() {
    let layer = by_key().join_within(Duration::from_secs(1));
    let mut service = layer.layer(Upstream::<&str>::new());
    let _old = service.call((1, "old"));
    tokio::time::advance(Duration::from_secs(1)).await;
    let _young = service.call((1, "young"));
    assert_eq!(counted(&layer.handle().stats()), [(NearMiss::TooOld, 1)]);
}

#[tokio::test]
async fn a_forgotten_flight_is_a_near_miss_until_it_is_over() {
    let upstream = Upstream::<&str>::new();
    let layer = by_key();
    let mut service = layer.layer(upstream.clone());
    let old = call(&mut service, (1, "old"));
    layer.handle().forget(&1);
    drop(service.call((1, "young")));
    assert_eq!(counted(&layer.handle().stats()), [(NearMiss::Sealed, 1)]);
    drop(old);
    drop(service.call((1, "last")));
    assert_eq!(counted(&layer.handle().stats()), [(NearMiss::Sealed, 1)]);
}

#[tokio::test(start_paused = true)]
async fn who_leads_because_its_patience_ended_has_missed_nothing() {
    let layer = by_key().wait_at_most(Duration::from_secs(1));
    let mut service = layer.layer(Upstream::<&str>::new());
    let _leader = service.call((1, "leader"));
    let mut follower = call(&mut service, (1, "follower"));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(follower.poll().is_pending());
    settle().await;
    let stats = layer.handle().stats();
    assert_eq!((stats.timed_out, stats.near_misses()), (1, 0));
}

#[tokio::test]
async fn a_group_counts_near_misses_too() {
    let group = Group::<u32, u32>::new();
    let _old = group.run(1, || async { 1 });
    group.forget(&1);
    let _young = group.run(1, || async { 2 });
    assert_eq!(counted(&group.stats()), [(NearMiss::Sealed, 1)]);
    assert_eq!((group.stats().led, group.stats().in_flight), (2, 2));
}
