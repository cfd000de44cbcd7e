//! One upstream call for all replicas.

use crate::support::*;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use http_body::Frame;
use std::{
    pin::Pin,
    task::{Context, Poll},
};
use tokio::time::{Instant, sleep};
use tower::{Layer, ServiceExt, service_fn};
use tower_singleflight::{
    Fleet, FleetReason, FleetRole, HttpPolicy, Role,
    fleet::testing::{MemoryEngine, Operation},
};

#[tokio::test(start_paused = true)]
async fn many_requests_on_many_replicas_are_one_call() {
    let upstream = Upstream::new();
    let replicas = replicas(&upstream, 8);
    let asked: Vec<_> =
        (0..100).flat_map(|_| replicas.iter().map(|replica| replica.ask("/x"))).collect();
    for answer in asked {
        assert_eq!(answer.await.unwrap(), "1");
    }
    assert_eq!(upstream.calls(), 1);
    let led: u64 = replicas.iter().map(|replica| replica.stats().led).sum();
    let taken: u64 = replicas.iter().map(|replica| replica.stats().taken).sum();
    assert_eq!((led, taken), (1, 7));
    let commands: usize = replicas.iter().map(|replica| replica.engine.operations().len()).sum();
    assert_eq!(commands, 8 + 2, "N + 2 commands for a small hot flight");
}

#[tokio::test(start_paused = true)]
async fn a_lone_request_sends_nothing_but_enter_and_close_and_no_byte_of_its_response() {
    let upstream = Upstream::new();
    let replica = &replicas(&upstream, 1)[0];
    assert_eq!(text(replica.get("/x")).await, "1");
    settle().await;
    assert_eq!(replica.engine.operations(), [Operation::Enter, Operation::Close]);
    assert_eq!(replica.engine.payloads(), Vec::<Bytes>::new());
    assert_eq!(replica.engine.stored(), 0, "it leaves nothing behind");
}

#[tokio::test(start_paused = true)]
async fn local_waiters_ask_the_engine_once() {
    let upstream = Upstream::new();
    let replica = &replicas(&upstream, 1)[0];
    let asked: Vec<_> = (0..50).map(|_| replica.ask("/x")).collect();
    for answer in asked {
        assert_eq!(answer.await.unwrap(), "1");
    }
    assert_eq!(replica.count(Operation::Enter), 1);
}

#[tokio::test(start_paused = true)]
async fn followers_are_woken_by_a_push_and_ask_nothing_while_they_wait() {
    let upstream = Upstream::answering(ms(400), |number| whole(&number.to_string()));
    let replicas = replicas(&upstream, 2);
    let led = replicas[0].ask("/x");
    settle().await;
    let start = Instant::now();
    assert_eq!(text(replicas[1].get("/x")).await, "1");
    assert_eq!(start.elapsed(), ms(400), "it is woken when the result is there");
    assert_eq!(replicas[1].engine.operations(), [Operation::Enter]);
    assert_eq!(led.await.unwrap(), "1");
}

#[tokio::test(start_paused = true)]
async fn a_long_wait_costs_a_ping_each_half_second_and_a_check_each_lease() {
    let upstream = Upstream::answering(ms(10_000), |number| whole(&number.to_string()));
    let replicas = replicas(&upstream, 2);
    let led = replicas[0].ask("/x");
    settle().await;
    assert_eq!(text(replicas[1].get("/x")).await, "1");
    assert_eq!(led.await.unwrap(), "1");
    assert_eq!(replicas[1].count(Operation::Enter), 1);
    assert!(
        (2..=4).contains(&replicas[1].count(Operation::Check)),
        "{:?}",
        replicas[1].engine.operations()
    );
    assert!(
        (17..=20).contains(&replicas[1].count(Operation::Ping)),
        "{:?}",
        replicas[1].engine.operations()
    );
    assert_eq!(replicas[0].count(Operation::Ping), 0, "a leader waits for no push");
}

#[tokio::test(start_paused = true)]
async fn a_request_after_the_flight_closed_leads_a_new_one() {
    let upstream = Upstream::new();
    let replicas = replicas(&upstream, 2);
    assert_eq!(text(replicas[0].get("/x")).await, "1");
    settle().await;
    assert_eq!(text(replicas[1].get("/x")).await, "2", "nothing is cached");
    assert_eq!(text(replicas[0].get("/x")).await, "3");
}

