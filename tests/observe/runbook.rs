//! Apps that are wrong as the runbook says, and requests that come at once. Each test is named
//! after a row of the runbook, and the counters must be those that the row's section shows.

use crate::support::*;
use axum::{Router, body::Body, extract::Request, routing::get};
use futures_util::{
    FutureExt, StreamExt,
    future::{BoxFuture, join_all},
    stream,
};
use http::{Response, StatusCode};
use std::{convert::Infallible, future::pending, time::Duration};
use tokio::{
    task::yield_now,
    time::{advance, sleep},
};
use tokio_test::task::{Spawn, spawn};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_singleflight::{HttpPolicy, SingleflightLayer, Stats, mode::Http};

const RUNBOOK: &str = include_str!("../../src/guide/runbook.md");

/// A section of the runbook.
struct Section(&'static str);

#[track_caller]
fn section(heading: &str) -> Section {
    let after = RUNBOOK.split_once(&format!("\n# {heading}\n")).expect("there is such a section").1;
    Section(after.split("\n# ").next().unwrap())
}

impl Section {
    /// The line of the counters is in the section, as they are.
    #[track_caller]
    fn shows(&self, stats: Stats) {
        let line = stats.to_string();
        assert!(self.0.lines().any(|shown| shown.trim() == line), "it does not show: {line}");
    }

    /// The section names a metric, a reason or the like.
    #[track_caller]
    fn names(&self, what: &str) {
        assert!(self.0.contains(&format!("`{what}`")), "it does not name {what}");
    }
}

/// The key of most apps.
fn by_path() -> SingleflightLayer<Http<String>> {
    SingleflightLayer::new(|req| req.uri().path().to_owned())
}

/// It is not ready at once, so that requests which come at once meet.
async fn page() -> &'static str {
    yield_now().await;
    "page"
}

fn ask(uri: &str) -> Request {
    Request::get(uri).body(Body::empty()).unwrap()
}

fn ask_with(header: &'static str, value: &str) -> Request {
    Request::get("/page").header(header, value).body(Body::empty()).unwrap()
}

type Call = Spawn<BoxFuture<'static, Response<Body>>>;

/// Sends requests that come at once.
fn send(app: &Router, requests: impl IntoIterator<Item = Request>) -> Vec<Call> {
    let mut calls: Vec<_> = requests
        .into_iter()
        .map(|request| spawn(app.clone().oneshot(request).map(Result::unwrap).boxed()))
        .collect();
    for call in &mut calls {
        assert!(call.poll().is_pending(), "the next one comes before it is answered");
    }
    calls
}

async fn all_are(status: StatusCode, calls: Vec<Call>) {
    for response in join_all(calls.into_iter().map(Spawn::into_inner)).await {
        assert_eq!(response.status(), status);
    }
}

#[tokio::test]
async fn all_zeros_because_the_layer_is_added_before_the_route() {
    let layer = by_path();
    let handle = layer.handle();
    let app = Router::new().layer(layer).route("/page", get(page));
    all_are(StatusCode::OK, send(&app, [ask("/page"), ask("/page"), ask("/page")])).await;
    section("All zeros").shows(handle.stats());
}

#[tokio::test]
async fn all_zeros_because_the_handle_is_that_of_another_layer_value() {
    let mut recorded = record();
    let layer = || by_path().name("pages");
    let handle = layer().handle();
    let app = Router::new().route("/page", get(page)).layer(layer());
    all_are(StatusCode::OK, send(&app, [ask("/page"), ask("/page"), ask("/page")])).await;
    section("All zeros").shows(handle.stats());
    // The metrics know better.
    section("All zeros").names("singleflight_calls_total");
    assert_eq!(
        recorded.calls(),
        are([
            ("name=pages role=follower outcome=landed", 2),
            ("name=pages role=leader outcome=landed", 1)
        ])
    );
}

