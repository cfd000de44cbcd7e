//! Neither keys nor what headers say gets to recorders and subscribers.

use crate::support::*;
use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response};
use http_body_util::Empty;
use std::convert::Infallible;
use tower::{Layer, Service, service_fn};
use tower_singleflight::{Group, HttpPolicy, SingleflightLayer};

const SECRET: &str = "hunter2";

type Ask = Request<Empty<Bytes>>;

fn ask(header: &str) -> Ask {
    Request::get(format!("/{SECRET}?{SECRET}")).header(header, SECRET).body(Empty::new()).unwrap()
}

async fn answer(_: Ask) -> Result<Response<Empty<Bytes>>, Infallible> {
    tokio::task::yield_now().await;
    let response =
        Response::builder().header("set-cookie", SECRET).header("vary", "x").header("x", SECRET);
    Ok(response.body(Empty::new()).unwrap())
}

#[tokio::test]
async fn no_secret_is_told() {
    let mut recorded = record();
    let (log, _tracing) = trace();
    for policy in [HttpPolicy::default(), HttpPolicy::default().share_set_cookie(true)] {
        let layer =
            SingleflightLayer::new(|req| req.uri().to_string()).policy(policy).name("pages");
        let mut service = layer.layer(service_fn(answer));
        let headers =
            ["x", "x", "authorization", "cookie", "range", "if-match", "x-api-key", "accept"];
        join_all(headers.map(|header| service.call(ask(header)))).await;
        join_all(headers.map(|header| service.call(ask(header)))).await;
    }
    let group = Group::named("words");
    let outcomes = [(); 2].map(|()| group.run(SECRET.to_owned(), || async { SECRET }));
    join_all(outcomes).await;

    let told = format!("{:?}", log.all());
    let counted =
        ["calls_total", "passes_total", "vetoes_total", "flights_total", "near_misses_total"].map(
            |metric| {
                let series = recorded.all(&format!("singleflight_{metric}"));
                assert!(!series.is_empty(), "{metric}");
                format!("{series:?}")
            },
        );
    assert!(
        ["flight", "passed", "vetoed", "near miss"].iter().all(|word| told.contains(word)),
        "{told}"
    );
    assert!(!told.contains(SECRET), "{told}");
    assert!(!counted.concat().contains(SECRET), "{counted:?}");
}
