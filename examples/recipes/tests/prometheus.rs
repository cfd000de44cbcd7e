//! A real exporter, scraped over a real socket, in a process of its own: the recorder is the global
//! one.
#![allow(missing_docs, reason = "a test says what it tests in its name")]

use axum::{Router, routing::get};
use futures_util::future::join_all;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tower_singleflight::SingleflightLayer;

/// Starts the exporter on a free port.
fn export() -> SocketAddr {
    loop {
        let free =
            std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let durations = Matcher::Full("singleflight_flight_duration_seconds".to_owned());
        let builder =
            PrometheusBuilder::new().set_buckets_for_metric(durations, &[0.001, 60.0]).unwrap();
        // Another process may have taken the port meanwhile.
        if let Ok((recorder, exporter)) = builder.with_http_listener(free).build() {
            metrics::set_global_recorder(recorder).unwrap();
            tokio::spawn(exporter);
            return free;
        }
    }
}

/// The body of the answer to a GET.
async fn fetch(from: SocketAddr, path: &str, header: &str) -> String {
    let mut stream = TcpStream::connect(from).await.unwrap();
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{header}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    body.to_owned()
}

/// The samples of the exposition format, by series, and the types by name.
fn parse(text: &str) -> (BTreeMap<&str, f64>, BTreeMap<&str, &str>) {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let samples = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let samples = samples.map(|line| {
        let (series, value) = line.rsplit_once(' ').unwrap();
        (series, value.parse().unwrap())
    });
    (samples.collect(), types.collect())
}

const CALLERS: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scrape_has_what_happened() {
    let exporter = export();
    let layer = SingleflightLayer::new(|req| req.uri().to_string()).name("pages");
    let handle = layer.handle();
    let all_came = Arc::new(AtomicBool::new(false));
    let page = move || {
        let (handle, all_came) = (handle.clone(), all_came.clone());
        async move {
            let deadline = Instant::now() + Duration::from_secs(30);
            // The flight of one language may land before that of the other looks.
            while !all_came.load(SeqCst) {
                all_came.fetch_or(handle.waiting() > CALLERS, SeqCst);
                assert!(Instant::now() < deadline, "the others never came");
                tokio::task::yield_now().await;
            }
            "page"
        }
    };
    let app = Router::new()
        .route("/page", get(page))
        .route("/other", get(|| async { "other" }))
        .layer(layer);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let gateway = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, app).await });

    // Whoever of the two languages comes last misses the flight of the other.
    let pages = (0..=CALLERS)
        .map(|n| fetch(gateway, "/page", if n == 0 { "accept-language: de\r\n" } else { "" }));
    let pages = join_all(pages).await;
    assert!(pages.iter().all(|page| page == "page"));
    assert_eq!(fetch(gateway, "/other", "range: bytes=0-\r\n").await, "other");

    let scraped = fetch(exporter, "/metrics", "").await;
    let (samples, types) = parse(&scraped);
    let followers = CALLERS as f64 - 1.0;
    for (series, value) in [
        (r#"singleflight_calls_total{name="pages",role="leader",outcome="landed"}"#, 2.0),
        (r#"singleflight_calls_total{name="pages",role="follower",outcome="landed"}"#, followers),
        (r#"singleflight_calls_total{name="pages",role="none",outcome="passed"}"#, 1.0),
        (r#"singleflight_passes_total{name="pages",reason="header"}"#, 1.0),
        (r#"singleflight_near_misses_total{name="pages",reason="partition"}"#, 1.0),
        (r#"singleflight_flights_total{name="pages",outcome="landed"}"#, 2.0),
        (r#"singleflight_flights_in_progress{name="pages"}"#, 0.0),
        (r#"singleflight_waiters{name="pages"}"#, 0.0),
        (
            r#"singleflight_flight_duration_seconds_bucket{name="pages",outcome="landed",le="60"}"#,
            2.0,
        ),
        (
            r#"singleflight_flight_duration_seconds_bucket{name="pages",outcome="landed",le="+Inf"}"#,
            2.0,
        ),
        (r#"singleflight_flight_duration_seconds_count{name="pages",outcome="landed"}"#, 2.0),
        (r#"singleflight_flight_waiters_sum{name="pages"}"#, CALLERS as f64 + 1.0),
        (r#"singleflight_flight_waiters_count{name="pages"}"#, 2.0),
    ] {
        assert_eq!(samples.get(series), Some(&value), "{series}\n{scraped}");
    }
    let types: Vec<_> =
        types.into_iter().filter(|(name, _)| name.starts_with("singleflight_")).collect();
    assert_eq!(
        types,
        [
            ("singleflight_calls_total", "counter"),
            ("singleflight_flight_duration_seconds", "histogram"),
            ("singleflight_flight_waiters", "summary"),
            ("singleflight_flights_in_progress", "gauge"),
            ("singleflight_flights_total", "counter"),
            ("singleflight_near_misses_total", "counter"),
            ("singleflight_passes_total", "counter"),
            ("singleflight_waiters", "gauge"),
        ]
    );
    for (name, _) in types {
        assert!(scraped.contains(&format!("# HELP {name} ")), "{name}\n{scraped}");
    }
}
