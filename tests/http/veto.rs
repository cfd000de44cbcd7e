//! Which responses stay with the leader, and what becomes of the followers.

use crate::{
    net::{Connection, Origin, gateway, rest},
    support::{
        Bench, Read, ask, by_uri, flow, follower_gets, get, ok, read, reply, role, settle, text,
        with_body,
    },
};
use http::Method;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};
use tokio::sync::Barrier;
use tower_singleflight::{HttpPolicy, PassReason, Role, VetoReason};

async fn is_vetoed(status: u16, headers: &[(&str, &str)]) -> bool {
    !follower_gets(HttpPolicy::default(), || get("/a", &[]), reply(status, headers, "the leader's"))
        .await
}

#[tokio::test]
async fn a_plain_response_is_for_all() {
    assert!(!is_vetoed(200, &[]).await);
}

#[tokio::test]
async fn statuses_that_are_no_whole_answer_are_vetoed() {
    for status in [101, 102, 103, 206] {
        assert!(is_vetoed(status, &[]).await, "{status}");
    }
}

#[tokio::test]
async fn other_statuses_are_for_all() {
    for status in [200, 203, 204, 300, 301, 304, 308, 404, 410, 451, 500, 502, 503, 504, 599] {
        assert!(!is_vetoed(status, &[]).await, "{status}");
    }
}

#[tokio::test]
async fn a_cookie_is_vetoed() {
    assert!(is_vetoed(200, &[("set-cookie", "session=1")]).await);
    assert!(is_vetoed(200, &[("set-cookie", "")]).await);
    assert!(is_vetoed(500, &[("set-cookie", "session=1")]).await);
    assert!(
        is_vetoed(200, &[("cache-control", "public, max-age=60"), ("set-cookie", "session=1")])
            .await
    );
}

#[tokio::test]
async fn private_no_store_and_no_cache_are_vetoed_in_any_spelling() {
    for line in [
        "private",
        "no-store",
        "no-cache",
        "PRIVATE",
        "public, private",
        "max-age=60, no-store",
        "private=\"set-cookie\"",
        "no-cache=\"x\"",
        "x=\"a, b\",private",
        " ,\t,private",
    ] {
        assert!(is_vetoed(200, &[("cache-control", line)]).await, "{line}");
    }
}

#[tokio::test]
async fn every_line_of_cache_control_is_read() {
    assert!(is_vetoed(200, &[("cache-control", "max-age=60"), ("cache-control", "private")]).await);
}

#[tokio::test]
async fn a_cache_control_that_cannot_be_read_is_vetoed() {
    for line in ["max-age=60; private", "x=\"private", "=private", "private private", "\"private\""]
    {
        assert!(is_vetoed(200, &[("cache-control", line)]).await, "{line}");
    }
}

#[tokio::test]
async fn other_directives_are_for_all() {
    for line in
        ["public", "max-age=0", "must-revalidate", "x=\"private\"", "not-private", "s-maxage=0"]
    {
        assert!(!is_vetoed(200, &[("cache-control", line)]).await, "{line}");
    }
}

#[tokio::test]
async fn vary_on_anything_is_vetoed() {
    for line in ["*", "accept, *", "x, * , y"] {
        assert!(is_vetoed(200, &[("vary", line)]).await, "{line}");
    }
    assert!(is_vetoed(200, &[("vary", "accept"), ("vary", "*")]).await);
}

#[tokio::test]
async fn a_vary_that_cannot_be_read_is_vetoed() {
    for line in ["accept encoding", "a;b", "\"accept\""] {
        assert!(is_vetoed(200, &[("vary", line)]).await, "{line}");
    }
}

#[tokio::test]
async fn streams_without_an_end_are_vetoed() {
    for line in [
        "text/event-stream",
        "Text/Event-Stream; charset=utf-8",
        "multipart/x-mixed-replace; boundary=x",
    ] {
        assert!(is_vetoed(200, &[("content-type", line)]).await, "{line}");
    }
    assert!(!is_vetoed(200, &[("content-type", "text/plain")]).await);
}

