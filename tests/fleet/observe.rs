//! What metrics and traces say.

use crate::{reported::Reported, support::*};
use metrics_util::{
    MetricKind,
    debugging::{DebugValue, DebuggingRecorder},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};
use tokio::time::sleep;
use tower_singleflight::FleetReason;
use tracing::{
    Dispatch, Event, Level, Subscriber,
    field::{Field, Visit},
    span::{Id, Record},
};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
};

/// The counters and gauges after `run`, by name, role and reason.
fn measured(run: impl Future<Output = ()>) -> BTreeMap<String, f64> {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    metrics::with_local_recorder(&recorder, || paused().block_on(run));
    let mut all = BTreeMap::new();
    for (key, _, _, value) in snapshotter.snapshot().into_vec() {
        let labels: Vec<_> =
            key.key().labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let value = match value {
            DebugValue::Counter(value) => value as f64,
            DebugValue::Gauge(value) => value.into_inner(),
            DebugValue::Histogram(values) => values.len() as f64,
        };
        assert!(key.kind() != MetricKind::Histogram || value > 0.0);
        if key.key().name().starts_with("singleflight_fleet") {
            all.insert(format!("{}{{{}}}", key.key().name(), labels.join(",")), value);
        }
    }
    all
}

/// One replica leads, another follows, and then goes alone.
async fn lead_follow_and_go_alone() {
    let upstream = Upstream::new();
    let replicas = replicas(&upstream, 2);
    let asked = [replicas[0].ask("/x"), replicas[1].ask("/x")];
    for answer in asked {
        answer.await.unwrap();
    }
    replicas[1].engine.partition(true);
    replicas[1].ask("/x").await.unwrap();
    replicas[1].ask("/x").await.unwrap();
    settle().await;
    assert_eq!(replicas[0].stats().published_bytes, replicas[0].engine.payloads()[0].len() as u64);
}

/// One replica loses its lease, and another takes over.
async fn take_over() {
    let upstream = Upstream::answering(ms(6_000), |number| whole(&number.to_string()));
    let replicas = replicas(&upstream, 2);
    let asked = [replicas[0].ask("/x"), replicas[1].ask("/x")];
    settle().await;
    replicas[0].engine.expire_leases();
    for answer in asked {
        answer.await.unwrap();
    }
}

#[test]
fn metrics_tell_who_led_who_followed_and_why_one_went_alone() {
    let all = measured(lead_follow_and_go_alone());
    let of =
        |name: &str| all.get(name).copied().unwrap_or_else(|| panic!("{name} is not in {all:?}"));
    assert_eq!(of("singleflight_fleet_calls_total{name=test,role=leader,reason=}"), 1.0);
    assert_eq!(of("singleflight_fleet_calls_total{name=test,role=follower,reason=}"), 1.0);
    assert_eq!(of("singleflight_fleet_calls_total{name=test,role=alone,reason=down}"), 2.0);
    assert_eq!(of("singleflight_fleet_enter_seconds{name=test}"), 2.0);
    assert_eq!(of("singleflight_fleet_wait_seconds{name=test}"), 1.0);
    assert!(of("singleflight_fleet_published_bytes_total{name=test}") > 0.0);
    assert_eq!(of("singleflight_fleet_up{}"), 0.0);
}

#[test]
fn the_gauge_of_the_engine_is_there_from_the_first_call_on() {
    let all = measured(async {
        let replica = replicas(&Upstream::new(), 1).remove(0);
        replica.ask("/x").await.unwrap();
    });
    assert_eq!(all.get("singleflight_fleet_up{}"), Some(&1.0), "{all:?}");
}

#[test]
fn metrics_tell_of_a_takeover_and_of_a_lost_lease() {
    let all = measured(take_over());
    assert_eq!(all.get("singleflight_fleet_takeovers_total{name=test}"), Some(&1.0), "{all:?}");
    assert_eq!(all.get("singleflight_fleet_leases_lost_total{name=test}"), Some(&1.0), "{all:?}");
}

