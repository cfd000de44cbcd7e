//! The name, as the label of metrics and the field of spans and events.

use crate::support::*;
use std::convert::Infallible;
use tower::{Layer, Service, service_fn};
use tower_singleflight::{Group, SingleflightLayer};

async fn one(_: u32) -> Result<u32, Infallible> {
    Ok(1)
}

#[tokio::test]
async fn every_series_of_a_named_layer_has_its_name() {
    let mut recorded = record();
    let layer = SingleflightLayer::by_key(|n: &u32| *n).filter(|n| *n > 0).name("users");
    let mut service = layer.layer(service_fn(one));
    service.call(0).await.unwrap();
    service.call(1).await.unwrap();
    for metric in [
        "singleflight_calls_total",
        "singleflight_passes_total",
        "singleflight_flights_total",
        "singleflight_flights_in_progress",
        "singleflight_waiters",
        "singleflight_flight_duration_seconds",
        "singleflight_flight_waiters",
    ] {
        let series = recorded.all(metric);
        assert!(!series.is_empty(), "{metric}");
        assert!(series.iter().all(|(labels, _)| labels.starts_with("name=users")), "{series:?}");
    }
}

#[tokio::test]
async fn the_spans_and_events_of_a_named_layer_have_its_name() {
    let (log, _tracing) = trace();
    let layer = SingleflightLayer::by_key(|n: &u32| *n).filter(|n| *n > 0).name("users");
    let mut service = layer.layer(service_fn(one));
    service.call(0).await.unwrap();
    service.call(1).await.unwrap();
    let [flight] = log.flights()[..] else { panic!("{:?}", log.all()) };
    assert!(log.fields_of(flight).contains(" name=\"users\""), "{}", log.fields_of(flight));
    let [Told::Event { fields, .. }] = &log.events()[..] else { panic!("{:?}", log.all()) };
    assert!(fields.contains(" name=\"users\""), "{fields}");
}

#[tokio::test]
async fn a_group_can_be_named() {
    let mut recorded = record();
    let (log, _tracing) = trace();
    Group::named("users").run(1, || async {}).await;
    assert_eq!(recorded.flights(), are([("name=users outcome=landed", 1)]));
    assert!(log.fields_of(log.flights()[0]).contains(" name=\"users\""));
}

#[tokio::test]
async fn without_a_name_there_is_no_such_label_or_field() {
    let mut recorded = record();
    let (log, _tracing) = trace();
    Group::new().run(1, || async {}).await;
    SingleflightLayer::by_key(|n: &u32| *n).layer(service_fn(one)).call(1).await.unwrap();
    assert_eq!(recorded.flights(), are([("outcome=landed", 2)]));
    for flight in log.flights() {
        assert!(!log.fields_of(flight).contains("name"), "{}", log.fields_of(flight));
    }
}

#[tokio::test]
async fn the_last_name_that_a_layer_was_given_counts() {
    let mut recorded = record();
    let layer = SingleflightLayer::by_key(|n: &u32| *n).name("first").name("last");
    layer.layer(service_fn(one)).call(1).await.unwrap();
    assert_eq!(recorded.flights(), are([("name=last outcome=landed", 1)]));
}

#[tokio::test]
async fn a_layer_and_its_clones_have_the_name_of_the_first_that_made_a_service() {
    let mut recorded = record();
    let layer = SingleflightLayer::by_key(|n: &u32| *n).name("users");
    let mut service = layer.layer(service_fn(one));
    let mut renamed = layer.clone().name("others").layer(service_fn(one));
    service.call(1).await.unwrap();
    renamed.call(1).await.unwrap();
    assert_eq!(recorded.flights(), are([("name=users outcome=landed", 2)]));

    let layer = SingleflightLayer::by_key(|n: &u32| *n);
    let mut service = layer.layer(service_fn(one));
    let mut renamed = layer.clone().name("others").layer(service_fn(one));
    service.call(1).await.unwrap();
    renamed.call(1).await.unwrap();
    assert_eq!(recorded.flights(), are([("name=users outcome=landed", 2), ("outcome=landed", 2)]));
}
