//! Who joins after the head.

use crate::support::{
    Ask, Bench, Call, Flow, Read, Upstream, ask, by_uri, flow, get, ok, read, reply, role, settle,
    text, with_body,
};
use bytes::Bytes;
use futures_util::{future::BoxFuture, task::noop_waker};
use http::{HeaderValue, Method, Request, Response, header::AGE};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use std::{
    cell::RefCell,
    convert::Infallible,
    hash::{Hash, Hasher},
    sync::{Arc, Mutex, OnceLock, mpsc},
    task::{Context, Poll},
    time::Duration,
};
use tokio::sync::Notify;
use tokio_test::{assert_pending, task};
use tower::{Layer, Service, ServiceExt, service_fn, util::BoxCloneSyncService};
use tower_singleflight::{BoxError, HttpPolicy, LateJoin, Role, SharedBody, SingleflightLayer};

const FRESH: (&str, &str) = ("cache-control", "max-age=60");

/// A leader that has its head, and whose body is open and unread.
async fn led(bench: &mut Bench, headers: &[(&str, &str)]) -> (SharedBody, Flow) {
    led_by(bench, get("/a", &[]), headers).await
}

async fn led_by(bench: &mut Bench, request: Ask, headers: &[(&str, &str)]) -> (SharedBody, Flow) {
    let mut leader = bench.send(request);
    let (flow, body) = flow();
    bench.answer(with_body(200, headers, body)).await;
    (leader.response().into_body(), flow)
}

/// Whether a newcomer gets the response of the flight before.
#[track_caller]
fn joins(bench: &mut Bench, request: Ask) -> bool {
    let before = bench.calls();
    let mut call = bench.send(request);
    if call.waits() {
        assert_eq!(bench.calls(), before + 1, "else it leads anew");
        drop(call);
        bench.upstream.next();
        return false;
    }
    assert_eq!((role(&call.response()), bench.calls()), (Some(Role::Follower), before));
    true
}

/// Whether a plain newcomer joins a plain leader whose response has these headers.
async fn joins_after(headers: &[(&str, &str)]) -> bool {
    let mut bench = Bench::new();
    let _leader = led(&mut bench, headers).await;
    joins(&mut bench, get("/a", &[]))
}

#[tokio::test]
async fn a_late_arrival_reads_from_the_first_byte() {
    let mut bench = Bench::new();
    let (mut leader, flow) = led(&mut bench, &[FRESH]).await;
    let mut early = bench.get("/a").response().into_body();
    flow.data("one ");
    flow.data("two ");
    assert_eq!(read(&mut leader), Read::Open("one two ".to_owned()));
    assert_eq!(read(&mut early), Read::Open("one two ".to_owned()));
    let mut late = bench.get("/a").response().into_body();
    assert_eq!(
        read(&mut late),
        Read::Open("one two ".to_owned()),
        "though all the others have passed it"
    );
    flow.data("three");
    flow.trailer("x-sum", "6");
    drop(flow);
    for body in [&mut leader, &mut early, &mut late] {
        assert_eq!(read(body), Read::Ended("three<x-sum: 6>".to_owned()));
    }
    assert_eq!((bench.calls(), bench.stats().joined, bench.stats().led), (1, 2, 1));
}

#[tokio::test]
async fn it_has_the_leaders_head_and_its_age() {
    let mut bench = Bench::new();
    let mut leader = bench.get("/a");
    let (_flow, body) = flow();
    bench.answer(with_body(203, &[FRESH, ("x-a", "1"), ("x-a", "2")], body)).await;
    let led = leader.response();
    let mut late = bench.get("/a").response();
    assert_eq!(late.headers_mut().remove(AGE).unwrap(), "0");
    assert_eq!((late.status(), late.headers()), (led.status(), led.headers()));
}

#[tokio::test]
async fn it_joins_what_is_explicitly_fresh() {
    for line in [
        "max-age=1",
        "s-maxage=1",
        "max-age=0, s-maxage=5",
        "Max-Age=\"5\"",
        "public, max-age=99999999999999999999",
    ] {
        assert!(joins_after(&[("cache-control", line)]).await, "{line}");
    }
    assert!(joins_after(&[("cache-control", "max-age=10"), ("age", "9")]).await);
}