#[test]
fn every_query_asks_for_metrics_and_labels_that_a_fleet_reports() {
    let all = measured(async {
        lead_follow_and_go_alone().await;
        take_over().await;
    });
    let mut reported = Reported::default();
    for series in all.keys() {
        let (metric, labels) = series.strip_suffix('}').unwrap().split_once('{').unwrap();
        let labels = labels.split(',').filter_map(|label| label.split_once('='));
        reported.series(metric, labels);
    }
    for reason in FleetReason::ALL {
        reported.series("singleflight_fleet_calls_total", [("reason", reason.as_str())]);
    }
    reported.has_all_that_is_asked_for("singleflight_fleet_", None);
}

/// Notes each span `fleet` with its parent and its fields, and each warning.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0 += &format!(" {}={value:?}", field.name());
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Notes {
    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let span = context.span(id).unwrap();
        if span.name() == "fleet" {
            let mut fields =
                Fields(span.parent().map(|parent| parent.name().to_owned()).unwrap_or_default());
            values.record(&mut fields);
            self.0.lock().unwrap().push(fields.0);
        }
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() == Level::WARN {
            let mut fields = Fields("warning:".to_owned());
            event.record(&mut fields);
            self.0.lock().unwrap().push(fields.0);
        }
    }
}

/// The spans and the warnings of a test.
fn noted(test: impl Future<Output = ()>) -> Vec<String> {
    // While there is one subscriber alone, `tracing` asks that of the thread which happens to get
    // to a place first whether anybody wants to hear of it, and a thread of another test has none.
    let _others = [(); 2].map(|()| Dispatch::new(tracing_subscriber::registry()));
    let notes = Notes::default();
    let subscriber = tracing_subscriber::registry().with(notes.clone());
    tracing::subscriber::with_default(subscriber, || paused().block_on(test));
    std::mem::take(&mut *notes.0.lock().unwrap())
}

#[test]
fn a_span_tells_the_role_and_a_warning_that_the_engine_is_gone() {
    let notes = noted(async {
        let upstream = Upstream::new();
        let replicas = replicas(&upstream, 2);
        let asked = [replicas[0].ask("/x"), replicas[1].ask("/x")];
        for answer in asked {
            answer.await.unwrap();
        }
        for down in [true, false] {
            replicas[0].engine.partition(down);
            for _ in 0..3 {
                replicas[0].ask("/x").await.unwrap();
            }
        }
    });
    let count = |wanted: &str| notes.iter().filter(|note| *note == wanted).count();
    assert_eq!(count("flight role=\"leader\""), 1 + 3, "{notes:?}");
    assert_eq!(count("flight role=\"follower\""), 1, "{notes:?}");
    assert_eq!(count("flight role=\"alone\""), 3, "{notes:?}");
    assert_eq!(count("flight reason=\"down\""), 3, "{notes:?}");
    let warnings: Vec<_> = notes.iter().filter(|note| note.starts_with("warning")).collect();
    assert_eq!(warnings.len(), 2, "one when it goes and one when it is back: {warnings:?}");
}

#[test]
fn an_engine_that_is_always_too_slow_is_told_once() {
    let notes = noted(async {
        let upstream = Upstream::new();
        let replica = replicas(&upstream, 1).remove(0);
        // In time for pings, and too late for entries.
        replica.engine.delay(ms(80));
        for at in 0..200 {
            replica.ask(&format!("/{at}"));
            sleep(ms(50)).await;
        }
        replica.engine.delay(ms(0));
        sleep(ms(2_000)).await;
        replica.ask("/back").await.unwrap();
    });
    let warnings: Vec<_> = notes.iter().filter(|note| note.starts_with("warning")).collect();
    assert_eq!(warnings.len(), 2, "one when it goes and one when it is back: {warnings:?}");
}