#[tokio::test]
async fn a_body_known_to_be_over_the_limit_is_vetoed() {
    let gets = |length: &str| {
        let response = reply(200, &[("content-length", length)], "");
        follower_gets(HttpPolicy::default().body_limit(100), || get("/a", &[]), response)
    };
    assert!(gets("100").await);
    for length in ["101", "99999999999999999999999", "many", "5, 101"] {
        assert!(!gets(length).await, "{length}");
    }
    let large = || reply(200, &[], "x".repeat(101));
    assert!(
        !follower_gets(HttpPolicy::default().body_limit(100), || get("/a", &[]), large()).await
    );
}

#[tokio::test]
async fn the_default_limit_is_sixteen_mebibytes() {
    assert!(!is_vetoed(200, &[("content-length", "16777216")]).await);
    assert!(is_vetoed(200, &[("content-length", "16777217")]).await);
}

#[tokio::test]
async fn the_length_that_a_head_tells_of_is_no_body_to_hold() {
    let head = || ask(Method::HEAD, "/a", &[]);
    assert!(
        follower_gets(
            HttpPolicy::default(),
            head,
            reply(200, &[("content-length", "99999999")], "")
        )
        .await
    );
    assert!(!is_vetoed(304, &[("content-length", "99999999")]).await);
}

#[tokio::test]
async fn a_large_body_of_unknown_length_is_shared() {
    let (_flow, body) = flow();
    assert!(
        follower_gets(
            HttpPolicy::default().body_limit(1),
            || get("/a", &[]),
            with_body(200, &[], body)
        )
        .await
    );
}

#[tokio::test]
async fn each_veto_is_counted_by_its_reason() {
    let cases: [(u16, (&str, &str), VetoReason); 6] = [
        (206, ("x", ""), VetoReason::Status),
        (200, ("set-cookie", "x"), VetoReason::SetCookie),
        (200, ("cache-control", "private"), VetoReason::CacheControl),
        (200, ("vary", "*"), VetoReason::Vary),
        (200, ("content-type", "text/event-stream"), VetoReason::ContentType),
        (200, ("content-length", "99999999"), VetoReason::BodyTooLarge),
    ];
    for (status, header, reason) in cases {
        let mut bench = Bench::new();
        let mut calls = [bench.get("/a"), bench.get("/a"), bench.get("/a")];
        bench.answer(reply(status, &[header], "")).await;
        for call in &mut calls {
            call.waits();
        }
        assert_eq!((bench.stats().vetoed_by(reason), bench.stats().vetoed), (2, 2), "{reason}");
    }
}

#[tokio::test]
async fn a_veto_wakes_all_followers_at_the_head_and_none_waits_for_another() {
    let mut bench = Bench::new();
    let mut leader = bench.get("/a");
    let mut followers: Vec<_> = (0..50).map(|_| bench.get("/a")).collect();
    settle().await;
    let (_flow, body) = flow();
    bench.answer(with_body(200, &[("cache-control", "private")], body)).await;
    assert!(followers.iter().all(|follower| follower.is_woken()), "all at once");
    // Last first: nobody needs those before it to be polled.
    for follower in followers.iter_mut().rev() {
        assert!(follower.waits());
    }
    assert_eq!(
        (bench.upstream.open(), bench.calls()),
        (50, 51),
        "all in parallel, though no body has ended"
    );
    let head = leader.response();
    assert_eq!(role(&head), Some(Role::Leader));
    for number in 0..50 {
        bench.upstream.next().answer(reply(
            200,
            &[("cache-control", "private")],
            number.to_string(),
        ));
    }
    settle().await;
    let mut own: Vec<usize> =
        followers.iter_mut().map(|follower| follower.text().parse().unwrap()).collect();
    own.sort_unstable();
    assert_eq!(own, (0..50).collect::<Vec<_>>(), "each its own");
}

