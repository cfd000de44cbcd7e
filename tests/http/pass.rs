//! Which requests go straight through.

use crate::support::{Ask, Bench, ask, by_uri, get, name, ok, role, settle, share};
use http::{Method, header};
use http_body_util::Full;
use tower_singleflight::{HttpPolicy, PassReason, Role};

/// Two such requests both reach the upstream, and their responses carry no role.
async fn passes(policy: HttpPolicy, request: impl Fn() -> Ask, reason: PassReason) {
    let mut bench = Bench::with(policy);
    let mut calls = [bench.send(request()), bench.send(request())];
    assert_eq!((bench.calls(), bench.handle.in_flight()), (2, 0), "{reason}");
    for _ in 0..2 {
        bench.answer(ok("its own")).await;
    }
    for call in &mut calls {
        let response = call.response();
        assert_eq!(role(&response), None, "{reason}");
    }
    assert_eq!((bench.stats().passed_by(reason), bench.stats().passed), (2, 2), "{reason}");
}

async fn headers_pass(headers: &[(&str, &str)], reason: PassReason) {
    passes(HttpPolicy::default(), || get("/a", headers), reason).await;
}

async fn headers_share(headers: &[(&str, &str)]) {
    assert!(share(&by_uri(), get("/a", headers), get("/a", headers)).await, "{headers:?}");
}

#[tokio::test]
async fn the_responses_of_flights_carry_their_role() {
    let mut bench = Bench::new();
    let (mut leader, mut follower) = (bench.get("/a"), bench.get("/a"));
    bench.answer(ok("")).await;
    assert_eq!(role(&leader.response()), Some(Role::Leader));
    assert_eq!(role(&follower.response()), Some(Role::Follower));
}

#[tokio::test]
async fn a_request_that_is_alone_leads() {
    let mut bench = Bench::new();
    let mut alone = bench.get("/a");
    bench.answer(ok("")).await;
    assert_eq!(role(&alone.response()), Some(Role::Leader));
}

#[tokio::test]
async fn a_role_from_below_is_not_passed_off_as_this_layers() {
    let mut bench = Bench::new();
    let mut post = bench.send(ask(Method::POST, "/a", &[]));
    let mut response = ok("");
    response.extensions_mut().insert(Role::Follower);
    bench.answer(response).await;
    assert_eq!(role(&post.response()), None);
}

#[tokio::test]
async fn other_methods_pass() {
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "get", "QUERY"]
    {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        passes(HttpPolicy::default(), || ask(method.clone(), "/a", &[]), PassReason::Method).await;
    }
}

#[tokio::test]
async fn connect_passes_whatever_is_said() {
    let policy = HttpPolicy::default().methods([Method::CONNECT]).trust_key();
    passes(policy, || ask(Method::CONNECT, "a.example:443", &[]), PassReason::Upgrade).await;
}

#[tokio::test]
async fn a_get_with_a_body_passes() {
    let with_body = || get("/a", &[]).map(|_| Full::from("a body"));
    passes(HttpPolicy::default(), with_body, PassReason::Body).await;
}

#[tokio::test]
async fn ranges_and_their_conditions_pass() {
    headers_pass(&[("range", "bytes=0-9")], PassReason::Header).await;
    headers_pass(&[("if-range", "\"x\"")], PassReason::Header).await;
    headers_pass(&[("range", "")], PassReason::Header).await;
}

#[tokio::test]
async fn conditions_on_the_present_state_pass() {
    headers_pass(&[("if-match", "\"x\"")], PassReason::Header).await;
    headers_pass(&[("if-unmodified-since", "Sat, 29 Oct 1994 19:43:31 GMT")], PassReason::Header)
        .await;
}

#[tokio::test]
async fn upgrades_pass() {
    headers_pass(&[("upgrade", "websocket"), ("connection", "Upgrade")], PassReason::Upgrade).await;
    headers_pass(&[("upgrade", "h2c")], PassReason::Upgrade).await;
    headers_pass(&[("connection", "keep-alive, UPGRADE")], PassReason::Upgrade).await;
    headers_pass(&[("connection", "keep-alive"), ("connection", "upgrade")], PassReason::Upgrade)
        .await;
    headers_share(&[("connection", "keep-alive")]).await;
}

#[tokio::test]
async fn an_expectation_passes() {
    headers_pass(&[("expect", "100-continue")], PassReason::Header).await;
}

#[tokio::test]
async fn no_store_passes_in_any_spelling() {
    for line in ["no-store", "No-Store", "max-age=0 , no-store", "no-store=x", ",,no-store"] {
        headers_pass(&[("cache-control", line)], PassReason::NoStore).await;
    }
    headers_pass(
        &[("cache-control", "max-age=1"), ("cache-control", "no-store")],
        PassReason::NoStore,
    )
    .await;
}

#[tokio::test]
async fn a_no_store_inside_a_quoted_string_is_no_directive() {
    headers_share(&[("cache-control", "x=\"a, no-store\"")]).await;
}

#[tokio::test]
async fn a_cache_control_that_cannot_be_read_passes() {
    for line in ["x=\"no-store", "a b", "=", "max-age =1 2", "no-store;"] {
        headers_pass(&[("cache-control", line)], PassReason::Malformed).await;
    }
}

