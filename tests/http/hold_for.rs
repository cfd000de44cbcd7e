//! A response may be joined for a while after it landed, also when its body has ended.

use crate::support::{
    Ask, Bench, Flow, Read, ask, by_uri, flow, get, name, ok, paused, read, reply, role, settle,
    text, with_body,
};
use bytes::Bytes;
use http::{Method, Request, Response, header::AGE};
use http_body_util::{BodyExt, Empty, Full};
use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::time::advance;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_singleflight::{
    Handle, HttpPolicy, LateJoin, Role, SharedBody, SingleflightLayer, mode::Http,
};

const TIME: Duration = Duration::from_millis(50);
const TICK: Duration = Duration::from_millis(1);
const FRESH: (&str, &str) = ("cache-control", "max-age=60");

fn holding() -> SingleflightLayer<Http<String>> {
    by_uri().hold_for(TIME)
}

fn holding_always() -> SingleflightLayer<Http<String>> {
    holding().policy(HttpPolicy::default().late_joins(LateJoin::Always))
}

/// Makes a call, answers it, and reads the response to its end.
async fn land(
    bench: &mut Bench,
    request: Ask,
    response: Response<crate::support::Body>,
) -> Response<SharedBody> {
    let mut leader = bench.send(request);
    assert!(leader.waits(), "it leads");
    bench.answer(response).await;
    let (head, mut body) = leader.response().into_parts();
    assert!(matches!(read(&mut body), Read::Ended(_) | Read::Broken(..)));
    drop(body);
    settle().await;
    Response::from_parts(head, SharedBody::default())
}

/// Whether a newcomer gets the response of before, without a call.
#[track_caller]
fn joins(bench: &mut Bench, request: Ask) -> bool {
    let before = bench.calls();
    let mut call = bench.send(request);
    if call.waits() {
        drop(call);
        bench.upstream.next();
        return false;
    }
    assert_eq!((role(&call.response()), bench.calls()), (Some(Role::Follower), before));
    true
}

/// Whether a response to a plain request is held.
async fn is_held(
    layer: SingleflightLayer<Http<String>>,
    response: Response<crate::support::Body>,
) -> bool {
    let mut bench = Bench::of(&layer);
    land(&mut bench, get("/a", &[]), response).await;
    joins(&mut bench, get("/a", &[]))
}

async fn pass(time: Duration) {
    advance(time).await;
    settle().await;
}