#[tokio::test]
async fn it_leads_anew_where_nothing_says_that_it_is_fresh() {
    for line in [
        "",
        "public",
        "max-age=0",
        "max-age",
        "max-age=",
        "max-age=-1",
        "max-age=soon",
        "max-age=60, max-age=0",
        "max-age=60, s-maxage=0",
        "s-maxage=x, max-age=60",
        "x=\"max-age=60\"",
        "stale-while-revalidate=60",
        "immutable",
    ] {
        assert!(!joins_after(&[("cache-control", line)]).await, "{line}");
    }
    assert!(!joins_after(&[("expires", "Fri, 01 Jan 2100 00:00:00 GMT")]).await);
    assert!(!joins_after(&[]).await);
}

#[tokio::test]
async fn its_age_counts_against_its_freshness() {
    for age in ["10", "11", "99999999999999999999", "-1", "x", "1, 10", "1.5"] {
        assert!(!joins_after(&[("cache-control", "max-age=10"), ("age", age)]).await, "{age}");
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_fresh_for_its_time_and_no_longer() {
    let mut bench = Bench::new();
    let _leader = led(&mut bench, &[("cache-control", "max-age=10"), ("age", "3")]).await;
    tokio::time::advance(Duration::from_millis(6_999)).await;
    assert!(joins(&mut bench, get("/a", &[])));
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(!joins(&mut bench, get("/a", &[])));
}

#[tokio::test(start_paused = true)]
async fn it_joins_only_what_is_younger_than_join_within() {
    for (layer, age) in [(by_uri(), 30), (by_uri().join_within(Duration::from_secs(5)), 5)] {
        let mut bench = Bench::of(&layer);
        let mut leader = bench.get("/a");
        // The time until the head counts.
        tokio::time::advance(Duration::from_secs(age - 1)).await;
        let (_flow, body) = flow();
        bench.answer(with_body(200, &[FRESH], body)).await;
        let _body = leader.response();
        assert!(joins(&mut bench, get("/a", &[])));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!joins(&mut bench, get("/a", &[])));
    }
}

#[tokio::test]
async fn it_leads_anew_when_the_first_byte_is_gone() {
    let mut bench = Bench::with(HttpPolicy::default().keep_start(0));
    let (mut leader, flow) = led(&mut bench, &[FRESH]).await;
    flow.data("one");
    assert_eq!(read(&mut leader), Read::Open("one".to_owned()));
    assert!(!joins(&mut bench, get("/a", &[])));
    flow.data("two");
    assert_eq!(read(&mut leader), Read::Open("two".to_owned()));
}

#[tokio::test]
async fn it_leads_anew_when_one_reader_was_left_alone() {
    let mut bench = Bench::with(HttpPolicy::default().keep_start(0));
    let (mut leader, flow) = led(&mut bench, &[FRESH]).await;
    let mut second = bench.get("/a").response().into_body();
    flow.data("one");
    assert_eq!(
        (read(&mut leader), read(&mut second)),
        (Read::Open("one".into()), Read::Open("one".into()))
    );
    drop(second);
    assert!(!joins(&mut bench, get("/a", &[])));
}

#[tokio::test]
async fn it_leads_anew_when_the_window_is_full() {
    let mut bench = Bench::with(HttpPolicy::default().body_limit(10));
    let (mut leader, flow) = led(&mut bench, &[FRESH]).await;
    let mut second = bench.get("/a").response().into_body();
    for _ in 0..4 {
        flow.data("12345");
        let both = (read(&mut leader), read(&mut second));
        assert_eq!(both, (Read::Open("12345".into()), Read::Open("12345".into())));
    }
    assert!(!joins(&mut bench, get("/a", &[])));
}

#[tokio::test]
async fn requests_that_want_it_fresh_lead_anew() {
    let mut bench = Bench::new();
    let _leader = led(&mut bench, &[FRESH]).await;
    for header in [
        ("cache-control", "no-cache"),
        ("cache-control", "max-age=0"),
        ("cache-control", "NO-CACHE=\"x\""),
        ("cache-control", "max-age=x"),
        ("pragma", "no-cache"),
    ] {
        assert!(!joins(&mut bench, get("/a", &[header])), "{header:?}");
    }
    assert!(joins(&mut bench, get("/a", &[("cache-control", "max-age=5")])));
    assert!(joins(
        &mut bench,
        get("/a", &[("cache-control", "max-stale"), ("pragma", "no-cache")])
    ));
}

#[tokio::test]
async fn two_that_want_it_fresh_share_a_new_flight() {
    let mut bench = Bench::new();
    let _leader = led(&mut bench, &[FRESH]).await;
    let reload = || get("/a", &[("cache-control", "no-cache")]);
    let _calls = (bench.send(reload()), bench.send(reload()));
    assert_eq!(bench.calls(), 2);
}

#[tokio::test]
async fn another_partition_does_not_join() {
    let mut bench = Bench::new();
    let user = || get("/a", &[("authorization", "user"), ("host", "a.example")]);
    let _leader = led_by(&mut bench, user(), &[FRESH]).await;
    assert!(joins(&mut bench, user()));
    for headers in [
        &[("host", "a.example")][..],
        &[("authorization", "another"), ("host", "a.example")],
        &[("authorization", "user"), ("host", "b.example")],
        &[("cookie", "user"), ("host", "a.example")],
    ] {
        assert!(!joins(&mut bench, get("/a", headers)));
    }
    assert!(!joins(&mut bench, get("/b", &[("authorization", "user"), ("host", "a.example")])));
    let head = ask(Method::HEAD, "/a", &[("authorization", "user"), ("host", "a.example")]);
    assert!(!joins(&mut bench, head));
}

#[tokio::test]
async fn a_request_that_passes_does_not_join() {
    let mut bench = Bench::new();
    let _leader = led(&mut bench, &[FRESH]).await;
    for header in [
        ("range", "bytes=0-1"),
        ("cache-control", "no-store"),
        ("upgrade", "x"),
        ("cache-control", "a b"),
    ] {
        assert!(!joins(&mut bench, get("/a", &[header])), "{header:?}");
    }
}

#[tokio::test]
async fn only_those_that_agree_in_vary_join() {
    let mut bench = Bench::new();
    let kind = |kind| get("/a", &[("x-kind", kind)]);
    let _leader = led_by(&mut bench, kind("a"), &[FRESH, ("vary", "X-Kind")]).await;
    assert!(joins(&mut bench, kind("a")));
    assert!(!joins(&mut bench, kind("b")));
    assert!(!joins(&mut bench, get("/a", &[])));
}

#[tokio::test]
async fn nobody_joins_a_vetoed_response() {
    for header in [("set-cookie", "x"), ("cache-control", "private, max-age=60"), ("vary", "*")] {
        let mut bench = Bench::with(HttpPolicy::default().late_joins(LateJoin::Always));
        let (mut leader, _flow) = led(&mut bench, &[header]).await;
        assert!(!joins(&mut bench, get("/a", &[])), "{header:?}");
        assert_eq!(read(&mut leader), Read::Open(String::new()));
    }
}

#[tokio::test]
async fn never_is_never() {
    let mut bench = Bench::with(HttpPolicy::default().late_joins(LateJoin::Never));
    let _leader = led(&mut bench, &[FRESH]).await;
    assert!(!joins(&mut bench, get("/a", &[])));
}

#[tokio::test]
async fn always_needs_no_freshness_but_all_the_rest() {
    let mut bench = Bench::with(HttpPolicy::default().late_joins(LateJoin::Always).keep_start(0));
    let (mut leader, flow) = led(&mut bench, &[]).await;
    assert!(joins(&mut bench, get("/a", &[])));
    assert!(!joins(&mut bench, get("/a", &[("cache-control", "no-cache")])));
    assert!(!joins(&mut bench, get("/a", &[("cookie", "x")])));
    flow.data("one");
    assert_eq!(read(&mut leader), Read::Open("one".to_owned()));
    assert!(!joins(&mut bench, get("/a", &[])), "the first byte is gone");
}

#[tokio::test]
async fn a_flight_with_a_limit_of_waiters_takes_nobody_late() {
    let mut bench = Bench::of(&by_uri().max_waiters(10));
    let _leader = led(&mut bench, &[FRESH]).await;
    assert!(!joins(&mut bench, get("/a", &[])));
}

#[tokio::test]
async fn a_body_in_one_piece_takes_late_arrivals_until_it_is_read() {
    let mut bench = Bench::new();
    let mut leader = bench.get("/a");
    bench.answer(reply(200, &[FRESH], "whole")).await;
    let leader = leader.response();
    assert_eq!(bench.get("/a").text(), "whole");
    assert_eq!(text(leader), "whole");
    assert!(!joins(&mut bench, get("/a", &[])), "it has ended");
}

#[tokio::test]
async fn a_response_that_nobody_took_yet_takes_late_arrivals() {
    let mut bench = Bench::new();
    let mut unpolled = [bench.get("/a"), bench.get("/a")];
    settle().await;
    let (flow, body) = flow();
    bench.answer(with_body(200, &[FRESH], body)).await;
    let mut late = bench.get("/a").response().into_body();
    flow.data("one");
    assert_eq!(read(&mut late), Read::Open("one".to_owned()), "who is not polled holds up nobody");
    for call in &mut unpolled {
        assert_eq!(read(&mut call.response().into_body()), Read::Open("one".to_owned()));
    }
}

#[tokio::test]
async fn it_leads_anew_after_the_body_has_failed() {
    let mut bench = Bench::new();
    let (mut leader, flow) = led(&mut bench, &[FRESH]).await;
    let _second = bench.get("/a").response();
    flow.fail("reset");
    assert_eq!(read(&mut leader), Read::Broken(String::new(), "reset".to_owned()));
    assert!(!joins(&mut bench, get("/a", &[])));
}

#[tokio::test]
async fn it_leads_anew_after_all_readers_have_gone() {
    let mut bench = Bench::new();
    let (leader, flow) = led(&mut bench, &[FRESH]).await;
    drop(leader);
    assert!(flow.is_dropped());
    assert!(!joins(&mut bench, get("/a", &[])));
}

#[tokio::test]
async fn a_late_arrival_keeps_the_body_when_the_leader_goes() {
    let mut bench = Bench::new();
    let (leader, flow) = led(&mut bench, &[FRESH]).await;
    let mut late = bench.get("/a").response().into_body();
    drop(leader);
    flow.data("one");
    assert_eq!(read(&mut late), Read::Open("one".to_owned()));
    drop(late);
    assert!(flow.is_dropped());
}

#[tokio::test]
async fn the_latest_stream_of_a_key_is_the_one_to_join() {
    let mut bench = Bench::new();
    let (_old, old_flow) = led(&mut bench, &[FRESH]).await;
    let reload = get("/a", &[("cache-control", "no-cache")]);
    let (_new, new_flow) = led_by(&mut bench, reload, &[FRESH]).await;
    let mut late = bench.get("/a").response().into_body();
    old_flow.data("old");
    new_flow.data("new");
    assert_eq!(read(&mut late), Read::Open("new".to_owned()));
    drop(_old);
    assert!(joins(&mut bench, get("/a", &[])), "the end of the old one does not unlist the new");
}

#[tokio::test]
async fn what_an_earlier_stream_kept_for_newcomers_is_freed_when_they_go_to_the_latest() {
    let mut bench = Bench::with(HttpPolicy::default().body_budget(12));
    let (mut old, old_flow) = led(&mut bench, &[FRESH]).await;
    let mut old_late = bench.get("/a").response().into_body();
    old_flow.data("123456");
    assert_eq!(
        (read(&mut old), read(&mut old_late)),
        (Read::Open("123456".into()), Read::Open("123456".into()))
    );
    let reload = get("/a", &[("cache-control", "no-cache")]);
    let (mut new, new_flow) = led_by(&mut bench, reload, &[FRESH]).await;
    let _new_late = bench.get("/a").response().into_body();
    new_flow.data("123456");
    assert_eq!(read(&mut new), Read::Open("123456".to_owned()));
    assert!(joins(&mut bench, get("/a", &[])), "six bytes of twelve are held, and not twelve");
}

/// A key that tells how many of it there are.
struct Counted(#[allow(dead_code, reason = "only counted")] Arc<()>);

impl Hash for Counted {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl PartialEq for Counted {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Counted {}

#[tokio::test]
async fn nothing_is_kept_when_a_body_ends_or_fails_or_is_left() {
    let token = Arc::new(());
    let key = token.clone();
    let layer = SingleflightLayer::new(move |_| Counted(key.clone()));
    let upstream = Upstream::default();
    let mut service = layer.layer(upstream.clone());
    // The closure has one.
    let kept = || Arc::strong_count(&token) - 2;
    for end in 0..3 {
        let mut call = tokio_test::task::spawn(service.call(get("/a", &[])));
        assert!(call.poll().is_pending());
        let (flow, body) = flow();
        upstream.next().answer(with_body(200, &[FRESH], body));
        let Poll::Ready(Ok(leader)) = call.poll() else { panic!("no answer") };
        let Poll::Ready(Ok(late)) = tokio_test::task::spawn(service.call(get("/a", &[]))).poll()
        else {
            panic!("it did not join")
        };
        assert_ne!(kept(), 0, "it is listed");
        let (mut leader, mut late) = (leader.into_body(), late.into_body());
        match end {
            0 => drop(flow),
            1 => flow.fail("reset"),
            _ => flow.data("more"),
        }
        let _ = read(&mut leader);
        if end == 2 {
            drop(leader);
            drop(late);
            assert_eq!(kept(), 0, "all have gone");
        } else {
            assert_eq!(kept(), 0, "the body is over, though one has yet to read it");
            let _ = read(&mut late);
        }
    }
}

type Outer = BoxCloneSyncService<Request<Full<Bytes>>, Response<SharedBody>, Infallible>;

/// A body that asks for its own key before its first frame.
#[tokio::test]
async fn a_body_that_asks_for_its_own_key_does_not_wait_for_itself() {
    let outer: Arc<OnceLock<Outer>> = Arc::default();
    let again = outer.clone();
    let inner = service_fn(move |request: Request<Full<Bytes>>| {
        let outer = again.get().unwrap().clone();
        async move {
            let body: UnsyncBoxBody<Bytes, BoxError> =
                if request.extensions().get::<Role>().is_some() {
                    Full::<Bytes>::from("inner").map_err(|never| match never {}).boxed_unsync()
                } else {
                    let frame = async move {
                        let mut inside = get("/a", &[]);
                        inside.extensions_mut().insert(Role::Leader);
                        let response = outer.oneshot(inside).await.unwrap();
                        let text = response.into_body().collect().await.unwrap().to_bytes();
                        Ok(Frame::data(Bytes::from([b"outer of ", &text[..]].concat())))
                    };
                    StreamBody::new(futures_util::stream::once(frame)).boxed_unsync()
                };
            let response =
                Response::builder().header("cache-control", "max-age=60").body(body).unwrap();
            Ok::<_, Infallible>(response)
        }
    });
    assert!(outer.set(BoxCloneSyncService::new(by_uri().layer(inner))).is_ok());
    let service = outer.get().unwrap().clone();
    let leader = service.clone().oneshot(get("/a", &[])).await.unwrap();
    let late = service.clone().oneshot(get("/a", &[])).await.unwrap();
    assert_eq!(role(&late), Some(Role::Follower));
    let both = async { tokio::join!(leader.into_body().collect(), late.into_body().collect()) };
    let (leader, late) = crate::support::within(both).await;
    assert_eq!(
        (leader.unwrap().to_bytes(), late.unwrap().to_bytes()),
        ("outer of inner".into(), "outer of inner".into())
    );
}

/// Through a flight of another key that is led inside the body.
#[tokio::test]
async fn a_body_that_asks_for_its_own_key_by_a_detour_does_not_wait_for_itself() {
    let outer: Arc<OnceLock<Outer>> = Arc::default();
    let again = outer.clone();
    let inner = service_fn(
        move |request: Request<Full<Bytes>>| -> BoxFuture<'static, Result<_, Infallible>> {
            let outer = again.get().unwrap().clone();
            let path = request.uri().path().to_owned();
            let innermost = request.extensions().get::<Role>().is_some();
            Box::pin(async move {
                let ask = |path: &'static str| {
                    let mut inside = get(path, &[]);
                    inside.extensions_mut().insert(Role::Leader);
                    outer.clone().oneshot(inside)
                };
                let body: UnsyncBoxBody<Bytes, BoxError> = match &*path {
                    "/b" => {
                        // Polled on a task by now, if somebody joined.
                        tokio::task::yield_now().await;
                        let text = ask("/a")
                            .await
                            .unwrap()
                            .into_body()
                            .collect()
                            .await
                            .unwrap()
                            .to_bytes();
                        Full::from(text).map_err(|never| match never {}).boxed_unsync()
                    }
                    _ if innermost => {
                        Full::<Bytes>::from("inner").map_err(|never| match never {}).boxed_unsync()
                    }
                    _ => {
                        let frame = async move {
                            let response = outer.clone().oneshot(get("/b", &[])).await.unwrap();
                            Ok(Frame::data(
                                response.into_body().collect().await.unwrap().to_bytes(),
                            ))
                        };
                        StreamBody::new(futures_util::stream::once(frame)).boxed_unsync()
                    }
                };
                Ok(Response::builder().header("cache-control", "max-age=60").body(body).unwrap())
            })
        },
    );
    assert!(outer.set(BoxCloneSyncService::new(by_uri().layer(inner))).is_ok());
    let service = outer.get().unwrap().clone();
    let leader = service.clone().oneshot(get("/a", &[])).await.unwrap();
    let mut body = leader.into_body();
    assert_eq!(read(&mut body), Read::Open(String::new()), "the body has asked for the other key");
    let joined = tokio::spawn(service.clone().oneshot(get("/b", &[])));
    assert_eq!(crate::support::within(body.collect()).await.unwrap().to_bytes(), "inner");
    assert_eq!(text(crate::support::within(joined).await.unwrap().unwrap()), "inner");
}

/// And which waits for the body, whoever polls that.
#[tokio::test]
async fn a_body_that_asks_for_the_flight_that_it_was_led_in_does_not_wait_for_it() {
    let outer: Arc<OnceLock<Outer>> = Arc::default();
    let (again, goes_on) = (outer.clone(), Arc::new(Notify::new()));
    let gate = goes_on.clone();
    let inner = service_fn(
        move |request: Request<Full<Bytes>>| -> BoxFuture<'static, Result<_, Infallible>> {
            let (outer, gate) = (again.get().unwrap().clone(), gate.clone());
            let path = request.uri().path().to_owned();
            let innermost = request.extensions().get::<Role>().is_some();
            Box::pin(async move {
                let plain = |text: Bytes| {
                    Response::new(Full::from(text).map_err(|never| match never {}).boxed_unsync())
                };
                if innermost {
                    return Ok(plain("inner".into()));
                }
                if path == "/outer" {
                    let body = outer.oneshot(get("/a", &[])).await.unwrap().into_body();
                    gate.notified().await;
                    return Ok(plain(body.collect().await.unwrap().to_bytes()));
                }
                let frame = async move {
                    let mut inside = get("/outer", &[]);
                    inside.extensions_mut().insert(Role::Leader);
                    let body = outer.oneshot(inside).await.unwrap().into_body();
                    Ok(Frame::data(body.collect().await.unwrap().to_bytes()))
                };
                let body: UnsyncBoxBody<Bytes, BoxError> =
                    StreamBody::new(futures_util::stream::once(frame)).boxed_unsync();
                Ok(Response::builder().header("cache-control", "max-age=60").body(body).unwrap())
            })
        },
    );
    assert!(outer.set(BoxCloneSyncService::new(by_uri().layer(inner))).is_ok());
    let service = outer.get().unwrap().clone();
    let mut leader = task::spawn(service.clone().oneshot(get("/outer", &[])));
    assert_pending!(leader.poll());
    let late = service.clone().oneshot(get("/a", &[])).await.unwrap();
    assert_eq!(role(&late), Some(Role::Follower));
    assert_eq!(text(late), "inner");
    goes_on.notify_one();
    assert!(leader.is_woken());
    assert_eq!(text(crate::support::within(leader).await.unwrap()), "inner");
}

#[tokio::test]
async fn late_arrivals_are_answered_in_their_first_poll() {
    let mut bench = Bench::new();
    let _leader = led(&mut bench, &[FRESH]).await;
    let mut service = Box::pin(async { bench.get("/a").waits() });
    assert_eq!(service.as_mut().poll(&mut Context::from_waker(&noop_waker())), Poll::Ready(false));
}

#[tokio::test]
async fn an_empty_body_keeps_no_door_open() {
    let mut bench = Bench::with(HttpPolicy::default().late_joins(LateJoin::Always));
    let mut leader: Call = bench.get("/a");
    bench.answer(ok("")).await;
    let _leader = leader.response();
    assert!(!joins(&mut bench, get("/a", &[])));
}

/// The head is listed, and the flight has not landed yet: a newcomer reads the body, which asks for
/// its own key.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_body_that_is_read_before_its_flight_has_landed_does_not_wait_for_itself() {
    type Pause = (mpsc::Sender<()>, mpsc::Receiver<()>);
    thread_local!(static PAUSE: RefCell<Option<Pause>> = const { RefCell::new(None) });
    #[derive(PartialEq, Eq, Hash)]
    struct Key(String);
    impl Drop for Key {
        fn drop(&mut self) {
            if let Ok(Some((listed, goes_on))) = PAUSE.try_with(RefCell::take) {
                listed.send(()).unwrap();
                goes_on.recv_timeout(Duration::from_secs(5)).expect("told to go on");
            }
        }
    }
    let outer: Arc<OnceLock<Outer>> = Arc::default();
    let again = outer.clone();
    let (listed, is_listed) = mpsc::channel();
    let (go_on, goes_on) = mpsc::channel();
    let pause = Arc::new(Mutex::new(Some((listed, goes_on))));
    let inner = service_fn(move |request: Request<Full<Bytes>>| {
        let outer = again.get().unwrap().clone();
        let innermost = request.extensions().get::<Role>().is_some();
        let second = request.headers().contains_key("cache-control");
        let body: UnsyncBoxBody<Bytes, BoxError> = if innermost {
            Full::<Bytes>::from("inner").map_err(|never| match never {}).boxed_unsync()
        } else if second {
            // The next key that this thread drops is that of the stream that this one's takes the
            // place of.
            PAUSE.set(pause.lock().unwrap().take());
            let frame = async move {
                let mut inside = get("/a", &[]);
                inside.extensions_mut().insert(Role::Leader);
                let body = outer.oneshot(inside).await.unwrap().into_body();
                Ok(Frame::data(body.collect().await.unwrap().to_bytes()))
            };
            StreamBody::new(futures_util::stream::once(frame)).boxed_unsync()
        } else {
            StreamBody::new(futures_util::stream::pending()).boxed_unsync()
        };
        let response =
            Response::builder().header("cache-control", "max-age=60").body(body).unwrap();
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let layer =
        SingleflightLayer::new(|request: &Request<()>| Key(request.uri().path().to_owned()));
    assert!(outer.set(BoxCloneSyncService::new(layer.layer(inner))).is_ok());
    let service = outer.get().unwrap().clone();
    let _earlier = service.clone().oneshot(get("/a", &[])).await.unwrap();
    let leader = tokio::spawn(service.clone().oneshot(get("/a", &[("cache-control", "no-cache")])));
    tokio::task::spawn_blocking(move || is_listed.recv().unwrap()).await.unwrap();
    let late = service.clone().oneshot(get("/a", &[])).await.unwrap();
    assert_eq!(role(&late), Some(Role::Follower));
    let mut body = late.into_body();
    assert_eq!(read(&mut body), Read::Ended("inner".to_owned()));
    go_on.send(()).unwrap();
    assert_eq!(text(leader.await.unwrap().unwrap()), "inner");
}

#[tokio::test(start_paused = true)]
async fn what_arrives_late_carries_its_age() {
    let ages: [(&[&str], u64, &str); 5] = [
        (&[], 0, "0"),
        (&[], 5, "5"),
        (&["10"], 5, "15"),
        (&["1, 3", "2"], 0, "3"),
        (&["old"], 5, "5"),
    ];
    for (said, seconds, carries) in ages {
        let mut bench = Bench::with(HttpPolicy::default().late_joins(LateJoin::Always));
        let mut leader = bench.get("/a");
        let (_flow, body) = flow();
        let mut response = with_body(200, &[("cache-control", "max-age=60")], body);
        response
            .headers_mut()
            .extend(said.iter().map(|age| (AGE, age.parse::<HeaderValue>().unwrap())));
        bench.answer(response).await;
        let led = leader.response();
        assert_eq!(led.headers().get_all(AGE).iter().collect::<Vec<_>>(), said);
        tokio::time::advance(Duration::from_secs(seconds)).await;
        let late = bench.get("/a").response();
        assert_eq!(late.headers().get_all(AGE).iter().collect::<Vec<_>>(), [carries], "{said:?}");
    }
}