#[tokio::test]
async fn the_leader_keeps_a_vetoed_body_as_it_is() {
    let mut bench = Bench::new();
    let (mut leader, mut follower) = (bench.get("/a"), bench.get("/a"));
    let (flow, body) = flow();
    bench.answer(with_body(200, &[("set-cookie", "leader")], body)).await;
    let leader = leader.response();
    assert_eq!(leader.headers()["set-cookie"], "leader");
    assert!(follower.waits());
    let mut body = leader.into_body();
    flow.data("a");
    assert_eq!(read(&mut body), Read::Open("a".to_owned()));
    drop(flow);
    assert_eq!(read(&mut body), Read::Ended(String::new()));
    let own = bench.upstream.next();
    assert_eq!(own.head.uri(), "/a");
    own.answer(reply(200, &[("set-cookie", "follower")], "own"));
    settle().await;
    assert_eq!(follower.response().headers()["set-cookie"], "follower");
}

#[tokio::test]
async fn followers_send_their_own_requests_and_not_the_leaders() {
    let mut bench = Bench::new();
    let _leader = bench.send(get("/a", &[("x-request-id", "leader")]));
    let mut follower = bench.send(get("/a", &[("x-request-id", "follower")]));
    assert_eq!(bench.upstream.next().header("x-request-id"), Some("leader"));
    // The first call was dropped without an answer: an error, which all get.
    settle().await;
    assert!(follower.result().is_err());

    let (mut leader, mut follower) = (
        bench.send(get("/b", &[("x-request-id", "leader")])),
        bench.send(get("/b", &[("x-request-id", "follower")])),
    );
    bench.answer(reply(403, &[], "")).await;
    assert!(!leader.waits() && follower.waits());
    assert_eq!(bench.upstream.next().header("x-request-id"), Some("follower"));
}

#[tokio::test]
async fn nobody_gets_a_private_response_whose_leader_has_gone() {
    let mut bench = Bench::new();
    let leader = bench.get("/a");
    let mut followers = [bench.get("/a"), bench.get("/a")];
    settle().await;
    drop(leader);
    settle().await;
    let (flow, body) = flow();
    bench.answer(with_body(200, &[("cache-control", "private")], body)).await;
    for follower in &mut followers {
        assert!(follower.waits(), "it sends its own request");
    }
    assert_eq!(bench.upstream.open(), 2);
    assert!(flow.is_dropped(), "and nobody holds the leader's body");
    for _ in 0..2 {
        bench.answer(ok("own")).await;
    }
    for follower in &mut followers {
        let response = follower.response();
        assert_eq!((role(&response), text(response).as_str()), (None, "own"));
    }
}

#[tokio::test]
async fn a_vetoed_body_is_dropped_with_its_leader() {
    let mut bench = Bench::new();
    let (mut leader, _never_polled) = (bench.get("/a"), bench.get("/a"));
    settle().await;
    let (flow, body) = flow();
    bench.answer(with_body(200, &[("cache-control", "private")], body)).await;
    drop(leader.response());
    assert!(flow.is_dropped());
}

#[tokio::test]
async fn a_vetoed_body_goes_with_its_leader_though_a_follower_has_yet_to_look_at_it() {
    // Before the head, and after it.
    for leaves_late in [false, true] {
        let mut bench = Bench::new();
        let (leader, _not_polled_again) = (bench.get("/a"), bench.get("/a"));
        settle().await;
        let mut leader = Some(leader).filter(|_| leaves_late);
        let (flow, body) = flow();
        bench.answer(with_body(200, &[("cache-control", "private")], body)).await;
        assert_eq!(flow.is_dropped(), !leaves_late);
        drop(leader.take());
        assert!(flow.is_dropped());
    }
}

#[tokio::test]
async fn an_errors_response_is_no_veto() {
    let mut bench = Bench::new();
    let mut calls = [bench.get("/a"), bench.get("/a"), bench.get("/a")];
    settle().await;
    bench.upstream.next().fail("reset");
    settle().await;
    for call in &mut calls {
        assert_eq!(call.result().unwrap_err().0, "reset");
    }
    assert_eq!((bench.calls(), bench.stats().vetoed), (1, 0));
}

