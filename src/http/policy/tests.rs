use std::time::Duration;

use super::{super::body::SlowReader, HttpPolicy, LateJoin};

#[test]
fn the_defaults_are_those_of_the_contract() {
    let flight = HttpPolicy::default().flight;
    assert_eq!(flight.body_limit, 16 * 1024 * 1024);
    assert_eq!(flight.body_budget, 256 * 1024 * 1024);
    assert_eq!(flight.slow_reader, SlowReader::PauseThenEvict(Duration::from_secs(1)));
    assert_eq!(flight.unshareable_time, Duration::from_secs(30));
    assert_eq!(flight.late_joins, LateJoin::WhenFresh);
    assert!(flight.seal_on_write);
    assert_eq!(flight.cache_status, None);
}

#[test]
fn each_setting_is_kept() {
    let flight = HttpPolicy::default()
        .body_limit(1)
        .body_budget(2)
        .slow_reader(SlowReader::Evict)
        .unshareable_memory(3, Duration::from_secs(4))
        .late_joins(LateJoin::Never)
        .seal_on_write(false)
        .flight;
    assert_eq!((flight.body_limit, flight.body_budget), (1, 2));
    assert_eq!(flight.slow_reader, SlowReader::Evict);
    assert_eq!(flight.unshareable_keys, 3);
    assert_eq!(flight.unshareable_time, Duration::from_secs(4));
    assert_eq!(flight.late_joins, LateJoin::Never);
    assert!(!flight.seal_on_write);
}

#[test]
fn trusting_the_key_leaves_flights_and_bodies_alone() {
    let flight = HttpPolicy::default().body_limit(1).trust_key().flight;
    assert_eq!(flight.body_limit, 1);
    assert!(flight.seal_on_write);
    assert_eq!(flight.late_joins, LateJoin::WhenFresh);
}

fn written(name: &str) -> String {
    HttpPolicy::default().cache_status(name).flight.cache_status.unwrap()
}

#[test]
fn a_cache_status_name_is_a_token_where_it_can_be() {
    assert_eq!(written("edge"), "edge");
    assert_eq!(written("*a:1/b"), "*a:1/b");
}

#[test]
fn any_other_cache_status_name_is_quoted() {
    assert_eq!(written("1st"), r#""1st""#);
    assert_eq!(written("the edge"), r#""the edge""#);
    assert_eq!(written(r#"a"b\c"#), r#""a\"b\\c""#);
}

#[test]
#[should_panic(expected = "printable ASCII")]
fn a_cache_status_name_cannot_smuggle_a_line() {
    let _ = HttpPolicy::default().cache_status("a\r\nx: y");
}

#[test]
#[should_panic(expected = "printable ASCII")]
fn a_cache_status_name_cannot_be_empty() {
    let _ = HttpPolicy::default().cache_status("");
}

#[test]
fn a_new_policy_is_the_default_one() {
    assert_eq!(format!("{:?}", HttpPolicy::new()), format!("{:?}", HttpPolicy::default()));
}
