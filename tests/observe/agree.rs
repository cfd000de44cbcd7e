//! After a storm, what was recorded agrees with `Stats`, and every call was counted once.

use crate::support::*;
use http::{Request, Response};
use http_body_util::Empty;
use std::time::Duration;
use tokio_test::task::{Spawn, spawn};
use tower::{Layer, Service, service_fn};
use tower_singleflight::{NearMiss, PassReason, SingleflightLayer, Stats, VetoReason};

type Ask = Request<Empty<bytes::Bytes>>;

#[derive(Clone)]
struct Failed;

/// Makes and drops calls of an upstream that answers, refuses, fails, vetoes, varies, panics and
/// hangs. Gives how many.
async fn storm(
    seed: u64,
    layer: &SingleflightLayer<tower_singleflight::mode::Http<String>>,
) -> u64 {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut service = layer.layer(service_fn(|request: Ask| async move {
        let kind = request.uri().path().to_owned();
        tokio::time::sleep(Duration::from_millis(kind.len() as u64)).await;
        let response = match &*kind {
            "/panic" => panic!("the upstream"),
            "/hang" => std::future::pending().await,
            "/veto" => Response::builder().header("cache-control", "no-store"),
            "/vary" => Response::builder().header("vary", "x"),
            "/refused" => Response::builder().status(403),
            "/limited" => Response::builder().status(429),
            "/failed" => return Err(Failed),
            _ => Response::builder(),
        };
        Ok(response.body(Empty::<bytes::Bytes>::new()).unwrap())
    }));
    let (mut waiting, mut made): (Vec<Spawn<_>>, u64) = (Vec::new(), 0);
    for _ in 0..600 {
        match rng.u8(0..10) {
            0..6 => {
                let path = PATHS[rng.usize(0..PATHS.len())];
                let request = Request::get(path).header("x", rng.u16(0..3));
                let request =
                    if rng.u8(0..8) == 0 { request.header("range", "bytes=0-") } else { request };
                waiting.push(spawn(service.call(request.body(Empty::new()).unwrap())));
                made += 1;
            }
            6 if !waiting.is_empty() => drop(waiting.swap_remove(rng.usize(0..waiting.len()))),
            7 => tokio::time::advance(Duration::from_millis(1)).await,
            8 => match rng.u8(0..16) {
                0 => layer.handle().set_enabled(false),
                1..4 => layer.handle().set_enabled(true),
                4..8 => layer.handle().forget_if(|path| path.contains('r')),
                8 => layer.handle().forget_all(),
                _ => layer.handle().forget("/other"),
            },
            _ => settle().await,
        }
        waiting.retain_mut(|call| {
            let polled =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| call.poll().is_pending()));
            polled.unwrap_or(false)
        });
    }
    drop(waiting);
    settle().await;
    made
}

const PATHS: [&str; 8] =
    ["/panic", "/hang", "/veto", "/vary", "/other", "/refused", "/limited", "/failed"];

fn number(numbers: &[(String, u64)], labels: &str) -> u64 {
    numbers.iter().find(|(known, _)| known == labels).map_or(0, |(_, number)| *number)
}

#[tokio::test(start_paused = true)]
async fn metrics_agree_with_stats_and_every_call_is_counted_once() {
    let (mut seen, mut near_misses) = (Stats::default(), 0);
    for seed in 0..20 {
        let mut recorded = record();
        let layer = SingleflightLayer::new(|req| req.uri().path().to_owned())
            .followers_retry(2)
            .max_waiters(8);
        let layer = layer.wait_at_most(Duration::from_millis(12));
        let made = storm(seed, &layer).await;
        let stats = layer.handle().stats();
        assert_eq!(
            (stats.in_flight, stats.waiting, recorded.in_progress()),
            (0, 0, (0, 0)),
            "seed {seed}"
        );
        let calls: u64 = recorded.calls().iter().map(|(_, number)| number).sum();
        assert_eq!(calls, made, "seed {seed}: {:?}", recorded.calls());
        let flights = recorded.flights();
        let of = |outcome: &str| number(&flights, &format!("outcome={outcome}"));
        assert_eq!(
            (of("cancelled"), of("panicked"), of("lost")),
            (stats.cancelled, stats.panicked, 0)
        );
        // Those who were to go on may all have left before anybody led them.
        let over = of("landed") + stats.cancelled + stats.panicked;
        assert!((stats.led..=stats.led + stats.refused).contains(&over), "seed {seed}");
        assert_eq!(
            number(&recorded.numbers("singleflight_refusals_total"), ""),
            stats.refused,
            "seed {seed}"
        );
        assert_eq!(
            number(&recorded.numbers("singleflight_timeouts_total"), ""),
            stats.timed_out,
            "seed {seed}"
        );
        let misses = recorded.numbers("singleflight_near_misses_total");
        for reason in NearMiss::ALL {
            let counted = stats.near_misses_by(*reason);
            assert_eq!(
                number(&misses, &format!("reason={reason}")),
                counted,
                "seed {seed}: {reason}"
            );
        }
        let passes = recorded.passes();
        for reason in PassReason::ALL {
            assert_eq!(
                number(&passes, &format!("reason={reason}")),
                stats.passed_by(*reason),
                "seed {seed}: {reason}"
            );
        }
        let vetoes = recorded.vetoes();
        for reason in VetoReason::ALL {
            assert_eq!(
                number(&vetoes, &format!("reason={reason}")),
                stats.vetoed_by(*reason),
                "seed {seed}: {reason}"
            );
        }
        seen.joined += stats.joined;
        seen.passed += stats.passed;
        seen.vetoed += stats.vetoed;
        seen.cancelled += stats.cancelled;
        seen.panicked += stats.panicked;
        seen.refused += stats.refused;
        seen.timed_out += stats.timed_out;
        near_misses += stats.near_misses();
    }
    let ends = [seen.joined, seen.passed, seen.vetoed, seen.cancelled, seen.panicked];
    let rare = ends.into_iter().chain([seen.refused, seen.timed_out, near_misses]);
    assert!(
        rare.into_iter().all(|count| count > 20),
        "the storm is no storm: {near_misses} {seen:?}"
    );
}