// The memory of unshareable keys.

/// A bench whose key `/a` was found unshareable just now.
async fn burnt(policy: HttpPolicy) -> Bench {
    burn(Bench::with(policy)).await
}

async fn burn(mut bench: Bench) -> Bench {
    let mut leader = bench.get("/a");
    bench.answer(reply(200, &[("cache-control", "private")], "")).await;
    leader.text();
    bench
}

/// Whether two requests sent now both reach the upstream at once.
async fn passes_now(bench: &mut Bench, path: &str) -> bool {
    let before = bench.calls();
    let _calls = (bench.get(path), bench.get(path));
    let calls = bench.calls() - before;
    drop(_calls);
    settle().await;
    while bench.upstream.try_next().is_some() {}
    calls == 2
}

#[tokio::test(start_paused = true)]
async fn later_arrivals_at_an_unshareable_key_do_not_wait() {
    let mut bench = burnt(HttpPolicy::default()).await;
    let mut late: Vec<_> = (0..10).map(|_| bench.get("/a")).collect();
    assert_eq!((bench.upstream.open(), bench.handle.in_flight()), (10, 0));
    assert_eq!(bench.stats().passed_by(PassReason::Unshareable), 10);
    for _ in 0..10 {
        bench.answer(reply(200, &[("cache-control", "private")], "own")).await;
    }
    for call in &mut late {
        assert_eq!(role(&call.response()), None);
    }
}

#[tokio::test(start_paused = true)]
async fn the_memory_lasts_thirty_seconds() {
    let mut bench = burnt(HttpPolicy::default()).await;
    tokio::time::advance(Duration::from_millis(29_999)).await;
    assert!(passes_now(&mut bench, "/a").await);
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(!passes_now(&mut bench, "/a").await);
}

#[tokio::test(start_paused = true)]
async fn a_memory_without_end_ends_with_a_shareable_answer_only() {
    let mut bench = burnt(HttpPolicy::default().unshareable_memory(8, Duration::MAX)).await;
    tokio::time::advance(Duration::from_secs(365 * 24 * 60 * 60)).await;
    assert!(passes_now(&mut bench, "/a").await);
}

#[tokio::test]
async fn what_one_group_remembers_does_not_concern_another() {
    let layer = by_uri().separate_groups();
    let mut bench = burn(Bench::of(&layer)).await;
    assert!(passes_now(&mut bench, "/a").await);
    assert!(!passes_now(&mut Bench::of(&layer), "/a").await);
    let layer = by_uri();
    burn(Bench::of(&layer)).await;
    assert!(passes_now(&mut Bench::of(&layer.clone()), "/a").await, "they are one group");
}

#[tokio::test(start_paused = true)]
async fn another_private_answer_renews_the_memory() {
    let mut bench = burnt(HttpPolicy::default()).await;
    tokio::time::advance(Duration::from_secs(20)).await;
    let mut passed = bench.get("/a");
    bench.answer(reply(200, &[("cache-control", "no-store")], "")).await;
    passed.text();
    tokio::time::advance(Duration::from_secs(20)).await;
    assert!(passes_now(&mut bench, "/a").await);
}

#[tokio::test(start_paused = true)]
async fn a_shareable_answer_clears_the_memory() {
    let mut bench = burnt(HttpPolicy::default()).await;
    let mut passed = bench.get("/a");
    bench.answer(ok("public now")).await;
    passed.text();
    assert!(!passes_now(&mut bench, "/a").await);
}

#[tokio::test(start_paused = true)]
async fn an_error_neither_clears_nor_makes_the_memory() {
    let mut bench = burnt(HttpPolicy::default()).await;
    let mut passed = bench.get("/a");
    bench.upstream.next().fail("reset");
    settle().await;
    assert!(passed.result().is_err());
    assert!(passes_now(&mut bench, "/a").await);
    let mut other = bench.get("/b");
    bench.upstream.next().fail("reset");
    settle().await;
    assert!(other.result().is_err());
    assert!(!passes_now(&mut bench, "/b").await);
}

