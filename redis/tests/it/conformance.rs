//! What every engine promises.

use crate::server::server;
use tower_singleflight::fleet::testing::conformance;
use tower_singleflight_redis::RedisEngine;

#[tokio::test]
async fn it_keeps_the_promises_of_an_engine() {
    let server = server!();
    let engine = || RedisEngine::open(server.url()).unwrap();
    conformance(|| (engine(), engine())).await;
}