#[tokio::test(start_paused = true)]
async fn no_one_joins_a_head_that_is_known() {
    let upstream = Upstream::answering(WORK, |number| {
        Response::new(frames(ms(300), vec![data(&number.to_string()), data(".")]))
    });
    let replicas = replicas(&upstream, 3);
    let asked = [replicas[0].ask("/x"), replicas[1].ask("/x")];
    sleep(ms(200)).await;
    assert_eq!(
        text(replicas[2].get("/x")).await,
        "2.",
        "the head of the first is known, its body is not"
    );
    for answer in asked {
        assert_eq!(answer.await.unwrap(), "1.");
    }
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_on_a_followers_replica_does_not_join_a_head_that_is_known() {
    let upstream = Upstream::answering(WORK, |number| {
        Response::new(frames(ms(300), vec![data(&number.to_string()), data(".")]))
    });
    let replicas = replicas(&upstream, 2);
    let asked = [replicas[0].ask("/x"), replicas[1].ask("/x")];
    sleep(ms(200)).await;
    assert_eq!(text(replicas[1].get("/x")).await, "2.");
    for answer in asked {
        assert_eq!(answer.await.unwrap(), "1.");
    }
}

#[tokio::test(start_paused = true)]
async fn the_roles_are_among_the_extensions() {
    let upstream = Upstream::new();
    let replicas = replicas(&upstream, 2);
    let (led, joined) = (tokio::spawn(replicas[0].get("/x")), tokio::spawn(replicas[0].get("/x")));
    settle().await;
    let (taken, other) = (tokio::spawn(replicas[1].get("/x")), tokio::spawn(replicas[1].get("/x")));
    let mut roles = Vec::new();
    for answer in [led, joined, taken, other] {
        let answer = answer.await.unwrap().unwrap();
        roles.push((
            *answer.extensions().get::<FleetRole>().unwrap(),
            *answer.extensions().get::<Role>().unwrap(),
        ));
    }
    assert_eq!(
        roles,
        [
            (FleetRole::Leader, Role::Leader),
            (FleetRole::Leader, Role::Follower),
            (FleetRole::Follower, Role::Leader),
            (FleetRole::Follower, Role::Follower),
        ]
    );
    replicas[1].engine.partition(true);
    assert_eq!(role(replicas[1].get("/x")).await, None, "a replica that went alone has no role");
    assert_eq!(
        role(replicas[0].get("/x")).await,
        Some(FleetRole::Leader),
        "also if nobody followed"
    );
}

#[tokio::test(start_paused = true)]
async fn cache_status_says_what_came_from_elsewhere() {
    let upstream = Upstream::new();
    let policy = || HttpPolicy::new().cache_status("gw");
    let replicas = replicas_with(&upstream, 2, |fleet| fleet, |layer| layer.policy(policy()));
    let led = tokio::spawn(replicas[0].get("/x"));
    settle().await;
    let taken = replicas[1].get("/x").await.unwrap();
    assert_eq!(taken.headers()["cache-status"], "gw; fwd=uri-miss; collapsed; detail=fleet");
    assert_eq!(led.await.unwrap().unwrap().headers()["cache-status"], "gw; fwd=miss");
}

#[tokio::test(start_paused = true)]
async fn a_response_arrives_whole() {
    let upstream = Upstream::answering(WORK, |_| {
        let trailers = HeaderMap::from_iter([(header::ETAG, HeaderValue::from_static("\"7\""))]);
        let mut response = Response::new(frames(
            ms(1),
            vec![data("one "), data("two"), Ok(Frame::trailers(trailers))],
        ));
        *response.status_mut() = StatusCode::IM_A_TEAPOT;
        *response.status_mut() = StatusCode::NOT_FOUND;
        let headers = response.headers_mut();
        headers.append(header::LINK, HeaderValue::from_static("<a>"));
        headers.append(header::LINK, HeaderValue::from_static("<b>"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("x-hop"));
        headers.insert("x-hop", HeaderValue::from_static("1"));
        response
    });
    let replicas = replicas(&upstream, 2);
    let led = replicas[0].ask("/x");
    settle().await;
    let (head, text, trailers) = whole_answer(replicas[1].get("/x")).await;
    assert_eq!((head.status(), &*text), (StatusCode::NOT_FOUND, "one two"));
    assert_eq!(head.headers().get_all(header::LINK).iter().collect::<Vec<_>>(), ["<a>", "<b>"]);
    assert_eq!(trailers.unwrap()[header::ETAG], "\"7\"");
    assert!(
        !head.headers().contains_key("x-hop") && !head.headers().contains_key(header::CONNECTION)
    );
    led.await.unwrap();
    assert_eq!(upstream.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failing_upstream_sees_one_request() {
    let upstream = Upstream::answering(WORK, |_| {
        let mut response = whole("busy");
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        response
    });
    let replicas = replicas(&upstream, 3);
    let asked: Vec<_> = replicas.iter().map(|replica| tokio::spawn(replica.get("/x"))).collect();
    for answer in asked {
        assert_eq!(answer.await.unwrap().unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    }
    assert_eq!(upstream.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn head_and_not_modified_are_shared() {
    let upstream = Upstream::answering(WORK, |_| {
        let mut response = Response::new(body(""));
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("700"));
        response
    });
    let replicas = replicas(&upstream, 2);
    let ask = || request(Method::HEAD, "/x", &[("if-none-match", "\"7\"")]);
    let led = tokio::spawn(replicas[0].send(ask()));
    settle().await;
    let taken = replicas[1].send(ask()).await.unwrap();
    assert_eq!(
        (taken.status(), &taken.headers()[header::CONTENT_LENGTH]),
        (StatusCode::NOT_MODIFIED, &"700".parse().unwrap())
    );
    led.await.unwrap().unwrap();
    assert_eq!(upstream.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_large_response_is_fetched() {
    let text_of = "x".repeat(500_000);
    let answer = text_of.clone();
    let upstream = Upstream::answering(WORK, move |_| whole(&answer));
    let replicas = replicas(&upstream, 3);
    let asked: Vec<_> = replicas.iter().map(|replica| replica.ask("/x")).collect();
    for answer in asked {
        assert_eq!(answer.await.unwrap(), text_of);
    }
    settle().await;
    assert_eq!(upstream.calls(), 1);
    let fetched: usize = replicas.iter().map(|replica| replica.count(Operation::Fetch)).sum();
    assert_eq!(fetched, 2);
    assert_eq!(replicas[0].engine.stored(), 0, "the last takes it along");
}

#[tokio::test(start_paused = true)]
async fn a_slow_client_delays_no_replica() {
    let upstream = Upstream::answering(WORK, |_| {
        Response::new(frames(ms(10), vec![data("one "), data("two")]))
    });
    let replicas = replicas(&upstream, 2);
    let led = tokio::spawn(replicas[0].get("/x"));
    settle().await;
    let start = Instant::now();
    assert_eq!(text(replicas[1].get("/x")).await, "one two");
    assert_eq!(start.elapsed(), ms(70));
    let unread = led.await.unwrap();
    drop(unread);
}

/// Whether a replica with these settings meets one with the usual ones.
async fn meet(other: impl FnOnce(MemoryEngine) -> (Fleet, FleetLayer)) -> bool {
    let (upstream, engine) = (Upstream::new(), MemoryEngine::new());
    let one = Replica::new(&upstream, engine.another());
    let way = engine.another();
    let (fleet, layer) = other(way.clone());
    let other = Replica::of(&upstream, way, fleet, layer);
    let (a, b) = (one.ask("/x"), other.ask("/x"));
    a.await.unwrap();
    b.await.unwrap();
    upstream.calls() == 1
}

#[tokio::test(start_paused = true)]
async fn groups_policies_versions_and_secrets_do_not_meet() {
    let usual = |engine| Fleet::new(engine, SECRET);
    let with = |fleet: Fleet, name: &str| (fleet.clone(), by_path().fleet(&fleet, name));
    assert!(meet(|engine| with(usual(engine), "test")).await);
    assert!(!meet(|engine| with(usual(engine), "other")).await, "another name");
    assert!(!meet(|engine| with(usual(engine).version("2"), "test")).await, "another version");
    assert!(
        !meet(|engine| with(Fleet::new(engine, "another secret!!"), "test")).await,
        "another secret"
    );
    let policy = |engine, policy| {
        let fleet = usual(engine);
        (fleet.clone(), by_path().policy(policy).fleet(&fleet, "test"))
    };
    assert!(
        !meet(|engine| policy(engine, HttpPolicy::new().share_private(true))).await,
        "another policy"
    );
    assert!(meet(|engine| policy(engine, HttpPolicy::new())).await, "the same policy");
    let later = |engine| {
        let fleet = usual(engine);
        (
            fleet.clone(),
            by_path().fleet(&fleet, "test").policy(HttpPolicy::new().share_private(true)),
        )
    };
    assert!(!meet(later).await, "a policy that is set after the fleet");
}

#[tokio::test(start_paused = true)]
async fn other_users_and_hosts_do_not_meet() {
    let upstream = Upstream::new();
    let replicas = replicas(&upstream, 2);
    let differ = [("authorization", "b"), ("cookie", "b"), ("host", "b"), ("accept", "b")];
    for (at, (name, value)) in differ.into_iter().enumerate() {
        let one = tokio::spawn(replicas[0].send(request(Method::GET, "/x", &[(name, "a")])));
        let two = tokio::spawn(replicas[1].send(request(Method::GET, "/x", &[(name, value)])));
        one.await.unwrap().unwrap();
        two.await.unwrap().unwrap();
        assert_eq!(upstream.calls(), 2 * (at + 1), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_of_a_request_or_response_is_in_a_payload() {
    let upstream = Upstream::answering(WORK, |_| whole("a body of some length"));
    let replicas = replicas(&upstream, 2);
    let ask =
        || request(Method::GET, "/some/path/of/it", &[("authorization", "Bearer credential")]);
    let (one, two) = (tokio::spawn(replicas[0].send(ask())), tokio::spawn(replicas[1].send(ask())));
    one.await.unwrap().unwrap();
    two.await.unwrap().unwrap();
    settle().await;
    let sent: Vec<_> = replicas.iter().flat_map(|replica| replica.engine.payloads()).collect();
    assert_eq!(sent.len(), 1);
    for hidden in ["a body", "some/path", "credential"] {
        assert!(!sent[0].windows(hidden.len()).any(|bytes| bytes == hidden.as_bytes()), "{hidden}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_that_varies_is_for_requests_that_agree() {
    let upstream = Upstream::with(|number, request| {
        let flavour = request.headers().get("x-flavour").cloned().unwrap();
        Box::pin(async move {
            sleep(WORK).await;
            let mut response = whole(&format!("{number} {}", flavour.to_str().unwrap()));
            response.headers_mut().insert(header::VARY, HeaderValue::from_static("x-flavour"));
            Ok(response)
        })
    });
    let replicas = replicas(&upstream, 3);
    let ask = |replica: &Replica, flavour| {
        tokio::spawn(text(replica.send(request(Method::GET, "/x", &[("x-flavour", flavour)]))))
    };
    let led = ask(&replicas[0], "sweet");
    settle().await;
    let agrees = ask(&replicas[1], "sweet");
    let differs: Vec<_> = (0..3).map(|_| ask(&replicas[2], "salt")).collect();
    assert_eq!(led.await.unwrap(), "1 sweet");
    assert_eq!(agrees.await.unwrap(), "1 sweet");
    for answer in differs {
        assert_eq!(answer.await.unwrap(), "2 salt", "those who disagree share among themselves");
    }
    replicas[2].went_alone(1, FleetReason::Vary);
    assert_eq!(upstream.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_not_polled_delays_no_other_replica() {
    let upstream = Upstream::new();
    let replicas = replicas(&upstream, 2);
    let mut leader = tokio_test::task::spawn(replicas[0].get("/x"));
    assert!(leader.poll().is_pending());
    let start = Instant::now();
    assert_eq!(replicas[1].ask("/x").await.unwrap(), "1");
    assert!(start.elapsed() < WORK * 2, "{:?}", start.elapsed());
    assert_eq!(upstream.calls(), 1);
    drop(leader);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_not_polled_hears_that_its_flight_is_forgotten() {
    let upstream = Upstream::new();
    let replicas = replicas(&upstream, 3);
    let mut leader = tokio_test::task::spawn(replicas[0].get("/x"));
    assert!(leader.poll().is_pending());
    settle().await;
    replicas[1].handle.forget("/x");
    settle().await;
    assert_eq!(replicas[2].ask("/x").await.unwrap(), "2", "it leads anew");
    drop(leader);
}

#[tokio::test(start_paused = true)]
async fn a_response_is_held_on_the_replica_that_led_alone() {
    let upstream = Upstream::answering(WORK, |number| {
        let mut response = whole(&number.to_string());
        response.headers_mut().insert("cache-control", "max-age=60".parse().unwrap());
        response
    });
    let replicas = replicas_with(&upstream, 2, |fleet| fleet, |layer| layer.hold_for(ms(500)));
    let asked = [replicas[0].ask("/x"), replicas[1].ask("/x")];
    for answer in asked {
        assert_eq!(answer.await.unwrap(), "1");
    }
    assert_eq!(replicas[0].ask("/x").await.unwrap(), "1");
    assert_eq!(replicas[1].ask("/x").await.unwrap(), "2");
}

/// A future that panics when it is dropped.
struct PanicsOnDrop<F>(Pin<Box<F>>);

impl<F: Future> Future for PanicsOnDrop<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl<F> Drop for PanicsOnDrop<F> {
    fn drop(&mut self) {
        panic!("as ordered");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_drop_panics_after_its_response_answers_all() {
    for (is_down, fails) in [(false, false), (false, true), (true, false), (true, true)] {
        let engine = MemoryEngine::new();
        engine.stop(is_down);
        let call = move |_: Ask| {
            PanicsOnDrop(Box::pin(async move {
                sleep(WORK).await;
                if fails { Err(Failure) } else { Ok(whole("fine")) }
            }))
        };
        let layer = by_path().fleet(&Fleet::new(engine.clone(), SECRET), "test");
        let service = layer.layer(service_fn(call));
        let asked = [(); 3]
            .map(|()| tokio::spawn(service.clone().oneshot(request(Method::GET, "/x", &[]))));
        for answer in asked {
            assert_eq!(answer.await.unwrap().is_err(), fails);
        }
    }
}