#[tokio::test(start_paused = true)]
async fn one_users_private_answer_burns_nobody_elses_key() {
    let mut bench = Bench::new();
    let mut user = bench.send(get("/a", &[("cookie", "user")]));
    bench.answer(reply(200, &[("cache-control", "private")], "")).await;
    user.text();
    assert!(!passes_now(&mut bench, "/a").await, "without the cookie");
    assert!(!passes_now(&mut bench, "/b").await, "another path");
    let _calls = (
        bench.send(get("/a", &[("cookie", "user")])),
        bench.send(get("/a", &[("cookie", "user")])),
    );
    assert_eq!(bench.upstream.open(), 2, "the user's own");
}

#[tokio::test(start_paused = true)]
async fn the_memory_is_bounded_and_forgets_the_least_recently_used() {
    let mut bench =
        Bench::with(HttpPolicy::default().unshareable_memory(2, Duration::from_secs(30)));
    for path in ["/a", "/b", "/a", "/c"] {
        let mut call = bench.get(path);
        bench.answer(reply(200, &[("cache-control", "private")], "")).await;
        call.text();
    }
    assert!(passes_now(&mut bench, "/a").await);
    assert!(!passes_now(&mut bench, "/b").await);
    assert!(passes_now(&mut bench, "/c").await);
}

#[tokio::test(start_paused = true)]
async fn requests_that_pass_anyway_leave_no_memory() {
    let mut bench = Bench::new();
    let mut passed = bench.send(get("/a", &[("range", "bytes=0-1")]));
    bench.answer(reply(206, &[("cache-control", "private")], "")).await;
    passed.text();
    assert!(!passes_now(&mut bench, "/a").await);
}

// Over real sockets.

/// Long, so that a busy machine does not matter.
const DELAY: Duration = Duration::from_secs(1);

/// An origin whose answers are private and take `DELAY`, and how many it works on at once, at most.
async fn private_origin() -> (Origin, Arc<AtomicUsize>) {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = most.clone();
    let origin = Origin::new(move |mut exchange| {
        let (now, most) = (now.clone(), seen.clone());
        async move {
            most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
            tokio::time::sleep(DELAY).await;
            now.fetch_sub(1, SeqCst);
            let text = format!("for {}", exchange.number);
            exchange.whole("200 OK", "cache-control: private\r\n", &text).await;
        }
    })
    .await;
    (origin, most)
}

/// How long the slowest of the burst takes. Everybody gets an answer of its own.
async fn slowest_of(clients: usize, address: std::net::SocketAddr) -> Duration {
    let barrier = Arc::new(Barrier::new(clients));
    let mut tasks = Vec::new();
    for _ in 0..clients {
        let (mut connection, barrier) = (Connection::h1(address).await, barrier.clone());
        tasks.push(tokio::spawn(async move {
            barrier.wait().await;
            let start = Instant::now();
            let mut response = connection.get("/a", &[]).await.unwrap();
            (rest(response.body_mut()).await, start.elapsed())
        }));
    }
    let (mut answers, mut slowest) = (Vec::new(), Duration::ZERO);
    for task in tasks {
        let (answer, time) = task.await.unwrap();
        answers.push(format!("{answer:?}"));
        slowest = slowest.max(time);
    }
    answers.sort();
    answers.dedup();
    assert_eq!(answers.len(), clients, "each its own");
    slowest
}

#[tokio::test]
async fn a_private_burst_takes_two_upstream_delays_and_within_the_remembered_time_one() {
    let (origin, most) = private_origin().await;
    let gateway = gateway(by_uri(), &origin).await;
    let first = slowest_of(40, gateway.address).await;
    assert!(most.load(SeqCst) >= 39, "in parallel, not one by one");
    assert!(first < DELAY * 5 / 2, "{first:?}");
    let second = slowest_of(40, gateway.address).await;
    assert!(second < DELAY * 13 / 10, "{second:?}");
    assert_eq!((origin.hits(), most.load(SeqCst)), (80, 40));
}