#[tokio::test]
async fn led_only_because_the_keys_differ() {
    let mut recorded = record();
    let layer = SingleflightLayer::new(|req| req.uri().to_string());
    let handle = layer.handle();
    let app = Router::new().route("/page", get(page)).layer(layer);
    let calls = send(&app, [ask("/page?_=1"), ask("/page?_=2"), ask("/page?_=3")]);
    section("Led only").names("singleflight_flights_in_progress");
    assert_eq!(recorded.in_progress(), (3, 3));
    all_are(StatusCode::OK, calls).await;
    section("Led only").shows(handle.stats());
}

#[tokio::test]
async fn led_only_because_the_requests_do_not_come_at_once() {
    let mut recorded = record();
    let layer = by_path();
    let handle = layer.handle();
    let app = Router::new().route("/page", get(page)).layer(layer);
    for _ in 0..3 {
        let calls = send(&app, [ask("/page")]);
        section("Led only").names("singleflight_waiters");
        assert_eq!(recorded.in_progress(), (1, 1));
        all_are(StatusCode::OK, calls).await;
    }
    section("Led only").shows(handle.stats());
}

#[tokio::test]
async fn led_only_because_each_connection_has_a_layer_of_its_own() {
    let mut recorded = record();
    let connection = || {
        let layer = by_path().name("pages");
        let handle = layer.handle();
        (Router::new().route("/page", get(page)).layer(layer), handle)
    };
    let connections = [connection(), connection(), connection()];
    let calls = connections.iter().flat_map(|(app, _)| send(app, [ask("/page")])).collect();
    all_are(StatusCode::OK, calls).await;
    for (_, handle) in &connections {
        section("Led only").shows(handle.stats());
    }
    assert_eq!(recorded.calls(), are([("name=pages role=leader outcome=landed", 3)]));
}

#[tokio::test]
async fn led_only_with_near_misses_because_each_browser_has_a_cookie() {
    let (log, _tracing) = trace();
    let mut recorded = record();
    let layer = by_path();
    let handle = layer.handle();
    let app = Router::new().route("/page", get(page)).layer(layer);
    let calls = send(&app, ["_ga=1", "_ga=2", "_ga=3"].map(|cookie| ask_with("cookie", cookie)));
    all_are(StatusCode::OK, calls).await;
    let section = section("Led only");
    section.shows(handle.stats());
    section.names("singleflight_near_misses_total{reason=\"partition\"}");
    assert_eq!(recorded.numbers("singleflight_near_misses_total"), are([("reason=partition", 2)]));
    section.names("part");
    for told in log.events() {
        let Told::Event { fields, .. } = told else { unreachable!() };
        assert_eq!(fields, " message=near miss reason=\"partition\" part=\"cookie\"");
    }
    assert_eq!(log.events().len(), 2);
}

