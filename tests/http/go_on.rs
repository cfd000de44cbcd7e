//! Followers of a refusal, or of an error, go on together: nobody pays for another client's
//! request.

use crate::support::{Ask, Bench, Call, Failure, by_uri, get, name, ok, reply, role, settle, text};
use bytes::Bytes;
use futures_util::future::{BoxFuture, join_all};
use http::Response;
use http_body_util::Full;
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::time::{Instant, sleep};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_singleflight::{Handle, HttpPolicy, Role, SharedBody, SingleflightLayer};

type Plain = Response<Full<Bytes>>;
type Answers = Vec<(u16, Option<Role>)>;

fn plain(status: u16) -> Plain {
    Response::builder().status(status).body(Full::from("body")).unwrap()
}

/// A gateway in front of an origin, and how often that is called.
#[derive(Clone)]
struct Gateway {
    calls: Arc<AtomicUsize>,
    handle: Handle<String>,
    service: tower::util::BoxCloneService<Ask, Response<SharedBody>, Failure>,
}

/// In front of one that answers what `answer` says.
fn gateway<F, Fut>(policy: HttpPolicy, answer: F) -> Gateway
where
    F: Fn(Ask) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Plain> + Send + 'static,
{
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let origin = service_fn(move |request: Ask| {
        counted.fetch_add(1, SeqCst);
        let answer = answer(request);
        async move { Ok::<_, Failure>(answer.await) }
    });
    let layer = by_uri().policy(policy);
    Gateway { calls, handle: layer.handle(), service: layer.layer(origin).boxed_clone() }
}

impl Gateway {
    fn send(&self, request: Ask) -> BoxFuture<'static, (u16, Option<Role>)> {
        let mut service = self.service.clone();
        let call = service.call(request);
        Box::pin(async move {
            let response = call.await.unwrap();
            (response.status().as_u16(), role(&response))
        })
    }

    /// Many at once, each in a task of its own.
    async fn burst(&self, count: usize, request: impl Fn() -> Ask) -> Answers {
        let tasks: Vec<_> = (0..count).map(|_| tokio::spawn(self.send(request()))).collect();
        join_all(tasks).await.into_iter().map(Result::unwrap).collect()
    }

    fn calls(&self) -> usize {
        self.calls.swap(0, SeqCst)
    }
}

