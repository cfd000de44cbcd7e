//! Layers outside of the flights that hide whether a request has a body. Requests without one share
//! all the same, if the layer gets a body of a type that it knows: axum's own, which
//! `Router::layer` makes around each layer, and `MapRequestBodyLayer` inside one `ServiceBuilder`.

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{Request, StatusCode, header::CONTENT_ENCODING},
    routing::get,
};
use flate2::{Compression, write::GzEncoder};
use http_body_util::BodyExt;
use std::{io::Write, sync::Arc, time::Duration};
use tokio::{sync::Semaphore, task::yield_now};
use tower::{ServiceBuilder, ServiceExt};
use tower_http::{
    decompression::RequestDecompressionLayer, map_request_body::MapRequestBodyLayer,
    timeout::RequestBodyTimeoutLayer,
};
use tower_singleflight::{Handle, PassReason, SingleflightLayer, mode::Http};

const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// Answers with what it is sent, once for each permit.
fn backend(permits: &Arc<Semaphore>) -> Router {
    async fn echo(State(permits): State<Arc<Semaphore>>, body: Bytes) -> Bytes {
        permits.acquire().await.expect("it is never closed").forget();
        body
    }
    Router::new().route("/", get(echo)).with_state(permits.clone())
}

fn flights() -> (SingleflightLayer<Http<String>>, Handle<String>) {
    let layer = SingleflightLayer::new(|req| req.uri().path().to_owned());
    let handle = layer.handle();
    (layer, handle)
}

fn ask(body: Body) -> Request<Body> {
    Request::get("/").body(body).unwrap()
}

/// Three clients ask at once, and one call answers them all.
async fn three_cost_one_call(app: Router, permits: &Semaphore, flights: &Handle<String>) {
    let clients: Vec<_> =
        (0..3).map(|_| tokio::spawn(app.clone().oneshot(ask(Body::empty())))).collect();
    for _ in 0..100 {
        yield_now().await;
    }
    assert_eq!(flights.waiting(), 3, "{}", flights.stats());
    permits.add_permits(1);
    for client in clients {
        assert_eq!(client.await.unwrap().unwrap().status(), StatusCode::OK);
    }
    let stats = flights.stats();
    assert_eq!((stats.led, stats.joined, stats.passed), (1, 2, 0));
}

#[tokio::test(start_paused = true)]
async fn gets_through_request_decompression_share() {
    let (permits, (layer, flights)) = (Arc::new(Semaphore::new(0)), flights());
    let app = backend(&permits).layer(layer).layer(RequestDecompressionLayer::new());
    three_cost_one_call(app, &permits, &flights).await;
}

#[tokio::test(start_paused = true)]
async fn gets_through_request_decompression_in_one_service_builder_share() {
    let (permits, (layer, flights)) = (Arc::new(Semaphore::new(0)), flights());
    let app = backend(&permits)
        .layer(ServiceBuilder::new().layer(RequestDecompressionLayer::new()).layer(layer));
    three_cost_one_call(app, &permits, &flights).await;
}

#[tokio::test(start_paused = true)]
async fn a_get_with_a_compressed_body_passes_and_arrives_whole() {
    let (permits, (layer, flights)) = (Arc::new(Semaphore::new(1)), flights());
    let app = backend(&permits).layer(layer).layer(RequestDecompressionLayer::new());
    let text = "a body that is longer when it is decompressed. ".repeat(100);
    let mut zipped = GzEncoder::new(Vec::new(), Compression::default());
    zipped.write_all(text.as_bytes()).unwrap();
    let mut request = ask(zipped.finish().unwrap().into());
    request.headers_mut().insert(CONTENT_ENCODING, "gzip".parse().unwrap());
    let response = app.oneshot(request).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), text);
    assert_eq!(flights.stats().passed_by(PassReason::Body), 1);
}

#[tokio::test(start_paused = true)]
async fn gets_through_a_request_body_timeout_of_the_router_share() {
    let (permits, (layer, flights)) = (Arc::new(Semaphore::new(0)), flights());
    let app = backend(&permits).layer(layer).layer(RequestBodyTimeoutLayer::new(BODY_TIMEOUT));
    three_cost_one_call(app, &permits, &flights).await;
}

#[tokio::test(start_paused = true)]
async fn gets_through_a_request_body_timeout_in_one_service_builder_share_with_a_map_between() {
    let (permits, (layer, flights)) = (Arc::new(Semaphore::new(0)), flights());
    let stack = ServiceBuilder::new()
        .layer(RequestBodyTimeoutLayer::new(BODY_TIMEOUT))
        .layer(MapRequestBodyLayer::new(Body::new))
        .layer(layer);
    three_cost_one_call(backend(&permits).layer(stack), &permits, &flights).await;
}

#[tokio::test(start_paused = true)]
async fn without_the_map_they_pass() {
    let (permits, (layer, flights)) = (Arc::new(Semaphore::new(1)), flights());
    let stack =
        ServiceBuilder::new().layer(RequestBodyTimeoutLayer::new(BODY_TIMEOUT)).layer(layer);
    let response = backend(&permits).layer(stack).oneshot(ask(Body::empty())).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(flights.stats().passed_by(PassReason::Body), 1);
}
