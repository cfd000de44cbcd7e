//! What is told of HTTP calls: vetoes, what follows from them, and late joins.

use crate::support::*;
use bytes::Bytes;
use futures_util::{future::join_all, stream};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use std::convert::Infallible;
use tower::{Layer, Service, service_fn};
use tower_singleflight::{SingleflightLayer, mode::Http};
use tracing::{Instrument, info_span};

type Ask = Request<Empty<Bytes>>;

fn by_uri() -> SingleflightLayer<Http<String>> {
    SingleflightLayer::new(|req| req.uri().to_string())
}

fn get(uri: &str) -> http::request::Builder {
    Request::get(uri)
}

fn ask(request: http::request::Builder) -> Ask {
    request.body(Empty::new()).unwrap()
}

/// Answers with that header, and what the request says in `x`.
async fn answer(
    request: Ask,
    header: (&'static str, &'static str),
) -> Result<Response<Full<Bytes>>, Infallible> {
    tokio::task::yield_now().await;
    let x =
        request.headers().get("x").map_or(Bytes::new(), |x| Bytes::copy_from_slice(x.as_bytes()));
    Ok(Response::builder().header(header.0, header.1).body(Full::new(x)).unwrap())
}

#[tokio::test]
async fn vetoed_followers_have_waited_and_pass() {
    let mut recorded = record();
    let mut service = by_uri().layer(service_fn(|request| answer(request, ("set-cookie", "id=1"))));
    let calls_made: Vec<_> = (0..3).map(|_| service.call(ask(get("/")))).collect();
    join_all(calls_made).await;
    assert_eq!(recorded.vetoes(), are([("reason=set-cookie", 2)]));
    assert_eq!(recorded.passes(), are([]));
    assert_eq!(recorded.calls(), calls([("leader/landed", 1), ("follower/passed", 2)]));

    service.call(ask(get("/"))).await.unwrap();
    assert_eq!(recorded.passes(), are([("reason=unshareable", 1)]));
    assert_eq!(
        recorded.calls(),
        calls([("leader/landed", 1), ("follower/passed", 2), ("none/passed", 1)])
    );
    assert_eq!(recorded.flights(), are([("outcome=landed", 1)]));
    assert_eq!(recorded.in_progress(), (0, 0));
}

#[tokio::test]
async fn a_call_that_vary_sends_on_is_counted_once_by_how_it_ends() {
    let mut recorded = record();
    let mut service = by_uri().layer(service_fn(|request| answer(request, ("vary", "x"))));
    let calls_made: Vec<_> =
        ["a", "b", "b"].into_iter().map(|x| service.call(ask(get("/").header("x", x)))).collect();
    for (answer, x) in join_all(calls_made).await.into_iter().zip(["a", "b", "b"]) {
        assert_eq!(answer.unwrap().into_body().collect().await.unwrap().to_bytes(), x);
    }
    assert_eq!(recorded.vetoes(), are([("reason=vary", 2)]));
    assert_eq!(recorded.calls(), calls([("leader/landed", 2), ("follower/landed", 1)]));
    assert_eq!(recorded.flights(), are([("outcome=landed", 2)]));
}

#[tokio::test]
async fn a_call_that_joins_after_the_head_is_a_follower_that_landed() {
    let mut recorded = record();
    let mut service = by_uri().layer(service_fn(|_: Ask| async {
        let body = StreamBody::new(stream::pending::<Result<Frame<Bytes>, Infallible>>());
        Ok::<_, Infallible>(
            Response::builder().header("cache-control", "max-age=60").body(body).unwrap(),
        )
    }));
    let _streaming = service.call(ask(get("/"))).await.unwrap();
    let _joined = service.call(ask(get("/"))).await.unwrap();
    assert_eq!(recorded.calls(), calls([("leader/landed", 1), ("follower/landed", 1)]));
    assert_eq!(recorded.flights(), are([("outcome=landed", 1)]));
    assert_eq!(recorded.in_progress(), (0, 0));
}