fn count(answers: &[(u16, Option<Role>)], status: u16) -> usize {
    answers.iter().filter(|(got, _)| *got == status).count()
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_does_not_turn_coalescing_off() {
    let start = Instant::now();
    let quota = Arc::new(Mutex::new((0, 0)));
    let gateway = gateway(HttpPolicy::default(), move |_| {
        let second = start.elapsed().as_secs();
        let mut quota = quota.lock().unwrap();
        *quota = if quota.0 == second { (second, quota.1 + 1) } else { (second, 1) };
        let status = if quota.1 <= 5 { 200 } else { 429 };
        async move { plain(status) }
    });
    for n in 0..5 {
        assert_eq!(gateway.send(get(&format!("/{n}"), &[])).await.0, 200);
    }
    assert_eq!(gateway.calls(), 5);
    let refused = gateway.burst(50, || get("/a", &[])).await;
    assert_eq!((count(&refused, 429), gateway.calls()), (50, 2));
    for _ in 0..5 {
        sleep(Duration::from_millis(1200)).await;
        let served = gateway.burst(50, || get("/a", &[])).await;
        assert_eq!((count(&served, 200), gateway.calls()), (50, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_scanners_403_does_not_make_a_call_for_each_browser() {
    for wait in [0, 200] {
        let gateway = gateway(HttpPolicy::default(), move |request| async move {
            let scans = request.headers().get("user-agent").is_some_and(|agent| agent == "scanner");
            sleep(Duration::from_millis(if scans { wait } else { 500 })).await;
            plain(if scans { 403 } else { 200 })
        });
        let scanner = tokio::spawn(gateway.send(get("/a", &[("user-agent", "scanner")])));
        settle().await;
        let mut browsers = Vec::new();
        for _ in 0..100 {
            browsers.push(tokio::spawn(gateway.send(get("/a", &[("user-agent", "browser")]))));
            sleep(Duration::from_millis(3)).await;
        }
        let answers: Vec<_> = join_all(browsers).await.into_iter().map(Result::unwrap).collect();
        assert_eq!((count(&answers, 200), scanner.await.unwrap().0), (100, 403));
        assert_eq!(gateway.calls(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn one_clients_malformed_request_is_nobody_elses_error() {
    for status in [400, 405, 406, 408, 411, 412, 413, 414, 415, 416, 417, 422, 426, 428, 431, 511] {
        let gateway = gateway(HttpPolicy::default(), move |request| async move {
            sleep(Duration::from_millis(150)).await;
            plain(if request.headers().contains_key("x-http-method-override") {
                status
            } else {
                200
            })
        });
        let odd = tokio::spawn(gateway.send(get("/a", &[("x-http-method-override", "PURGE")])));
        sleep(Duration::from_millis(20)).await;
        let answers = gateway.burst(50, || get("/a", &[])).await;
        assert_eq!((odd.await.unwrap().0, count(&answers, 200)), (status, 50));
        assert_eq!(gateway.calls(), 2, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn where_everybody_is_refused_it_costs_one_trip_more() {
    let gateway = gateway(HttpPolicy::default(), |_| async {
        sleep(Duration::from_millis(100)).await;
        plain(403)
    });
    let start = Instant::now();
    let answers = gateway.burst(20, || get("/a", &[])).await;
    assert_eq!((count(&answers, 403), gateway.calls()), (20, 20));
    assert_eq!(start.elapsed().as_millis(), 300);
    assert_eq!((gateway.handle.in_flight(), gateway.handle.waiting()), (0, 0));
    assert_eq!(gateway.burst(2, || get("/a", &[])).await.len(), 2);
    assert_eq!(gateway.calls(), 2, "one led, one went on, and neither passed");
}

#[tokio::test(start_paused = true)]
async fn refusals_sets_after_how_many_followers_are_on_their_own() {
    for (refusals, calls) in [(0, 1), (1, 1), (2, 2), (5, 5)] {
        let policy = HttpPolicy::default().refusals(refusals);
        let gateway = gateway(policy, |_| async { plain(429) });
        let answers = gateway.burst(20, || get("/a", &[])).await;
        assert_eq!((count(&answers, 429), gateway.calls()), (20, calls));
    }
}

#[tokio::test(start_paused = true)]
async fn share_if_spares_a_failing_upstream_a_storm() {
    let policy = HttpPolicy::default().share_if(|head| !head.status().is_server_error());
    let failures = Arc::new(AtomicUsize::new(1));
    let gateway = gateway(policy, move |_| {
        let fails = failures.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
        async move {
            sleep(Duration::from_millis(50)).await;
            plain(if fails { 503 } else { 200 })
        }
    });
    let answers = gateway.burst(100, || get("/a", &[])).await;
    assert_eq!((count(&answers, 503), count(&answers, 200), gateway.calls()), (1, 99, 2));
}

#[tokio::test]
async fn followers_retry_holds_for_http_errors_too() {
    let mut bench = Bench::of(&by_uri().followers_retry(1));
    let (mut leader, mut followers) = (bench.get("/a"), [bench.get("/a"), bench.get("/a")]);
    settle().await;
    bench.upstream.next().fail("down");
    settle().await;
    assert_eq!(leader.result().unwrap_err(), Failure("down"));
    assert!(followers.iter_mut().all(Call::waits));
    settle().await;
    bench.answer(ok("up")).await;
    let [led, followed] = followers.map(|mut call| call.response());
    assert_eq!((role(&led), role(&followed)), (Some(Role::Leader), Some(Role::Follower)));
    assert_eq!((text(led), text(followed), bench.calls()), ("up".to_owned(), "up".to_owned(), 2));
}

#[tokio::test]
async fn a_follower_that_is_polled_late_belongs_to_the_next_flight_all_the_same() {
    let mut bench = Bench::new();
    let mut leader = bench.get("/a");
    let mut followers: Vec<_> = (0..10).map(|_| bench.get("/a")).collect();
    settle().await;
    bench.answer(reply(403, &[], "no")).await;
    assert!(followers[0].waits(), "it leads");
    settle().await;
    bench.answer(ok("yes")).await;
    for follower in &mut followers {
        assert_eq!(follower.text(), "yes");
        settle().await;
    }
    assert_eq!((leader.text(), bench.calls(), bench.stats().refused), ("no".to_owned(), 2, 1));
    assert_eq!(bench.handle.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn late_arrivals_join_what_the_followers_of_a_refusal_got() {
    let mut bench = Bench::new();
    let (_leader, mut follower) = (bench.get("/a"), bench.get("/a"));
    settle().await;
    bench.answer(reply(403, &[], "no")).await;
    assert!(follower.waits());
    settle().await;
    let (flow, body) = crate::support::flow();
    bench.answer(crate::support::with_body(200, &[("cache-control", "max-age=60")], body)).await;
    let response = follower.response();
    let mut late = bench.get("/a");
    assert!(!late.waits(), "the head is there");
    flow.data("all");
    drop(flow);
    assert_eq!(
        (text(response), late.text(), bench.calls()),
        ("all".to_owned(), "all".to_owned(), 2)
    );
}

#[tokio::test]
async fn a_write_seals_followers_that_go_on() {
    let mut bench = Bench::new();
    let (_leader, mut follower) = (bench.get("/a"), bench.get("/a"));
    settle().await;
    bench.answer(reply(403, &[], "no")).await;
    assert!(follower.waits());
    let mut write = bench.send(crate::support::ask(http::Method::PUT, "/a", &[]));
    let _read = bench.get("/a");
    assert_eq!(bench.stats().led, 2, "the read after the write leads");
    assert!(write.waits());
}

#[tokio::test]
async fn cache_status_tells_a_follower_that_led_after_a_refusal() {
    let mut bench = Bench::with(HttpPolicy::default().cache_status("gw"));
    let (mut leader, mut one, mut two) = (bench.get("/a"), bench.get("/a"), bench.get("/a"));
    settle().await;
    bench.answer(reply(403, &[], "no")).await;
    assert!(one.waits() && two.waits());
    settle().await;
    bench.answer(ok("yes")).await;
    let said = |call: &mut Call| {
        call.response().headers()[name("cache-status")].to_str().unwrap().to_owned()
    };
    assert_eq!(said(&mut leader), "gw; fwd=miss");
    assert_eq!(said(&mut one), "gw; fwd=uri-miss; collapsed=?0");
    assert_eq!(said(&mut two), "gw; fwd=uri-miss; collapsed");
}

#[tokio::test]
async fn requests_that_differ_in_a_header_that_a_refusal_varies_by_go_on_together_all_the_same() {
    let mut bench = Bench::of(&SingleflightLayer::new(|req| req.uri().to_string()));
    let (mut leader, mut follower) =
        (bench.send(get("/a", &[("x", "1")])), bench.send(get("/a", &[("x", "2")])));
    settle().await;
    bench.answer(reply(403, &[("vary", "x")], "no")).await;
    assert!(follower.waits());
    settle().await;
    bench.answer(reply(200, &[("vary", "x")], "yes")).await;
    assert_eq!((leader.text(), follower.text()), ("no".to_owned(), "yes".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn while_the_layer_is_disabled_followers_that_vary_sends_on_pass() {
    let mut bench = Bench::new();
    let mut leader = bench.send(get("/", &[("x", "a")]));
    let mut followers = [(); 2].map(|()| bench.send(get("/", &[("x", "b")])));
    settle().await;
    bench.handle.set_enabled(false);
    bench.answer(crate::support::reply(200, &[("vary", "x")], "a")).await;
    assert_eq!(leader.text(), "a");
    assert!(followers.iter_mut().all(Call::waits));
    assert_eq!((bench.calls(), bench.stats().led, bench.handle.in_flight()), (3, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn newcomers_may_come_late_to_the_flight_that_went_on_until_a_write_seals_it() {
    let mut bench = Bench::new();
    let mut leader = bench.get("/a");
    let mut follower = bench.get("/a");
    settle().await;
    bench.answer(crate::support::reply(403, &[], "no")).await;
    assert!(follower.waits());
    settle().await;
    let (flow, body) = crate::support::flow();
    bench.answer(crate::support::with_body(200, &[("cache-control", "max-age=60")], body)).await;
    flow.data("one");
    let mut bodies = [follower.response().into_body(), bench.get("/a").response().into_body()];
    assert_eq!(bench.calls(), 2);
    let _write = bench.send(crate::support::ask(http::Method::PUT, "/a", &[]));
    let _after = bench.get("/a");
    assert_eq!(bench.calls(), 4);
    drop(flow);
    for body in &mut bodies {
        assert_eq!(crate::support::read(body), crate::support::Read::Ended("one".into()));
    }
    assert_eq!(leader.response().status(), 403);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_leaves_its_refusal_untaken_lets_go_of_the_upstreams_body() {
    let mut bench = Bench::new();
    let leader = bench.get("/a");
    let mut follower = bench.get("/a");
    settle().await;
    let (flow, body) = crate::support::flow();
    bench.answer(crate::support::with_body(403, &[], body)).await;
    assert!(follower.waits());
    assert!(!flow.is_dropped());
    drop(leader);
    assert!(flow.is_dropped());
    bench.answer(ok("told")).await;
    assert_eq!(follower.text(), "told");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_streams_to_its_leader_beside_the_next_flight() {
    let mut bench = Bench::new();
    let (mut leader, mut follower) = (bench.get("/a"), bench.get("/a"));
    settle().await;
    let (flow, body) = crate::support::flow();
    bench.answer(crate::support::with_body(401, &[("www-authenticate", "basic")], body)).await;
    let mut refused = leader.response().into_body();
    assert!(follower.waits());
    bench.answer(ok("told")).await;
    assert_eq!(follower.text(), "told");
    flow.data("who are you?");
    drop(flow);
    assert_eq!(
        crate::support::read(&mut refused),
        crate::support::Read::Ended("who are you?".into())
    );
}

#[tokio::test(start_paused = true)]
async fn a_refused_head_is_followed_by_a_head() {
    let mut bench = Bench::new();
    let mut send = || bench.send(crate::support::ask(http::Method::HEAD, "/a", &[]));
    let (mut leader, mut follower) = (send(), send());
    settle().await;
    bench.answer(crate::support::reply(403, &[("content-length", "7")], "")).await;
    assert_eq!(leader.response().status(), 403);
    assert!(follower.waits());
    let second = bench.upstream.next();
    assert_eq!(second.head.method(), http::Method::HEAD);
    second.answer(crate::support::reply(200, &[("content-length", "7")], ""));
    settle().await;
    assert_eq!((follower.response().status(), bench.calls()), (http::StatusCode::OK, 2));
}

#[tokio::test(start_paused = true)]
async fn those_whom_vary_sends_on_go_on_together_after_a_refusal_too() {
    let mut bench = Bench::new();
    let mut leader = bench.send(get("/", &[("x", "a")]));
    let mut followers = [(); 4].map(|()| bench.send(get("/", &[("x", "b")])));
    settle().await;
    bench.answer(crate::support::reply(200, &[("vary", "x")], "a")).await;
    assert_eq!(leader.text(), "a");
    assert!(followers.iter_mut().all(Call::waits));
    settle().await;
    assert_eq!(bench.calls(), 2);
    bench.answer(crate::support::reply(403, &[("vary", "x")], "no")).await;
    let waiting = followers.iter_mut().filter_map(|follower| follower.waits().then_some(follower));
    let mut waiting: Vec<_> = waiting.collect();
    assert_eq!(waiting.len(), 3, "one was refused");
    settle().await;
    assert_eq!(bench.calls(), 3);
    bench.answer(crate::support::reply(200, &[("vary", "x")], "b")).await;
    for follower in &mut waiting {
        assert_eq!(follower.text(), "b");
    }
    assert_eq!((bench.calls(), bench.handle.in_flight()), (3, 0));
}
