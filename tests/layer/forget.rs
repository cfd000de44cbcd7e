//! Forgetting more than one key, and turning coalescing off.

use crate::support::{Ask, Upstream, by_key, call, panic_text, result, settle, without_deadlock};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio_test::assert_pending;
use tower::{Layer, Service};
use tower_singleflight::{Group, PassReason, SingleflightLayer};

#[tokio::test]
async fn forget_if_forgets_the_keys_for_which_it_says_true() {
    let upstream = Upstream::<&str>::new();
    let layer = by_key();
    let mut service = layer.layer(upstream.clone());
    let mut old = [1, 2, 3, 4].map(|key| call(&mut service, (key, "old")));
    let _joined = service.call((2, "joined"));
    layer.handle().forget_if(|key| key % 2 == 0);
    let _new = [1, 2, 3, 4].map(|key| service.call((key, "new")));
    let stats = layer.handle().stats();
    assert_eq!((stats.led, stats.joined), (6, 3));
    settle().await;
    // Alone or shared, what was forgotten lands for those who wait.
    old.iter_mut().for_each(|call| assert_pending!(call.poll()));
    for _ in 0..4 {
        upstream.next().answer("told");
        settle().await;
    }
    let landed = old.iter_mut().filter_map(|call| match call.poll() {
        std::task::Poll::Ready(end) => Some(end),
        std::task::Poll::Pending => None,
    });
    assert!(landed.count() >= 2);
}

#[tokio::test]
async fn a_flight_whose_key_was_asked_about_may_still_be_joined() {
    let upstream = Upstream::<&str>::new();
    let layer = by_key();
    let mut service = layer.layer(upstream.clone());
    let mut leader = call(&mut service, (1, "leader"));
    assert_pending!(leader.poll());
    for _ in 0..3 {
        layer.handle().forget_if(|_| false);
    }
    let mut follower = call(&mut service, (1, "follower"));
    assert_pending!(follower.poll());
    settle().await;
    upstream.next().answer("told");
    settle().await;
    assert_eq!((result(&mut leader), result(&mut follower)), (Ok("told"), Ok("told")));
    layer.handle().forget(&1);
    let stats = layer.handle().stats();
    assert_eq!((stats.led, stats.joined, stats.in_flight), (1, 1, 0));
}

#[tokio::test]
async fn forget_finds_a_key_that_was_asked_about() {
    let layer = by_key();
    let mut service = layer.layer(Upstream::<&str>::new());
    let _old = service.call((1, "old"));
    layer.handle().forget_if(|_| false);
    layer.handle().forget(&1);
    let _new = service.call((1, "new"));
    assert_eq!(layer.handle().stats().led, 2);
}

#[tokio::test]
async fn forget_all_forgets_every_flight() {
    let layer = SingleflightLayer::by_key(|ask: &Ask| ask.0).separate_groups();
    let mut services = [layer.layer(Upstream::<&str>::new()), layer.layer(Upstream::<&str>::new())];
    let mut calls = Vec::new();
    for round in 0..2 {
        for key in 0..100 {
            calls.extend(services.iter_mut().map(|service| service.call((key, "one"))));
        }
        assert_eq!(layer.handle().stats().led, 200 * (round + 1));
        layer.handle().forget_all();
    }
    drop(calls);
    assert_eq!((layer.handle().in_flight(), layer.handle().waiting()), (0, 0));
}

#[test]
fn the_closure_of_forget_if_may_use_the_group_and_its_service() {
    without_deadlock(|| async {
        let layer = by_key();
        let service = layer.layer(Upstream::<&str>::new());
        let handle = layer.handle();
        let _leaders = [1, 2].map(|key| service.clone().call((key, "leader")));
        let mut calls = Vec::new();
        handle.forget_if(|key| {
            calls.push(service.clone().call((*key, "inside")));
            calls.push(service.clone().call((*key + 2, "another")));
            handle.forget(key);
            handle.forget_if(|_| false);
            handle.in_flight() > 0
        });
        assert_eq!(calls.len(), 4);
        let group = Group::<u32, u32>::new();
        let _run = group.run(1, || async { 1 });
        group.forget_if(|key| {
            group.stats().led == 1 && *key == 1 && group.run(1, || async { 2 }).eq_nothing()
        });
        let _new = group.run(1, || async { 3 });
        assert_eq!(group.stats().led, 2);
        group.forget_all();
        let _newest = group.run(1, || async { 4 });
        assert_eq!(group.stats().led, 3);
    });
}

trait EqNothing: Sized {
    /// True; the value is dropped.
    fn eq_nothing(self) -> bool {
        true
    }
}

impl<T> EqNothing for T {}

#[tokio::test]
async fn a_panic_in_the_closure_of_forget_if_reaches_its_caller_after_the_other_keys() {
    let layer = by_key();
    let mut service = layer.layer(Upstream::<&str>::new());
    let _old = [1, 2, 3].map(|key| service.call((key, "old")));
    let text = panic_text(|| {
        layer.handle().forget_if(|key| if *key == 2 { panic!("ouch") } else { true })
    });
    assert_eq!(text, "ouch");
    let _new = [1, 2, 3].map(|key| service.call((key, "new")));
    let stats = layer.handle().stats();
    assert_eq!((stats.led, stats.joined), (5, 1));
}

/// Counts how many there are.
#[derive(PartialEq, Eq, Hash)]
struct Key(u32);

static DROPPED: AtomicUsize = AtomicUsize::new(0);

impl Drop for Key {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, SeqCst);
    }
}