#[tokio::test]
async fn a_request_that_does_not_share_passes_with_its_reason() {
    let mut recorded = record();
    let (log, _tracing) = trace();
    let mut service = by_uri().layer(service_fn(|request| answer(request, ("x", "y"))));
    let call = async { service.call(ask(get("/").header("range", "bytes=0-1"))).await.unwrap() };
    call.instrument(info_span!("request")).await;
    assert_eq!(recorded.passes(), are([("reason=header", 1)]));
    assert_eq!(recorded.calls(), calls([("none/passed", 1)]));
    let [Told::Event { inside, level, target, fields }] = &log.events()[..] else {
        panic!("{:?}", log.all())
    };
    assert_eq!(*inside, log.opened("request").first().copied());
    assert_eq!((*level, &**target), (tracing::Level::DEBUG, "tower_singleflight"));
    assert_eq!(fields, " message=passed reason=\"header\"");
}

#[tokio::test]
async fn a_veto_is_told_to_each_follower_in_its_own_span() {
    let (log, _tracing) = trace();
    let mut service =
        by_uri().layer(service_fn(|request| answer(request, ("cache-control", "private"))));
    let mut call = |span: tracing::Span| {
        let call = span.in_scope(|| service.call(ask(get("/"))));
        call.instrument(span)
    };
    let calls_made = (call(info_span!("leader")), call(info_span!("one")), call(info_span!("two")));
    let answers = tokio::join!(calls_made.0, calls_made.1, calls_made.2);
    assert!(answers.0.is_ok() && answers.1.is_ok() && answers.2.is_ok());
    let vetoes: Vec<_> = log
        .events()
        .into_iter()
        .map(|told| match told {
            Told::Event { inside, level: tracing::Level::DEBUG, fields, .. } => {
                (inside.unwrap(), fields)
            }
            told => panic!("{told:?}"),
        })
        .collect();
    let vetoed = " message=vetoed reason=\"cache-control\"".to_owned();
    assert_eq!(vetoes, [(log.opened("one")[0], vetoed.clone()), (log.opened("two")[0], vetoed)]);
}

#[tokio::test]
async fn a_near_miss_names_the_header_in_the_span_of_its_call_and_tells_no_value() {
    let (log, _tracing) = trace();
    let mut recorded = record();
    let mut service = by_uri().layer(service_fn(|request| answer(request, ("x", "y"))));
    let _first = service.call(ask(get("/").header("cookie", "id=hunter1")));
    let second = info_span!("second")
        .in_scope(|| service.call(ask(get("/").header("cookie", "id=hunter2"))));
    let [Told::Event { inside, level, target, fields }] = &log.events()[..] else {
        panic!("{:?}", log.all())
    };
    assert_eq!(*inside, log.opened("second").first().copied());
    assert_eq!((*level, &**target), (tracing::Level::DEBUG, "tower_singleflight"));
    assert!(
        fields.contains("message=near miss") && fields.contains("reason=\"partition\""),
        "{fields}"
    );
    assert!(fields.contains("part=\"cookie\"") && !fields.contains("hunter"), "{fields}");
    assert_eq!(recorded.numbers("singleflight_near_misses_total"), are([("reason=partition", 1)]));
    drop(second);
}

#[tokio::test]
async fn followers_of_a_refusal_are_counted_once_each() {
    let mut recorded = record();
    let layer = by_uri();
    let mut service = layer.layer(service_fn(|_: Ask| async {
        tokio::task::yield_now().await;
        Ok::<_, Infallible>(Response::builder().status(403).body(Full::new(Bytes::new())).unwrap())
    }));
    let calls_made: Vec<_> = (0..5).map(|_| service.call(ask(get("/")))).collect();
    join_all(calls_made).await;
    assert_eq!(recorded.numbers("singleflight_refusals_total"), are([("", 1)]));
    assert_eq!(layer.handle().stats().refused, 1);
    assert_eq!(recorded.vetoes(), are([("reason=status", 3)]));
    assert_eq!(recorded.calls(), calls([("leader/landed", 2), ("follower/passed", 3)]));
    assert_eq!(recorded.flights(), are([("outcome=landed", 2)]));
    assert_eq!(recorded.in_progress(), (0, 0));
}
