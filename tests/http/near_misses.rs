//! Why "led 10, joined 0".

use crate::support::{Bench, ask, by_nothing, flow, get, ok, with_body};
use http::Method;
use tower_singleflight::{HttpPolicy, NearMiss, Stats};

fn counted(stats: &Stats) -> Vec<(NearMiss, u64)> {
    let all = NearMiss::ALL.iter().map(|why| (*why, stats.near_misses_by(*why)));
    all.filter(|(_, count)| *count > 0).collect()
}

#[tokio::test]
async fn a_cookie_for_each_browser_is_a_near_miss_for_each_but_the_first() {
    let mut bench = Bench::new();
    let _calls: Vec<_> =
        (0..10).map(|n| bench.send(get("/a", &[("cookie", &format!("_ga={n}"))]))).collect();
    assert_eq!((bench.stats().led, bench.stats().joined), (10, 0));
    assert_eq!(counted(&bench.stats()), [(NearMiss::Partition, 9)]);
    assert!(bench.stats().to_string().contains("near misses 9 (partition 9)"));
}

#[tokio::test]
async fn a_query_with_a_trace_id_is_a_near_miss_where_the_key_is_the_path() {
    let mut bench =
        Bench::of(&tower_singleflight::SingleflightLayer::new(|req| req.uri().path().to_owned()));
    let _calls: Vec<_> = (0..4).map(|n| bench.get(&format!("/a?trace={n}"))).collect();
    assert_eq!(counted(&bench.stats()), [(NearMiss::Partition, 3)]);
}

#[tokio::test]
async fn another_key_is_no_near_miss() {
    let mut bench = Bench::new();
    let _calls: Vec<_> = (0..20).map(|n| bench.get(&format!("/{n}"))).collect();
    assert_eq!(bench.stats().near_misses(), 0);
}

#[tokio::test]
async fn a_head_and_a_get_are_near_misses_of_each_other() {
    let mut bench = Bench::of(&by_nothing());
    let _calls = [bench.send(ask(Method::HEAD, "/a", &[])), bench.get("/a")];
    assert_eq!(counted(&bench.stats()), [(NearMiss::Partition, 1)]);
}

#[tokio::test]
async fn a_response_that_streams_is_a_near_miss_until_its_body_has_ended() {
    let mut bench = Bench::new();
    let mut leader = bench.get("/a");
    let (flow, body) = flow();
    bench.answer(with_body(200, &[], body)).await;
    let response = leader.response();
    let _second = bench.get("/a");
    assert_eq!(counted(&bench.stats()), [(NearMiss::HeadKnown, 1)]);
    let _other = bench.send(get("/a", &[("accept", "x")]));
    assert_eq!(counted(&bench.stats()), [(NearMiss::Partition, 1), (NearMiss::HeadKnown, 1)]);
    drop((response, flow, _second));
    let _third = bench.get("/a");
    assert_eq!(bench.stats().near_misses_by(NearMiss::HeadKnown), 1);
}

#[tokio::test]
async fn a_response_that_is_complete_is_no_near_miss() {
    let mut bench = Bench::new();
    let mut leader = bench.get("/a");
    bench.answer(ok("told")).await;
    leader.text();
    let _next = bench.get("/a");
    assert_eq!(bench.stats().near_misses(), 0);
}

#[tokio::test]
async fn a_sealed_flight_is_a_near_miss() {
    let mut bench = Bench::new();
    let _read = bench.get("/a");
    let _write = bench.send(ask(Method::PUT, "/a", &[]));
    let _after = bench.get("/a");
    assert_eq!(counted(&bench.stats()), [(NearMiss::Sealed, 1)]);
}

#[tokio::test]
async fn another_policy_of_a_clone_is_a_near_miss() {
    let layer = by_nothing();
    let mut one = Bench::of(&layer);
    let mut other = Bench::of(&layer.clone().policy(HttpPolicy::default()));
    let _calls = [one.get("/a"), other.get("/a")];
    assert_eq!(counted(&one.stats()), [(NearMiss::Partition, 1)]);
}
