//! Whole fleets over one server: layers in this process, each a replica of its own.

use crate::{replica::soon, server::server};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{task::JoinHandle, time::sleep};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_singleflight::{Fleet, SingleflightLayer};
use tower_singleflight_redis::RedisEngine;

/// How long the upstream takes.
const WORK: Duration = Duration::from_millis(500);

/// Starts a request to a new replica, which answers with the number of the upstream call.
async fn ask(engine: RedisEngine, calls: &Arc<AtomicUsize>) -> JoinHandle<Bytes> {
    // The machine of the tests is busy: Redis is asked with more patience than by default.
    let fleet = Fleet::new(engine, "the secret of the tests").enter_within(Duration::from_secs(5));
    soon(|| fleet.is_up()).await;
    let calls = Arc::clone(calls);
    let upstream = service_fn(move |_: Request<Empty<Bytes>>| {
        let number = calls.fetch_add(1, Relaxed) + 1;
        async move {
            sleep(WORK).await;
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(number.to_string()))))
        }
    });
    let layer = SingleflightLayer::new(|request: &Request<_>| request.uri().path().to_owned())
        .fleet(&fleet, "tests");
    let mut service = layer.layer(upstream);
    let request = Request::get("http://host/path").body(Empty::new()).unwrap();
    let answer = service.ready().await.unwrap().call(request);
    tokio::spawn(async move {
        let _fleet = fleet;
        answer.await.unwrap().into_body().collect().await.unwrap().to_bytes()
    })
}

#[tokio::test]
async fn fleets_with_different_prefixes_do_not_meet() {
    let server = server!();
    let calls = Arc::default();
    let mut answers = Vec::new();
    for prefix in ["one", "other", "one", "other"] {
        let engine = RedisEngine::open(server.url()).unwrap().prefix(prefix);
        answers.push(ask(engine, &calls).await);
    }
    let mut answered = Vec::new();
    for answer in answers {
        answered.push(answer.await.unwrap());
    }
    assert_eq!(answered, ["1", "2", "1", "2"]);
    assert_eq!(calls.load(Relaxed), 2);
}