#[tokio::test]
async fn led_only_with_near_misses_because_the_response_streams() {
    let mut recorded = record();
    let layer = by_path();
    let handle = layer.handle();
    let endless = || async {
        yield_now().await;
        Body::from_stream(stream::pending::<Result<&'static str, Infallible>>())
    };
    let app = Router::new().route("/page", get(endless)).layer(layer);
    let mut open = Vec::new();
    for _ in 0..3 {
        open.extend(join_all(send(&app, [ask("/page")]).into_iter().map(Spawn::into_inner)).await);
    }
    let section = section("Led only");
    section.shows(handle.stats());
    section.names("singleflight_near_misses_total{reason=\"head-known\"}");
    assert_eq!(recorded.numbers("singleflight_near_misses_total"), are([("reason=head-known", 2)]));
}

#[tokio::test]
async fn passed_only_because_the_requests_ask_for_it() {
    let mut recorded = record();
    let layer = by_path();
    let handle = layer.handle();
    let app = Router::new().route("/page", get(page).post(page)).layer(layer);
    let requests = [
        Request::post("/page").body(Body::empty()).unwrap(),
        Request::get("/page").body(Body::from("{}")).unwrap(),
        ask_with("range", "bytes=0-9"),
        ask_with("cache-control", "no-store"),
    ];
    all_are(StatusCode::OK, send(&app, requests)).await;
    let section = section("Passed only");
    section.shows(handle.stats());
    for reason in ["method", "body", "header", "no-store"] {
        section.names(&format!("singleflight_passes_total{{reason=\"{reason}\"}}"));
        assert!(recorded.passes().contains(&(format!("reason={reason}"), 1)));
    }
}

#[tokio::test]
async fn passed_only_because_coalescing_is_turned_off() {
    let layer = by_path();
    let handle = layer.handle();
    let app = Router::new().route("/page", get(page)).layer(layer);
    handle.set_enabled(false);
    all_are(StatusCode::OK, send(&app, [ask("/page"), ask("/page"), ask("/page")])).await;
    section("Passed only").shows(handle.stats());
}

#[tokio::test]
async fn vetoed_because_the_response_sets_a_cookie() {
    let mut recorded = record();
    let layer = by_path();
    let handle = layer.handle();
    let session = || async { ([("set-cookie", "sid=1")], page().await) };
    let app = Router::new().route("/page", get(session)).layer(layer);
    all_are(StatusCode::OK, send(&app, [ask("/page"), ask("/page"), ask("/page")])).await;
    let section = section("Vetoed");
    section.shows(handle.stats());
    section.names("singleflight_vetoes_total{reason=\"set-cookie\"}");
    assert_eq!(recorded.vetoes(), are([("reason=set-cookie", 2)]));
    // For the next 30 s.
    all_are(StatusCode::OK, send(&app, [ask("/page"), ask("/page"), ask("/page")])).await;
    section.shows(handle.stats());
    section.names("singleflight_passes_total{reason=\"unshareable\"}");
    assert_eq!(recorded.passes(), are([("reason=unshareable", 3)]));
}

#[tokio::test]
async fn refused_because_the_status_judges_the_client() {
    let mut recorded = record();
    let layer = by_path();
    let handle = layer.handle();
    let forbidden = || async {
        yield_now().await;
        StatusCode::FORBIDDEN
    };
    let app = Router::new().route("/page", get(forbidden)).layer(layer);
    let calls = send(&app, (0..5).map(|_| ask("/page")));
    all_are(StatusCode::FORBIDDEN, calls).await;
    let section = section("Vetoed");
    section.shows(handle.stats());
    section.names("singleflight_refusals_total");
    assert_eq!(recorded.numbers("singleflight_refusals_total"), are([("", 1)]));
}

#[tokio::test(start_paused = true)]
async fn joined_but_slow_because_followers_wait_as_long_as_they_may() {
    let mut recorded = record();
    let layer = by_path().wait_at_most(Duration::from_secs(1));
    let handle = layer.handle();
    let slow = || async {
        sleep(Duration::from_millis(1_500)).await;
        "page"
    };
    let app = Router::new().route("/page", get(slow)).layer(layer);
    all_are(StatusCode::OK, send(&app, [ask("/page"), ask("/page"), ask("/page")])).await;
    let section = section("Joined but slow");
    section.shows(handle.stats());
    section.names("singleflight_timeouts_total");
    assert_eq!(recorded.numbers("singleflight_timeouts_total"), are([("", 3)]));
}

#[tokio::test(start_paused = true)]
async fn requests_hang_because_one_inner_call_does() {
    let mut recorded = record();
    let layer = by_path();
    let handle = layer.handle();
    let app = Router::new().route("/page", get(pending::<()>)).layer(layer);
    let _hung = send(&app, [ask("/page"), ask("/page"), ask("/page")]);
    let section = section("Requests hang");
    section.shows(handle.stats());
    assert_eq!(recorded.in_progress(), (1, 3));
    assert_eq!(recorded.flights(), []);
    // The age of a flight that a request may join.
    advance(Duration::from_secs(31)).await;
    let _next = send(&app, [ask("/page")]);
    section.shows(handle.stats());
    section.names("singleflight_near_misses_total{reason=\"too-old\"}");
    assert_eq!(recorded.numbers("singleflight_near_misses_total"), are([("reason=too-old", 1)]));
}

/// A service whose calls all fail, after all three have come.
async fn failures(layer: SingleflightLayer<tower_singleflight::mode::ByKey<u32, u32>>) -> Stats {
    let mut service = layer.layer(service_fn(|_: u32| async {
        yield_now().await;
        Err::<u32, _>("the backend failed")
    }));
    let calls = [service.call(1), service.call(1), service.call(1)];
    assert_eq!(join_all(calls).await, [Err("the backend failed"); 3]);
    layer.handle().stats()
}

#[tokio::test]
async fn errors_multiply_because_one_error_reaches_all_waiters() {
    let mut recorded = record();
    section("Errors multiply").shows(failures(SingleflightLayer::by_key(|n: &u32| *n)).await);
    // An error is a result: its flight lands.
    assert_eq!(recorded.flights(), are([("outcome=landed", 1)]));
    assert_eq!(recorded.calls(), calls([("leader/landed", 1), ("follower/landed", 2)]));
}

#[tokio::test]
async fn errors_multiply_less_if_followers_try_again() {
    let layer = SingleflightLayer::by_key(|n: &u32| *n).followers_retry(1);
    section("Errors multiply").shows(failures(layer).await);
}

#[tokio::test]
async fn memory_grows_until_the_budget_of_bodies_is_spent() {
    let mut recorded = record();
    let layer = by_path().policy(HttpPolicy::new().body_budget(1));
    let handle = layer.handle();
    let large = || async {
        yield_now().await;
        let frames = stream::iter(["frame", "frame"].map(Ok::<_, Infallible>));
        Body::from_stream(frames.chain(stream::pending()))
    };
    let app = Router::new().route("/page", get(large)).layer(layer);
    let calls = send(&app, [ask("/page"), ask("/page")]);
    let mut responses = join_all(calls.into_iter().map(Spawn::into_inner)).await;
    // One reads, and the other does not: what it is behind is kept for it.
    let mut read = responses.pop().unwrap().into_body().into_data_stream();
    assert_eq!(read.next().await.unwrap().unwrap(), "frame");
    all_are(StatusCode::OK, send(&app, [ask("/page")])).await;
    let section = section("Memory grows");
    section.shows(handle.stats());
    section.names("singleflight_passes_total{reason=\"body-budget\"}");
    assert_eq!(recorded.passes(), are([("reason=body-budget", 1)]));
}

#[tokio::test]
async fn a_write_seals_so_that_no_later_read_has_an_older_response() {
    let mut recorded = record();
    let layer = by_path();
    let handle = layer.handle();
    let app = Router::new().route("/page", get(page).put(page)).layer(layer);
    let write = Request::put("/page").body(Body::empty()).unwrap();
    let calls = send(&app, [ask("/page"), write, ask("/page")]);
    all_are(StatusCode::OK, calls).await;
    let section = section("Old response after a write");
    section.shows(handle.stats());
    section.names("singleflight_near_misses_total{reason=\"sealed\"}");
    assert_eq!(recorded.numbers("singleflight_near_misses_total"), are([("reason=sealed", 1)]));
}

#[tokio::test]
async fn another_users_page_is_shared_no_more_once_coalescing_is_off() {
    let layer = by_path();
    let handle = layer.handle();
    // The identity is in a header of the app's own.
    let whose = |request: Request| async move {
        yield_now().await;
        request.headers()["x-api-key"].to_str().unwrap().to_owned()
    };
    let app = Router::new().route("/page", get(whose)).layer(layer);
    let bodies = |calls: Vec<Call>| async {
        let responses = join_all(calls.into_iter().map(Spawn::into_inner)).await;
        let read = responses.into_iter().map(|response| async {
            axum::body::to_bytes(response.into_body(), 100).await.unwrap()
        });
        join_all(read).await
    };
    let requests = || ["ada", "bob"].map(|user| ask_with("x-api-key", user));
    assert_eq!(bodies(send(&app, requests())).await, ["ada", "ada"]);
    section("Another user's page").shows(handle.stats());
    handle.set_enabled(false);
    assert_eq!(bodies(send(&app, requests())).await, ["ada", "bob"]);
    section("Another user's page").shows(handle.stats());

    let policy = HttpPolicy::new().partition_header(http::HeaderName::from_static("x-api-key"));
    let layer = by_path().policy(policy);
    let handle = layer.handle();
    let app = Router::new().route("/page", get(whose)).layer(layer);
    assert_eq!(bodies(send(&app, requests())).await, ["ada", "bob"]);
    section("Another user's page").shows(handle.stats());
}