#[tokio::test]
async fn a_key_that_was_asked_about_goes_with_its_flight() {
    let group = Group::<Key, u32>::new();
    let run = group.run(Key(1), || async { 1 });
    group.forget_if(|key| key.0 == 2);
    assert_eq!(DROPPED.load(SeqCst), 0);
    drop(run);
    assert_eq!((DROPPED.load(SeqCst), group.in_flight()), (1, 0));
}

#[tokio::test]
async fn a_disabled_layer_passes_everything_and_lands_what_is_in_progress() {
    let upstream = Upstream::<&str>::new();
    let layer = by_key();
    let mut service = layer.layer(upstream.clone());
    let mut leader = call(&mut service, (1, "leader"));
    let mut follower = call(&mut service, (1, "follower"));
    assert_pending!(leader.poll());
    settle().await;
    layer.handle().set_enabled(false);
    let mut passes = [(); 3].map(|()| call(&mut service, (1, "pass")));
    passes.iter_mut().for_each(|pass| assert_pending!(pass.poll()));
    assert_eq!(upstream.total(), 4);
    upstream.next().answer("before");
    settle().await;
    assert_eq!((result(&mut leader), result(&mut follower)), (Ok("before"), Ok("before")));
    for pass in &mut passes {
        upstream.next().answer("its own");
        assert_eq!(result(pass), Ok("its own"));
    }
    assert_eq!(layer.handle().stats().passed_by(PassReason::Disabled), 3);
    layer.handle().set_enabled(true);
    let _calls = [(); 2].map(|()| service.call((1, "again")));
    assert_eq!((layer.handle().stats().led, layer.handle().stats().joined), (2, 2));
}

#[tokio::test]
async fn nobody_joins_a_flight_from_before_the_layer_was_disabled() {
    let layer = by_key();
    let mut service = layer.layer(Upstream::<&str>::new());
    let _before = service.call((1, "before"));
    layer.handle().set_enabled(false);
    layer.handle().set_enabled(true);
    let _after = service.call((1, "after"));
    assert_eq!((layer.handle().stats().led, layer.handle().stats().joined), (2, 0));
}

#[tokio::test]
async fn a_disabled_layer_calls_no_closure_of_the_users() {
    let calls = Arc::new(AtomicUsize::new(0));
    let seen = calls.clone();
    let layer = SingleflightLayer::by_key(move |ask: &Ask| {
        seen.fetch_add(1, SeqCst);
        ask.0
    });
    let mut service = layer.clone().layer(Upstream::<&str>::new());
    layer.handle().set_enabled(false);
    let _pass = service.call((1, "pass"));
    assert_eq!(calls.load(SeqCst), 0);
}

#[tokio::test]
async fn stats_display_as_one_line() {
    let layer = by_key().filter(|ask: &Ask| ask.1 != "apart").max_waiters(2);
    let mut service = layer.layer(Upstream::<&str>::new());
    assert_eq!(
        layer.handle().stats().to_string(),
        "led 0, joined 0, passed 0, in flight 0, waiting 0"
    );
    let _calls = [(); 3].map(|()| service.call((1, "one")));
    let _apart = service.call((1, "apart"));
    layer.handle().set_enabled(false);
    let _off = service.call((1, "one"));
    drop(_calls);
    assert_eq!(
        layer.handle().stats().to_string(),
        "led 2, joined 1, passed 2 (filter 1, disabled 1), cancelled 2, near misses 1 (full 1), in \
         flight 0, waiting 0"
    );
}

#[tokio::test(start_paused = true)]
async fn a_follower_whose_patience_ends_while_the_layer_is_disabled_passes() {
    let upstream = Upstream::<&str>::new();
    let patience = Duration::from_secs(1);
    let layer = by_key().wait_at_most(patience);
    let mut service = layer.layer(upstream.clone());
    let _leader = call(&mut service, (1, "leader"));
    let mut followers = [(); 3].map(|()| call(&mut service, (1, "follower")));
    followers.iter_mut().for_each(|follower| assert_pending!(follower.poll()));
    settle().await;
    layer.handle().set_enabled(false);
    tokio::time::advance(patience).await;
    followers.iter_mut().for_each(|follower| assert_pending!(follower.poll()));
    let stats = layer.handle().stats();
    assert_eq!((upstream.total(), stats.led, stats.passed_by(PassReason::Disabled)), (4, 1, 3));
    let _hangs = upstream.next();
    for follower in &mut followers {
        upstream.next().answer("its own");
        assert_eq!(result(follower), Ok("its own"));
    }
}

#[tokio::test]
async fn a_key_that_panics_as_it_is_dropped_keeps_no_layer_disabled() {
    #[derive(PartialEq, Eq, Hash)]
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            if !std::thread::panicking() {
                panic!("the key");
            }
        }
    }
    let layer = SingleflightLayer::by_key(|_: &Ask| Bomb);
    let mut service = layer.layer(Upstream::<&str>::new());
    let before = service.call((1, "before"));
    assert_eq!(panic_text(|| layer.handle().set_enabled(false)), "the key");
    let _pass = service.call((1, "pass"));
    drop(before);
    layer.handle().set_enabled(true);
    let again = service.call((1, "again"));
    assert_eq!(panic_text(|| layer.handle().set_enabled(true)), "the key");
    let last = service.call((1, "last"));
    assert_eq!((layer.handle().stats().led, layer.handle().stats().passed), (3, 1));
    assert_eq!(panic_text(|| drop(last)), "the key");
    drop(again);
}