#[tokio::test]
async fn no_cache_and_max_age_join_before_the_head() {
    for line in ["no-cache", "max-age=0", "max-age=0, must-revalidate", "only-if-cached"] {
        headers_share(&[("cache-control", line)]).await;
        assert!(
            share(&by_uri(), get("/a", &[]), get("/a", &[("cache-control", line)])).await,
            "{line}"
        );
    }
    headers_share(&[("pragma", "no-cache")]).await;
}

#[tokio::test]
async fn what_the_filter_refuses_passes() {
    let mut bench = Bench::of(&by_uri().filter(|req| !req.uri().path().starts_with("/admin")));
    let (mut one, mut two) = (bench.get("/admin/x"), bench.get("/admin/x"));
    assert_eq!(bench.calls(), 2);
    bench.answer(ok("1")).await;
    bench.answer(ok("2")).await;
    assert_eq!((role(&one.response()), role(&two.response())), (None, None));
    assert_eq!(bench.stats().passed_by(PassReason::Filter), 2);
    let _calls = (bench.get("/x"), bench.get("/x"));
    assert_eq!(bench.calls(), 3);
}

#[tokio::test]
async fn a_passing_request_neither_joins_nor_is_joined() {
    let mut bench = Bench::new();
    let _leader = bench.get("/a");
    let _passing = bench.send(get("/a", &[("range", "bytes=0-9")]));
    let _follower = bench.get("/a");
    assert_eq!(bench.calls(), 2);
    assert_eq!((bench.handle.in_flight(), bench.handle.waiting()), (1, 2));
}

#[tokio::test]
async fn a_request_from_inside_its_own_flight_passes() {
    use bytes::Bytes;
    use http::{Request, Response};
    use std::{
        convert::Infallible,
        sync::{Arc, OnceLock},
    };
    use tower::{Layer, ServiceExt, service_fn, util::BoxCloneSyncService};
    use tower_singleflight::SharedBody;

    type Outer = BoxCloneSyncService<Request<Full<Bytes>>, Response<SharedBody>, Infallible>;
    let outer: Arc<OnceLock<Outer>> = Arc::default();
    let again = outer.clone();
    let inner = service_fn(move |request: Request<Full<Bytes>>| {
        let outer = again.get().unwrap().clone();
        async move {
            if request.extensions().get::<Role>().is_some() {
                return Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("inner")));
            }
            // So that the other joins.
            tokio::task::yield_now().await;
            let mut inside = get("/a", &[]);
            inside.extensions_mut().insert(Role::Leader);
            let response = outer.oneshot(inside).await.unwrap();
            Ok(Response::new(Full::from(format!("outer of {}", crate::support::text(response)))))
        }
    });
    let layer = by_uri();
    assert!(outer.set(BoxCloneSyncService::new(layer.layer(inner))).is_ok());
    let service = outer.get().unwrap();
    let (one, two) = tokio::join!(
        service.clone().oneshot(get("/a", &[])),
        service.clone().oneshot(get("/a", &[]))
    );
    for response in [one, two] {
        assert_eq!(crate::support::text(response.unwrap()), "outer of inner");
    }
    assert_eq!(layer.handle().stats().passed_by(PassReason::Reentrant), 1);
}

#[tokio::test]
async fn a_header_that_the_user_names_passes() {
    let policy = HttpPolicy::default().pass_request_header(name("x-debug"));
    passes(policy.clone(), || get("/a", &[("x-debug", "1")]), PassReason::Header).await;
    assert!(share(&by_uri().policy(policy), get("/a", &[]), get("/a", &[])).await);
}

#[tokio::test]
async fn each_passing_header_can_be_allowed_and_then_parts_by_its_value() {
    for header in [
        header::RANGE,
        header::IF_RANGE,
        header::IF_MATCH,
        header::IF_UNMODIFIED_SINCE,
        header::EXPECT,
        header::UPGRADE,
    ] {
        let layer = by_uri().policy(HttpPolicy::default().allow_request_header(header.clone()));
        let with = |value| get("/a", &[(header.as_str(), value)]);
        assert!(share(&layer, with("x"), with("x")).await, "{header}");
        assert!(!share(&layer, with("x"), with("y")).await, "{header}");
        assert!(!share(&layer, with("x"), get("/a", &[])).await, "{header}");
    }
}

#[tokio::test]
async fn allowing_one_header_lets_no_other_through() {
    let policy = HttpPolicy::default().allow_request_header(header::RANGE);
    let both = || get("/a", &[("range", "bytes=0-9"), ("if-range", "\"x\"")]);
    passes(policy, both, PassReason::Header).await;
}

#[tokio::test]
async fn a_vetoed_answer_after_passing_reaches_its_own_caller_only() {
    let mut bench = Bench::new();
    let (mut one, mut two) = (
        bench.send(get("/a", &[("range", "bytes=0-1")])),
        bench.send(get("/a", &[("range", "bytes=0-1")])),
    );
    bench.answer(crate::support::reply(206, &[("set-cookie", "one")], "1")).await;
    bench.answer(crate::support::reply(206, &[("set-cookie", "two")], "2")).await;
    settle().await;
    assert_eq!((one.text(), two.text()), ("1".to_owned(), "2".to_owned()));
}
