//! A flight that is lost with its runtime.

use crate::support::{
    Ask, Inner, Layered, Upstream, by_key, call, panic_text, paused, result, settle,
};
use std::time::Duration;
use tokio::runtime::Builder;
use tokio_test::{assert_pending, task::Spawn};
use tower::{Layer, Service};
use tower_singleflight::{SingleflightLayer, mode::ByKey};

type Call = Spawn<<Layered<Upstream> as Service<Ask>>::Future>;

/// Waiters whose flight was lost when the inner call had been made.
struct Lost<const N: usize> {
    upstream: Upstream,
    layer: SingleflightLayer<ByKey<Ask, u32>>,
    service: Layered<Upstream>,
    calls: [Call; N],
}

fn lost<const N: usize>(callers: [&'static str; N]) -> Lost<N> {
    lost_by(by_key(), callers)
}

fn lost_by<const N: usize>(
    layer: SingleflightLayer<ByKey<Ask, u32>>,
    callers: [&'static str; N],
) -> Lost<N> {
    let upstream = Upstream::new();
    let mut service = layer.layer(upstream.clone());
    let calls = on_a_runtime_that_ends(async {
        let mut calls = callers.map(|who| call(&mut service, (1, who)));
        for call in &mut calls {
            assert_pending!(call.poll());
        }
        settle().await;
        calls
    });
    assert!(upstream.next().is_dropped());
    Lost { upstream, layer, service, calls }
}

fn on_a_runtime_that_ends<T>(calls: impl Future<Output = T>) -> T {
    paused().block_on(calls)
}

/// The inner call that `call` makes when it leads anew.
async fn led_anew_by(call: &mut Call, upstream: &Upstream) -> Inner {
    assert_pending!(call.poll());
    settle().await;
    upstream.next()
}

#[test]
fn a_follower_leads_anew_with_its_own_request_and_the_leader_waits_on() {
    let Lost { upstream, layer, calls: [mut leader, mut follower], .. } =
        lost(["leader", "follower"]);
    assert_pending!(leader.poll());
    paused().block_on(async {
        let inner = led_anew_by(&mut follower, &upstream).await;
        assert_eq!(inner.request, (1, "follower"));
        inner.answer("told");
        settle().await;
        assert_eq!((result(&mut leader), result(&mut follower)), (Ok("told"), Ok("told")));
    });
    let stats = layer.handle().stats();
    assert_eq!(
        (stats.lost, stats.led, stats.joined, stats.in_flight, stats.waiting),
        (1, 1, 1, 0, 0)
    );
}

#[test]
fn every_waiter_is_woken_when_its_flight_is_lost() {
    let Lost { layer, calls, .. } = lost(["leader", "one", "two"]);
    assert!(calls.iter().all(Spawn::is_woken));
    assert_eq!((layer.handle().in_flight(), layer.handle().waiting()), (1, 3));
}

#[test]
fn one_follower_leads_anew_and_the_others_wait_for_it() {
    let Lost { upstream, mut calls, .. } = lost(["leader", "one", "two", "three"]);
    paused().block_on(async {
        let inner = led_anew_by(&mut calls[2], &upstream).await;
        for call in &mut calls {
            assert_pending!(call.poll());
        }
        settle().await;
        assert_eq!(inner.request, (1, "two"));
        inner.answer("told");
        settle().await;
        assert_eq!(calls.each_mut().map(|call| result(call).unwrap()), ["told"; 4]);
    });
    assert_eq!(upstream.total(), 2);
}

#[test]
fn a_newcomer_leads_the_lost_flight_anew_with_its_own_request() {
    let Lost { upstream, mut service, calls: [mut leader, mut follower], .. } =
        lost(["leader", "follower"]);
    paused().block_on(async {
        let mut newcomer = call(&mut service, (1, "newcomer"));
        let inner = led_anew_by(&mut newcomer, &upstream).await;
        assert_eq!(inner.request, (1, "newcomer"));
        assert_pending!(follower.poll());
        inner.answer("told");
        settle().await;
        assert_eq!((result(&mut leader), result(&mut follower)), (Ok("told"), Ok("told")));
        assert_eq!(result(&mut newcomer), Ok("told"));
    });
    assert_eq!(upstream.total(), 2);
}

#[test]
fn a_newcomer_joins_a_flight_that_was_led_anew() {
    let Lost { upstream, layer, mut service, calls: [_leader, mut follower] } =
        lost(["leader", "follower"]);
    paused().block_on(async {
        let inner = led_anew_by(&mut follower, &upstream).await;
        let mut newcomer = call(&mut service, (1, "newcomer"));
        inner.answer("told");
        settle().await;
        assert_eq!(result(&mut newcomer), Ok("told"));
    });
    assert_eq!(layer.handle().stats().joined, 2);
}

#[test]
fn outside_any_runtime_a_follower_leads_anew_in_place() {
    let Lost { upstream, calls: [mut leader, mut follower], .. } = lost(["leader", "follower"]);
    assert_pending!(follower.poll());
    let inner = upstream.next();
    assert_eq!(inner.request, (1, "follower"));
    assert_pending!(leader.poll());
    inner.answer("told");
    assert!(follower.is_woken());
    assert_eq!(result(&mut follower), Ok("told"));
    assert!(leader.is_woken());
    assert_eq!(result(&mut leader), Ok("told"));
}

#[test]
fn nobody_notices_when_the_follower_that_led_anew_leaves() {
    let Lost { upstream, calls: [mut leader, mut one, mut two], .. } =
        lost(["leader", "one", "two"]);
    paused().block_on(async {
        let inner = led_anew_by(&mut one, &upstream).await;
        drop(one);
        assert!(!inner.is_dropped());
        inner.answer("told");
        settle().await;
        assert_eq!((result(&mut leader), result(&mut two)), (Ok("told"), Ok("told")));
    });
    assert_eq!(upstream.total(), 2);
}

#[test]
fn a_flight_that_is_lost_twice_is_led_anew_twice() {
    let Lost { upstream, layer, calls: [mut leader, mut one, mut two], .. } =
        lost(["leader", "one", "two"]);
    let again = on_a_runtime_that_ends(led_anew_by(&mut one, &upstream));
    assert!(again.is_dropped());
    paused().block_on(async {
        assert_pending!(leader.poll());
        assert_pending!(one.poll());
        let inner = led_anew_by(&mut two, &upstream).await;
        assert_eq!(inner.request, (1, "two"));
        inner.answer("told");
        settle().await;
        for call in [&mut leader, &mut one, &mut two] {
            assert_eq!(result(call), Ok("told"));
        }
    });
    assert_eq!(layer.handle().stats().lost, 2);
}

#[test]
fn when_nobody_has_a_request_left_every_waiter_panics_with_a_clear_text() {
    let Lost { upstream, layer, mut service, calls: [mut leader, mut follower] } =
        lost(["leader", "follower"]);
    on_a_runtime_that_ends(led_anew_by(&mut follower, &upstream));
    for call in [&mut leader, &mut follower] {
        assert!(call.is_woken());
        let text = panic_text(|| call.poll());
        assert!(
            text.contains("tower-singleflight") && text.contains("runtime shut down"),
            "{text}"
        );
    }
    assert_eq!((layer.handle().in_flight(), layer.handle().waiting()), (0, 0));

    let mut afterwards = call(&mut service, (1, "afterwards"));
    assert_pending!(afterwards.poll());
    upstream.next().answer("told");
    assert_eq!(result(&mut afterwards), Ok("told"));
}

#[test]
fn a_leader_panics_when_the_last_follower_leaves_the_lost_flight() {
    let Lost { layer, calls: [mut leader, follower], .. } = lost(["leader", "follower"]);
    assert_pending!(leader.poll());
    drop(follower);
    assert!(leader.is_woken());
    assert!(panic_text(|| leader.poll()).contains("no waiter has a request left"));
    assert_eq!((layer.handle().in_flight(), layer.handle().waiting()), (0, 0));
}

#[test]
fn a_lost_flight_that_everybody_left_leaves_nothing_behind() {
    let Lost { upstream, layer, mut service, calls } = lost(["leader", "follower"]);
    drop(calls);
    assert_eq!((layer.handle().in_flight(), layer.handle().waiting()), (0, 0));
    let mut afterwards = call(&mut service, (1, "afterwards"));
    assert_pending!(afterwards.poll());
    assert_eq!(upstream.next().request, (1, "afterwards"));
}

#[test]
fn an_abandoned_flight_that_is_lost_leaves_nothing_behind() {
    let upstream = Upstream::<&str>::new();
    let layer = by_key().run_to_completion(true);
    let mut service = layer.layer(upstream.clone());
    on_a_runtime_that_ends(async {
        drop(service.call((1, "abandoned")));
        settle().await;
    });
    assert!(upstream.next().is_dropped());
    let stats = layer.handle().stats();
    assert_eq!((stats.lost, stats.in_flight, stats.waiting), (1, 0, 0));
    let _afterwards = service.call((1, "afterwards"));
    assert_eq!(layer.handle().stats().led, 2);
}

#[test]
fn a_lone_call_is_not_lost_with_the_runtime_it_was_made_on() {
    let upstream = Upstream::<&str>::new();
    let mut service = by_key().layer(upstream.clone());
    let [mut lone] = on_a_runtime_that_ends(async {
        let mut lone = call(&mut service, (1, "lone"));
        assert_pending!(lone.poll());
        [lone]
    });
    let inner = upstream.next();
    assert!(!inner.is_dropped());
    inner.answer("told");
    assert_eq!(result(&mut lone), Ok("told"));
}

#[test]
fn a_follower_of_a_leader_whose_runtime_is_gone_gets_a_result() {
    let upstream = Upstream::<&str>::new();
    let mut service = by_key().layer(upstream.clone());
    let [mut leader] = on_a_runtime_that_ends(async { [call(&mut service, (1, "leader"))] });
    paused().block_on(async {
        let mut follower = call(&mut service, (1, "follower"));
        assert_pending!(leader.poll());
        led_anew_by(&mut follower, &upstream).await.answer("told");
        settle().await;
        assert_eq!((result(&mut leader), result(&mut follower)), (Ok("told"), Ok("told")));
    });
}

#[test]
fn who_led_anew_has_no_patience_that_could_end() {
    let layer = by_key().wait_at_most(Duration::from_secs(1));
    let Lost { upstream, layer, calls: [_leader, mut follower], .. } =
        lost_by(layer, ["leader", "follower"]);
    paused().block_on(async {
        let inner = led_anew_by(&mut follower, &upstream).await;
        tokio::time::advance(Duration::from_secs(100)).await;
        assert_pending!(follower.poll());
        inner.answer("told");
        settle().await;
        assert_eq!(result(&mut follower), Ok("told"));
    });
    assert_eq!(layer.handle().stats().timed_out, 0);
}

#[test]
fn a_multi_thread_runtime_that_shuts_down_loses_its_flights_too() {
    let upstream = Upstream::<&str>::new();
    let mut service = by_key().layer(upstream.clone());
    let first = Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let [mut leader, mut follower] = {
        let _inside = first.enter();
        ["leader", "follower"].map(|who| call(&mut service, (1, who)))
    };
    assert_pending!(leader.poll());
    assert_pending!(follower.poll());
    drop(first);
    paused().block_on(async {
        assert_pending!(follower.poll());
        settle().await;
        let made = upstream.total();
        // The first inner call was made if the worker was quick enough.
        if made == 2 {
            assert!(upstream.next().is_dropped());
        }
        let inner = upstream.next();
        assert_eq!(inner.request, (1, "follower"));
        inner.answer("told");
        settle().await;
        assert_eq!((result(&mut leader), result(&mut follower)), (Ok("told"), Ok("told")));
    });
}
