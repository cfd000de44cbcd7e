//! After a storm, what was recorded agrees with `Stats`, and every call was counted once.

use crate::support::*;
use http::{Request, Response};
use http_body_util::Empty;
use std::{convert::Infallible, time::Duration};
use tokio_test::task::{Spawn, spawn};
use tower::{Layer, Service, service_fn};
use tower_singleflight::{PassReason, SingleflightLayer, Stats, VetoReason};

type Ask = Request<Empty<bytes::Bytes>>;

/// Makes and drops calls of an upstream that answers, vetoes, varies, panics and hangs. Gives how many.
async fn storm(seed: u64, layer: &SingleflightLayer<tower_singleflight::Http<String>>) -> u64 {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut service = layer.layer(service_fn(|request: Ask| async move {
        let kind = request.uri().path().to_owned();
        tokio::time::sleep(Duration::from_millis(kind.len() as u64)).await;
        let response = match &*kind {
            "/panic" => panic!("the upstream"),
            "/hang" => std::future::pending().await,
            "/veto" => Response::builder().header("cache-control", "no-store"),
            "/vary" => Response::builder().header("vary", "x"),
            _ => Response::builder(),
        };
        Ok::<_, Infallible>(response.body(Empty::<bytes::Bytes>::new()).unwrap())
    }));
    let (mut waiting, mut made): (Vec<Spawn<_>>, u64) = (Vec::new(), 0);
    for _ in 0..600 {
        match rng.u8(0..10) {
            0..6 => {
                let path = ["/panic", "/hang", "/veto", "/vary", "/other"][rng.usize(0..5)];
                let request = Request::get(path).header("x", rng.u16(0..3));
                let request = if rng.u8(0..8) == 0 { request.header("range", "bytes=0-") } else { request };
                waiting.push(spawn(service.call(request.body(Empty::new()).unwrap())));
                made += 1;
            }
            6 if !waiting.is_empty() => drop(waiting.swap_remove(rng.usize(0..waiting.len()))),
            7 => tokio::time::advance(Duration::from_millis(1)).await,
            8 => layer.handle().forget("/other"),
            _ => settle().await,
        }
        waiting.retain_mut(|call| {
            let polled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| call.poll().is_pending()));
            polled.unwrap_or(false)
        });
    }
    drop(waiting);
    settle().await;
    made
}

fn number(numbers: &[(String, u64)], labels: &str) -> u64 {
    numbers.iter().find(|(known, _)| known == labels).map_or(0, |(_, number)| *number)
}

#[tokio::test(start_paused = true)]
async fn metrics_agree_with_stats_and_every_call_is_counted_once() {
    let mut seen = Stats::default();
    for seed in 0..20 {
        let mut recorded = record();
        let layer = SingleflightLayer::new(|req| req.uri().path().to_owned()).wait_at_most(Duration::from_millis(30));
        let made = storm(seed, &layer).await;
        let stats = layer.handle().stats();
        assert_eq!((stats.in_flight, stats.waiting, recorded.in_progress()), (0, 0, (0, 0)), "seed {seed}");
        let calls: u64 = recorded.calls().iter().map(|(_, number)| number).sum();
        assert_eq!(calls, made, "seed {seed}: {:?}", recorded.calls());
        let flights = recorded.flights();
        let of = |outcome: &str| number(&flights, &format!("outcome={outcome}"));
        assert_eq!((of("cancelled"), of("panicked"), of("lost")), (stats.cancelled, stats.panicked, 0));
        assert_eq!(of("landed") + stats.cancelled + stats.panicked, stats.led, "seed {seed}");
        let passes = recorded.passes();
        for reason in PassReason::ALL {
            assert_eq!(number(&passes, &format!("reason={reason}")), stats.passed_by(*reason), "seed {seed}: {reason}");
        }
        let vetoes = recorded.vetoes();
        for reason in VetoReason::ALL {
            assert_eq!(number(&vetoes, &format!("reason={reason}")), stats.vetoed_by(*reason), "seed {seed}: {reason}");
        }
        seen.joined += stats.joined;
        seen.passed += stats.passed;
        seen.vetoed += stats.vetoed;
        seen.cancelled += stats.cancelled;
        seen.panicked += stats.panicked;
    }
    let rare = [seen.joined, seen.passed, seen.vetoed, seen.cancelled, seen.panicked];
    assert!(rare.into_iter().all(|count| count > 20), "the storm is no storm: {seen:?}");
}