/// Data that tells when it is dropped.
fn tracked(text: &'static str) -> (Bytes, Arc<()>) {
    struct Tracked(&'static str, #[allow(dead_code, reason = "only counted")] Arc<()>);
    impl AsRef<[u8]> for Tracked {
        fn as_ref(&self) -> &[u8] {
            self.0.as_bytes()
        }
    }
    let living = Arc::new(());
    (Bytes::from_owner(Tracked(text, living.clone())), living)
}

fn reply_with(headers: &[(&str, &str)], data: Bytes) -> Response<crate::support::Body> {
    with_body(200, headers, Full::new(data).map_err(|never| match never {}).boxed_unsync())
}

#[tokio::test(start_paused = true)]
async fn five_requests_each_two_milliseconds_after_the_last_landed_are_one_call() {
    let mut bench = Bench::of(&holding());
    land(&mut bench, get("/a", &[]), reply(200, &[FRESH], "once")).await;
    for _ in 0..4 {
        pass(2 * TICK).await;
        let mut straggler = bench.get("/a");
        assert_eq!(straggler.text(), "once");
    }
    let stats = bench.stats();
    assert_eq!(
        (bench.calls(), stats.led, stats.joined, stats.in_flight, stats.waiting),
        (1, 1, 4, 0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_write_in_between_makes_it_two_calls() {
    for written in ["/a", "/a?of=another"] {
        let mut bench = Bench::of(&holding());
        land(&mut bench, get("/a", &[]), reply(200, &[FRESH], "from before")).await;
        assert!(joins(&mut bench, get("/a", &[])));
        let write = bench.send(ask(Method::POST, written, &[]));
        assert!(!joins(&mut bench, get("/a", &[])), "{written}");
        drop(write);
    }
}

#[tokio::test(start_paused = true)]
async fn a_held_response_is_dropped_when_its_time_is_over_and_not_at_the_next_call() {
    let mut bench = Bench::of(&holding());
    let (data, living) = tracked("once");
    land(&mut bench, get("/a", &[]), reply_with(&[FRESH], data)).await;
    pass(TIME - TICK).await;
    assert!(joins(&mut bench, get("/a", &[])));
    assert_eq!(Arc::strong_count(&living), 2);
    pass(TICK).await;
    assert_eq!(Arc::strong_count(&living), 1);
    assert!(!joins(&mut bench, get("/a", &[])));
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_joined_in_time_gets_all_of_it_however_late_it_reads() {
    let mut bench = Bench::of(&holding());
    let (data, living) = tracked("once");
    land(&mut bench, get("/a", &[]), reply_with(&[FRESH], data)).await;
    let mut straggler = bench.get("/a");
    let response = straggler.response();
    pass(2 * TIME).await;
    assert_eq!(text(response), "once");
    assert_eq!(Arc::strong_count(&living), 1);
}

#[tokio::test(start_paused = true)]
async fn without_hold_for_and_with_zero_nothing_is_held() {
    assert!(!is_held(by_uri(), reply(200, &[FRESH], "once")).await);
    assert!(!is_held(holding().hold_for(Duration::ZERO), reply(200, &[FRESH], "once")).await);
}

#[tokio::test(start_paused = true)]
async fn only_a_response_that_says_that_it_is_fresh_is_held_unless_late_joins_are_always_allowed() {
    for line in ["max-age=1", "s-maxage=1", "public, max-age=5"] {
        assert!(is_held(holding(), reply(200, &[("cache-control", line)], "")).await, "{line}");
        assert!(is_held(holding(), reply(200, &[("cache-control", line)], "text")).await, "{line}");
    }
    for line in ["public", "max-age=0", "max-age=60, s-maxage=0", "immutable"] {
        assert!(!is_held(holding(), reply(200, &[("cache-control", line)], "")).await, "{line}");
        assert!(
            !is_held(holding(), reply(200, &[("cache-control", line)], "text")).await,
            "{line}"
        );
    }
    assert!(
        !is_held(holding(), reply(200, &[("cache-control", "max-age=5"), ("age", "5")], "text"))
            .await
    );
    assert!(!is_held(holding(), ok("text")).await);
    assert!(is_held(holding_always(), ok("text")).await);
    assert!(is_held(holding_always(), ok("")).await);
}

#[tokio::test(start_paused = true)]
async fn with_late_joins_forbidden_or_max_waiters_nothing_is_held() {
    let never = holding().policy(HttpPolicy::default().late_joins(LateJoin::Never));
    assert!(!is_held(never, reply(200, &[FRESH], "text")).await);
    assert!(!is_held(holding().max_waiters(10), reply(200, &[FRESH], "text")).await);
}

#[tokio::test(start_paused = true)]
async fn a_5xx_is_never_held() {
    for status in [500, 502, 503, 504] {
        assert!(!is_held(holding(), reply(status, &[FRESH], "broken")).await, "{status}");
        assert!(!is_held(holding_always(), reply(status, &[FRESH], "")).await, "{status}");
    }
    assert!(is_held(holding(), reply(404, &[FRESH], "missing")).await);
}

#[tokio::test(start_paused = true)]
async fn an_error_is_never_held() {
    let mut bench = Bench::of(&holding_always());
    let mut leader = bench.get("/a");
    bench.upstream.next().fail("refused");
    assert!(leader.result().is_err());
    assert!(!joins(&mut bench, get("/a", &[])));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_never_held() {
    for status in [401, 403, 429] {
        assert!(!is_held(holding_always(), reply(status, &[FRESH], "no")).await, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_for_its_leader_alone_is_never_held() {
    for header in [("set-cookie", "id=1"), ("cache-control", "private, max-age=60"), ("vary", "*")]
    {
        let policy = HttpPolicy::default()
            .late_joins(LateJoin::Always)
            .unshareable_memory(0, Duration::ZERO);
        assert!(
            !is_held(holding().policy(policy), reply(200, &[header], "mine")).await,
            "{header:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_without_a_body_is_held() {
    let mut bench = Bench::of(&holding());
    let head = || ask(Method::HEAD, "/a", &[]);
    land(&mut bench, head(), reply(200, &[FRESH, ("content-length", "7")], "")).await;
    assert!(!joins(&mut bench, get("/a", &[])), "a GET is apart");
    let mut straggler = bench.send(head());
    let response = straggler.response();
    assert_eq!(
        (role(&response), &response.headers()["content-length"]),
        (Some(Role::Follower), "7".parse().as_ref().unwrap())
    );
    assert_eq!(text(response), "");
    pass(TIME).await;
    assert!(!joins(&mut bench, head()));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_streamed_is_held_whole_with_its_trailers() {
    let mut bench = Bench::of(&holding());
    let (mut body, flow) = streaming(&mut bench).await;
    flow.data("one ");
    flow.data("two");
    flow.trailer("x-sum", "3");
    drop(flow);
    assert_eq!(read(&mut body), Read::Ended("one two<x-sum: 3>".to_owned()));
    drop(body);
    let mut straggler = bench.get("/a").response().into_body();
    assert_eq!(read(&mut straggler), Read::Ended("one two<x-sum: 3>".to_owned()));
    assert_eq!(bench.calls(), 1);
}

/// A leader that has its fresh head, and whose body is open.
async fn streaming(bench: &mut Bench) -> (SharedBody, Flow) {
    let mut leader = bench.get("/a");
    let (flow, body) = flow();
    bench.answer(with_body(200, &[FRESH], body)).await;
    (leader.response().into_body(), flow)
}

#[tokio::test(start_paused = true)]
async fn the_time_counts_from_the_head_and_late_joins_end_with_a_body_that_ends_after_it() {
    let mut bench = Bench::of(&holding());
    let (mut body, flow) = streaming(&mut bench).await;
    pass(TIME).await;
    assert!(joins(&mut bench, get("/a", &[])), "the body streams");
    drop(flow);
    assert_eq!(read(&mut body), Read::Ended(String::new()));
    assert!(!joins(&mut bench, get("/a", &[])));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_ends_in_time_is_held_for_the_rest_of_it() {
    let mut bench = Bench::of(&holding());
    let (mut body, flow) = streaming(&mut bench).await;
    pass(TIME / 2).await;
    drop(flow);
    assert_eq!(read(&mut body), Read::Ended(String::new()));
    pass(TIME / 2 - TICK).await;
    assert!(joins(&mut bench, get("/a", &[])));
    pass(TICK).await;
    assert!(!joins(&mut bench, get("/a", &[])));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_fails_or_is_cut_short_is_not_held() {
    let mut bench = Bench::of(&holding());
    let (mut body, flow) = streaming(&mut bench).await;
    let (data, living) = tracked("part");
    flow.data(data);
    flow.fail("reset");
    assert!(matches!(read(&mut body), Read::Broken(..)));
    assert!(!joins(&mut bench, get("/a", &[])));
    drop((body, flow));
    settle().await;
    assert_eq!(Arc::strong_count(&living), 1);

    let short = http_body_util::StreamBody::new(futures_util::stream::once(async {
        Ok::<_, tower_singleflight::BoxError>(http_body::Frame::data(Bytes::from("part")))
    }));
    let short = Announced { body: Box::pin(short), length: 9 };
    let mut bench = Bench::of(&holding());
    land(&mut bench, get("/a", &[]), with_body(200, &[FRESH], short.boxed_unsync())).await;
    assert!(!joins(&mut bench, get("/a", &[])));
}

/// A body that announces another length than it has.
struct Announced<B> {
    body: std::pin::Pin<Box<B>>,
    length: u64,
}

impl<B: http_body::Body> http_body::Body for Announced<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<B::Data>, B::Error>>> {
        self.body.as_mut().poll_frame(cx)
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.length)
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_all_readers_left_before_its_end_is_not_held() {
    let mut bench = Bench::of(&holding());
    let (mut body, flow) = streaming(&mut bench).await;
    flow.data("part");
    assert_eq!(read(&mut body), Read::Open("part".to_owned()));
    drop(body);
    assert!(flow.is_dropped());
    assert!(!joins(&mut bench, get("/a", &[])));
}

#[tokio::test(start_paused = true)]
async fn a_body_is_held_up_to_keep_start() {
    for (length, held) in [(10, true), (11, false)] {
        let layer = holding().policy(HttpPolicy::default().keep_start(10));
        assert_eq!(
            is_held(layer, reply(200, &[FRESH], "x".repeat(length))).await,
            held,
            "{length}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_held_counts_into_the_budget_and_is_given_back() {
    let policy = HttpPolicy::default().body_budget(20);
    let mut bench = Bench::of(&holding().policy(policy));
    land(&mut bench, get("/a", &[]), reply(200, &[FRESH], "x".repeat(10))).await;
    assert!(joins(&mut bench, get("/a", &[])));
    // Only half of the budget is for newcomers.
    land(&mut bench, get("/b", &[]), reply(200, &[FRESH], "x")).await;
    assert!(!joins(&mut bench, get("/b", &[])));
    pass(TIME).await;
    land(&mut bench, get("/c", &[]), reply(200, &[FRESH], "x".repeat(10))).await;
    assert!(joins(&mut bench, get("/c", &[])));
    bench.handle.forget_all();
    land(&mut bench, get("/d", &[]), reply(200, &[FRESH], "x".repeat(10))).await;
    assert!(joins(&mut bench, get("/d", &[])));
}

#[tokio::test(start_paused = true)]
async fn what_is_held_makes_way_when_readers_spend_the_budget() {
    let policy = HttpPolicy::default().body_budget(20);
    let mut bench = Bench::of(&holding().policy(policy));
    let (data, living) = tracked("ten bytes.");
    land(&mut bench, get("/a", &[]), reply_with(&[FRESH], data)).await;
    let (mut leader, mut slow) = (bench.get("/b"), bench.get("/b"));
    settle().await;
    bench.answer(reply(200, &[], "x".repeat(10))).await;
    let (mut leader, slow) = (leader.response().into_body(), slow.response());
    assert_eq!(read(&mut leader), Read::Ended("x".repeat(10)));
    assert_eq!(Arc::strong_count(&living), 2);
    assert!(bench.get("/c").waits(), "a newcomer asks for room");
    assert_eq!(Arc::strong_count(&living), 1);
    assert_eq!(text(slow), "x".repeat(10));
}

#[tokio::test(start_paused = true)]
async fn what_joins_a_held_response_has_the_head_and_the_age_of_a_late_join() {
    let policy =
        HttpPolicy::default().cache_status("gateway").own_response_header(name("x-request-id"));
    let mut bench = Bench::of(&by_uri().hold_for(Duration::from_secs(5)).policy(policy));
    let headers = [FRESH, ("age", "7"), ("x-a", "1"), ("x-request-id", "leader")];
    let led = land(&mut bench, get("/a", &[]), reply(200, &headers, "once")).await;
    assert_eq!(led.headers()[AGE], "7");
    pass(Duration::from_secs(3)).await;
    let response = bench.send(get("/a", &[("x-request-id", "straggler")])).response();
    assert_eq!(
        (role(&response), response.headers()[AGE].to_str().unwrap()),
        (Some(Role::Follower), "10")
    );
    assert_eq!(response.headers()["cache-status"], "gateway; fwd=uri-miss; collapsed");
    assert_eq!(
        (&response.headers()["x-a"], &response.headers()["x-request-id"]),
        (&"1".parse().unwrap(), &"straggler".parse().unwrap())
    );
}

#[tokio::test(start_paused = true)]
async fn forget_and_its_siblings_and_the_switch_drop_what_is_held() {
    type End = fn(&Handle<String>);
    let enders: [(&str, End); 4] = [
        ("forget", |handle| handle.forget("/a")),
        ("forget_if", |handle| handle.forget_if(|key| key == "/a")),
        ("forget_all", |handle| handle.forget_all()),
        ("set_enabled", |handle| handle.set_enabled(false)),
    ];
    for body in ["", "text"] {
        for (what, end) in enders {
            let mut bench = Bench::of(&holding());
            let (data, living) = tracked(body);
            land(&mut bench, get("/a", &[]), reply_with(&[FRESH], data)).await;
            end(&bench.handle);
            assert_eq!(Arc::strong_count(&living), 1, "{what}");
            bench.handle.set_enabled(true);
            assert!(!joins(&mut bench, get("/a", &[])), "{what}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_whose_flight_was_forgotten_or_written_to_before_the_head_is_not_held() {
    for body in ["", "text"] {
        for writes in [false, true] {
            let mut bench = Bench::of(&holding());
            let mut leader = bench.get("/a");
            let open = bench.upstream.next();
            if writes {
                drop(bench.send(ask(Method::PUT, "/a", &[])));
                bench.upstream.next();
            } else {
                bench.handle.forget("/a");
            }
            open.answer(reply(200, &[FRESH], body));
            settle().await;
            assert_eq!(leader.text(), body);
            assert!(!joins(&mut bench, get("/a", &[])));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_is_held_only_while_it_is_fresh() {
    let mut bench = Bench::of(&by_uri().hold_for(Duration::from_secs(5)));
    let (data, living) = tracked("once");
    land(&mut bench, get("/a", &[]), reply_with(&[("cache-control", "max-age=1")], data)).await;
    pass(Duration::from_millis(999)).await;
    assert!(joins(&mut bench, get("/a", &[])));
    pass(TICK).await;
    assert_eq!(Arc::strong_count(&living), 1);
    assert!(!joins(&mut bench, get("/a", &[])));
}

#[tokio::test(start_paused = true)]
async fn a_response_is_held_only_while_its_flight_is_young_enough() {
    let mut bench = Bench::of(&holding().join_within(TIME / 2));
    land(&mut bench, get("/a", &[]), reply(200, &[FRESH], "once")).await;
    pass(TIME / 2 - TICK).await;
    assert!(joins(&mut bench, get("/a", &[])));
    pass(TICK).await;
    assert!(!joins(&mut bench, get("/a", &[])));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_wants_a_fresh_answer_does_not_get_a_held_one() {
    let mut bench = Bench::of(&holding());
    land(&mut bench, get("/a", &[]), reply(200, &[FRESH], "once")).await;
    assert!(!joins(&mut bench, get("/a", &[("cache-control", "no-cache")])));
    assert!(joins(&mut bench, get("/a", &[])));
}

#[tokio::test(start_paused = true)]
async fn a_held_response_is_for_requests_of_its_partition_and_its_vary_alone() {
    let mut bench = Bench::of(&holding());
    let leads = get("/a", &[("x-lang", "de")]);
    land(&mut bench, leads, reply(200, &[FRESH, ("vary", "x-lang")], "Hallo")).await;
    assert!(joins(&mut bench, get("/a", &[("x-lang", "de")])));
    assert!(!joins(&mut bench, get("/a", &[("x-lang", "en")])));
    assert!(!joins(&mut bench, get("/a", &[("x-lang", "de"), ("cookie", "id=1")])));
    assert!(!joins(&mut bench, get("/a?b", &[("x-lang", "de")])));
}

#[tokio::test(start_paused = true)]
async fn a_newer_response_takes_the_place_of_a_held_one() {
    let mut bench = Bench::of(&holding());
    let (data, living) = tracked("old");
    land(&mut bench, get("/a", &[]), reply_with(&[FRESH], data)).await;
    pass(TIME / 2).await;
    land(&mut bench, get("/a", &[("cache-control", "no-cache")]), reply(200, &[FRESH], "new"))
        .await;
    assert_eq!(Arc::strong_count(&living), 1);
    assert_eq!(bench.get("/a").text(), "new");
    pass(TIME / 2).await;
    assert_eq!(bench.get("/a").text(), "new", "the timer of the old one has run");
    pass(TIME / 2).await;
    assert!(!joins(&mut bench, get("/a", &[])));
}

#[tokio::test(start_paused = true)]
async fn dropping_the_service_the_layer_and_the_handle_drops_what_is_held() {
    let layer = holding();
    let mut bench = Bench::of(&layer);
    let (data, living) = tracked("once");
    land(&mut bench, get("/a", &[]), reply_with(&[FRESH], data)).await;
    drop(layer);
    assert_eq!(Arc::strong_count(&living), 2);
    drop(bench);
    assert_eq!(Arc::strong_count(&living), 1);
}

#[tokio::test(start_paused = true)]
async fn the_last_reader_drops_what_would_be_held_if_the_service_is_gone() {
    let mut bench = Bench::of(&holding());
    let (mut body, flow) = streaming(&mut bench).await;
    let (data, living) = tracked("once");
    flow.data(data);
    drop((flow, bench));
    assert_eq!(read(&mut body), Read::Ended("once".to_owned()));
    drop(body);
    assert_eq!(Arc::strong_count(&living), 1);
}

#[test]
fn outside_a_runtime_nothing_is_held() {
    let service = holding().layer(service_fn(|_: Request<Empty<Bytes>>| async {
        let response = Response::builder().header(FRESH.0, FRESH.1);
        Ok::<_, Infallible>(response.body(Full::new(Bytes::from("once"))).unwrap())
    }));
    let request = || Request::get("/a").body(Empty::new()).unwrap();
    let response = tokio_test::task::spawn(service.clone().oneshot(request())).poll();
    let std::task::Poll::Ready(Ok(response)) = response else { panic!("it is ready at once") };
    assert_eq!(role(&response), Some(Role::Leader));
    assert_eq!(text(response), "once");
    let response = tokio_test::task::spawn(service.oneshot(request())).poll();
    let std::task::Poll::Ready(Ok(response)) = response else { panic!("it is ready at once") };
    assert_eq!(role(&response), Some(Role::Leader));
}

#[test]
fn what_is_held_is_dropped_with_the_runtime_of_its_timer() {
    let mut bench = Bench::of(&holding());
    let (data, living) = tracked("once");
    let runtime = paused();
    runtime.block_on(land(&mut bench, get("/a", &[]), reply_with(&[FRESH], data)));
    assert_eq!(Arc::strong_count(&living), 2);
    drop(runtime);
    assert_eq!(Arc::strong_count(&living), 1);
}

#[tokio::test(start_paused = true)]
async fn requests_that_share_by_their_bodies_join_what_is_held() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let layer =
        SingleflightLayer::with_body(100, |request: &Request<Bytes>| Some(request.body().clone()))
            .hold_for(TIME);
    let service = layer.layer(service_fn(move |_: Request<Full<Bytes>>| {
        counted.fetch_add(1, SeqCst);
        async {
            let response = Response::builder().header(FRESH.0, FRESH.1);
            Ok::<_, Infallible>(response.body(Full::new(Bytes::from("answer"))).unwrap())
        }
    }));
    for (prompt, total) in [("a", 1), ("a", 1), ("b", 2), ("a", 2)] {
        let request = Request::post("/ask").body(Full::new(Bytes::from(prompt))).unwrap();
        let response = service.clone().oneshot(request).await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "answer");
        assert_eq!(calls.load(SeqCst), total);
    }
    pass(TIME).await;
    assert_eq!(layer.handle().in_flight(), 0);
}

/// Between the table of flights and that of responses, no request falls through.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn in_a_storm_each_key_is_called_once_while_its_response_is_held() {
    for body in ["", "text"] {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = calls.clone();
        let layer = by_uri().hold_for(Duration::from_secs(50));
        let service = layer.layer(service_fn(move |_: Request<Empty<Bytes>>| {
            counted.fetch_add(1, SeqCst);
            async move {
                let response = Response::builder().header(FRESH.0, FRESH.1);
                Ok::<_, Infallible>(response.body(Full::new(Bytes::from(body))).unwrap())
            }
        }));
        let storm = (0..4).map(|_| {
            let service = service.clone();
            tokio::task::spawn_blocking(move || {
                tokio::runtime::Handle::current().block_on(async move {
                    for n in 0..2000 {
                        let request =
                            Request::get(format!("/{}", n / 4)).body(Empty::new()).unwrap();
                        let response = service.clone().oneshot(request).await.unwrap();
                        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), body);
                    }
                });
            })
        });
        for thread in storm.collect::<Vec<_>>() {
            thread.await.unwrap();
        }
        assert_eq!(calls.load(SeqCst), 500);
        let stats = layer.handle().stats();
        assert_eq!((stats.led, stats.joined, stats.in_flight, stats.waiting), (500, 7500, 0, 0));
    }
}

/// An inner service that runs something when it is cloned: a call clones it after it has looked for
/// a response, and before it looks for a flight.
struct Cloned {
    inner: crate::support::Upstream,
    on_clone: Arc<Mutex<Option<OnClone>>>,
}

type OnClone = Box<dyn FnOnce() + Send>;

impl Clone for Cloned {
    fn clone(&self) -> Self {
        let on_clone = self.on_clone.lock().unwrap().take();
        if let Some(run) = on_clone {
            run();
        }
        Self { inner: self.inner.clone(), on_clone: self.on_clone.clone() }
    }
}

impl Service<Ask> for Cloned {
    type Response = Response<crate::support::Body>;
    type Error = crate::support::Failure;
    type Future = <crate::support::Upstream as Service<Ask>>::Future;

    fn poll_ready(
        &mut self,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Ask) -> Self::Future {
        self.inner.call(request)
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_flight_lands_while_it_looks_for_it_gets_the_response_all_the_same() {
    for ends in [false, true] {
        let (upstream, on_clone) =
            (crate::support::Upstream::default(), Arc::new(Mutex::new(None)));
        let mut service =
            holding().layer(Cloned { inner: upstream.clone(), on_clone: on_clone.clone() });
        let mut leader = tokio_test::task::spawn(service.call(get("/a", &[])));
        assert!(leader.poll().is_pending());
        let (flow, body) = flow();
        let response = if ends { reply(200, &[FRESH], "") } else { with_body(200, &[FRESH], body) };
        upstream.next().answer(response);
        let led = Arc::new(Mutex::new(None));
        let lands = led.clone();
        *on_clone.lock().unwrap() =
            Some(Box::new(move || *lands.lock().unwrap() = Some(leader.poll())));
        let mut newcomer = tokio_test::task::spawn(service.call(get("/a", &[])));
        assert!(
            matches!(*led.lock().unwrap(), Some(std::task::Poll::Ready(Ok(_)))),
            "it has landed meanwhile"
        );
        let std::task::Poll::Ready(Ok(response)) = newcomer.poll() else {
            panic!("it leads: the body ends: {ends}")
        };
        assert_eq!((role(&response), upstream.calls()), (Some(Role::Follower), 1));
        drop(flow);
    }
}
