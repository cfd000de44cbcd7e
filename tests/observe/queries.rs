//! The dashboard, the alerts and the guides ask for what the crate reports.

use crate::{reported::Reported, support::*};
use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response};
use http_body_util::Empty;
use std::{convert::Infallible, future::pending, time::Duration};
use tokio::time::sleep;
use tokio_test::task::spawn;
use tower::{Layer, Service, service_fn};
use tower_singleflight::{Group, NearMiss, PassReason, SingleflightLayer, VetoReason};

/// Every metric of a layer, with every way in which calls and flights end.
async fn provoke_all() {
    let layer = SingleflightLayer::new(|_| 1).wait_at_most(Duration::from_secs(2)).name("all");
    let mut service = layer.layer(service_fn(|request: Request<Empty<Bytes>>| async move {
        sleep(Duration::from_secs(if request.uri().path() == "/slow" { 3 } else { 1 })).await;
        let (status, cookie) = match request.uri().path() {
            "/refused" => (403, "x-none"),
            "/vetoed" => (200, "set-cookie"),
            _ => (200, "x-none"),
        };
        let response = Response::builder().status(status).header(cookie, "id=1");
        Ok::<_, Infallible>(response.body(Empty::<Bytes>::new()).unwrap())
    }));
    let mut calls = Vec::new();
    for path in ["/shared", "/refused", "/vetoed", "/slow"] {
        for _ in 0..3 {
            calls.push(service.call(Request::get(path).body(Empty::new()).unwrap()));
        }
    }
    calls.push(service.call(Request::post("/").body(Empty::new()).unwrap()));
    join_all(calls).await;
}

fn provoke_ends() {
    let group = Group::<u32, ()>::named("all");
    drop(lead(&group, 1));
    let mut panicking = spawn(group.run(2, || async { panic!("the work") }));
    assert!(panics(|| panicking.poll()));
    let runtime = doomed();
    let mut lost = {
        let _inside = runtime.enter();
        spawn(group.spawn(3, pending::<()>))
    };
    drop(runtime);
    assert!(panics(|| lost.poll()));
}

#[test]
fn every_query_asks_for_metrics_and_labels_that_a_layer_reports() {
    let mut recorded = record();
    crate::shared::paused().block_on(provoke_all());
    provoke_ends();
    let mut reported = Reported::default();
    for series in recorded.names() {
        let (metric, labels) = series.strip_suffix('}').unwrap().split_once('{').unwrap();
        let labels = labels.split(' ').filter_map(|label| label.split_once('='));
        reported.series(metric, labels);
    }
    let all_reasons: [(_, Vec<_>); 3] = [
        ("singleflight_passes_total", PassReason::ALL.iter().map(|why| why.as_str()).collect()),
        ("singleflight_vetoes_total", VetoReason::ALL.iter().map(|why| why.as_str()).collect()),
        ("singleflight_near_misses_total", NearMiss::ALL.iter().map(|why| why.as_str()).collect()),
    ];
    for (metric, reasons) in all_reasons {
        assert!(!recorded.numbers(metric).is_empty(), "{metric}");
        reasons.into_iter().for_each(|reason| reported.series(metric, [("reason", reason)]));
    }
    reported.has_all_that_is_asked_for("singleflight_", Some("singleflight_fleet_"));
}

/// As rustdoc makes it of a heading.
fn anchor(heading: &str) -> String {
    let letters = heading.to_lowercase();
    letters.replace(' ', "-").chars().filter(|c| c.is_alphanumeric() || *c == '-').collect()
}

#[test]
fn every_alert_links_to_a_section_of_the_runbook() {
    const LINK: &str = "/latest/tower_singleflight/guide/runbook/index.html#";
    let runbook = include_str!("../../src/guide/runbook.md");
    let headings: Vec<_> =
        runbook.lines().filter_map(|line| line.strip_prefix("# ")).map(anchor).collect();
    let alerts = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/grafana/alerts.yml");
    let alerts = std::fs::read_to_string(alerts).unwrap();
    let links: Vec<_> =
        alerts.lines().filter_map(|line| line.trim_end_matches('"').split_once(LINK)).collect();
    assert_eq!(links.len(), alerts.matches("- alert: ").count());
    for (_, link) in links {
        assert!(headings.iter().any(|heading| heading == link), "no section {link}: {headings:?}");
    }
}
