//! Which services share flights.

use crate::support::{Ask, Broken, Upstream, by_key, call, result, settle};
use tokio_test::assert_pending;
use tower::{BoxError, Layer, Service};

#[tokio::test]
async fn two_services_of_one_layer_do_not_share_by_default() {
    let layer = by_key();
    let (one, two) = (Upstream::<&str>::new(), Upstream::<&str>::new());
    let mut calls =
        [&one, &two].map(|upstream| call(&mut layer.layer(upstream.clone()), (1, "ask")));
    for call in &mut calls {
        assert_pending!(call.poll());
    }
    one.next().answer("one");
    two.next().answer("two");
    assert_eq!(calls.each_mut().map(|call| result(call).unwrap()), ["one", "two"]);
}

#[tokio::test]
async fn a_shared_group_is_one_for_all_services_of_a_layer() {
    let layer = by_key().shared_group();
    let (one, two) = (Upstream::<&str>::new(), Upstream::<&str>::new());
    let mut calls =
        [&one, &two].map(|upstream| call(&mut layer.layer(upstream.clone()), (1, "ask")));
    settle().await;
    one.next().answer("one");
    settle().await;
    assert_eq!(calls.each_mut().map(|call| result(call).unwrap()), ["one", "one"]);
    assert_eq!(two.total(), 0);
}

#[tokio::test]
async fn a_shared_group_is_one_for_the_clones_of_a_layer_too() {
    let layer = by_key().shared_group();
    let upstream = Upstream::<&str>::new();
    let (mut one, mut two) =
        (layer.clone().layer(upstream.clone()), layer.clone().layer(upstream.clone()));
    drop(layer);
    let _calls = [one.call((1, "one")), two.call((1, "two"))];
    settle().await;
    assert_eq!(upstream.total(), 1);
}

#[tokio::test]
async fn settings_on_a_clone_do_not_part_it_from_a_shared_group() {
    let layer = by_key().shared_group();
    let upstream = Upstream::<&str>::new();
    let (mut one, mut two) = (
        layer.layer(upstream.clone()),
        layer.clone().name("two").max_waiters(9).layer(upstream.clone()),
    );
    let _calls = [one.call((1, "one")), two.call((1, "two"))];
    settle().await;
    assert_eq!(upstream.total(), 1);
}

#[tokio::test]
async fn layers_that_were_made_apart_share_nothing() {
    let upstream = Upstream::<&str>::new();
    let mut services =
        [by_key(), by_key()].map(|layer| layer.shared_group().layer(upstream.clone()));
    let mut calls = services.each_mut().map(|service| call(service, (1, "ask")));
    for call in &mut calls {
        assert_pending!(call.poll());
    }
    assert_eq!(upstream.total(), 2);
}

#[tokio::test]
async fn separate_groups_take_a_shared_group_back() {
    let layer = by_key().shared_group().separate_groups();
    let upstream = Upstream::<&str>::new();
    let mut calls = [(); 2].map(|()| call(&mut layer.layer(upstream.clone()), (1, "ask")));
    for call in &mut calls {
        assert_pending!(call.poll());
    }
    assert_eq!(upstream.total(), 2);
}

#[tokio::test]
async fn clones_of_a_service_share_in_either_case() {
    for layer in [by_key().shared_group(), by_key().separate_groups()] {
        let upstream = Upstream::<&str>::new();
        let mut service = layer.layer(upstream.clone());
        let _calls = [
            service.clone().call((1, "one")),
            service.clone().call((1, "two")),
            service.call((1, "three")),
        ];
        settle().await;
        assert_eq!(upstream.total(), 1);
    }
}

#[tokio::test]
async fn services_with_different_responses_do_not_mix_in_a_shared_group() {
    let layer = by_key().shared_group();
    let (words, numbers) = (Upstream::<&str>::new(), Upstream::<u64>::new());
    let (mut word, mut number) = (
        call(&mut layer.layer(words.clone()), (1, "word")),
        call(&mut layer.layer(numbers.clone()), (1, "number")),
    );
    assert_pending!(word.poll());
    assert_pending!(number.poll());
    words.next().answer("one");
    numbers.next().answer(1);
    assert_eq!(result(&mut word), Ok("one"));
    assert_eq!(result(&mut number), Ok(1));
}

#[tokio::test]
async fn services_with_equal_responses_share_though_others_use_the_group() {
    let layer = by_key().shared_group();
    let (words, numbers) = (Upstream::<&str>::new(), Upstream::<u64>::new());
    let [mut one, mut two] = [(); 2].map(|()| layer.layer(words.clone()));
    let _calls = [one.call((1, "one"))];
    let _number = layer.layer(numbers.clone()).call((1, "number"));
    let _follower = two.call((1, "two"));
    settle().await;
    assert_eq!(words.total(), 1);
    assert_eq!((layer.handle().in_flight(), layer.handle().waiting()), (2, 3));
}

#[tokio::test]
async fn typed_and_shared_errors_do_not_mix_in_a_shared_group() {
    let layer = by_key().shared_group();
    let typed_upstream = Upstream::<&str, Broken>::new();
    let boxed_upstream = Upstream::<&str, BoxError>::new();
    let mut typed = call(&mut layer.layer(typed_upstream.clone()), (1, "typed"));
    let mut boxed =
        call(&mut layer.clone().shared_errors().layer(boxed_upstream.clone()), (1, "boxed"));
    assert_pending!(typed.poll());
    assert_pending!(boxed.poll());
    typed_upstream.next().fail(Broken("typed"));
    boxed_upstream.next().fail("boxed".into());
    assert_eq!(result(&mut typed), Err(Broken("typed")));
    assert_eq!(result(&mut boxed).unwrap_err().to_string(), "boxed");
}

#[tokio::test]
async fn a_service_that_is_dropped_mid_flight_leaves_the_flight_to_its_waiters() {
    let upstream = Upstream::<&str>::new();
    let layer = by_key();
    let mut service = layer.layer(upstream.clone());
    let mut calls = [call(&mut service, (1, "one")), call(&mut service, (1, "two"))];
    drop(service);
    drop(layer);
    settle().await;
    upstream.next().answer("told");
    settle().await;
    assert_eq!(calls.each_mut().map(|call| result(call).unwrap()), ["told", "told"]);
}

#[tokio::test]
async fn a_shared_group_outlives_the_services_that_used_it() {
    let layer = by_key().shared_group();
    let upstream = Upstream::<&str>::new();
    let _leader = layer.layer(upstream.clone()).call((1, "leader"));
    let _follower = layer.layer(upstream.clone()).call((1, "follower"));
    assert_eq!(layer.handle().stats().joined, 1);
}

#[tokio::test]
async fn requests_with_equal_keys_share_whatever_else_they_say() {
    let upstream = Upstream::<&str>::new();
    let layer = tower_singleflight::SingleflightLayer::by_key(|ask: &Ask| ask.1.to_lowercase());
    let mut service = layer.layer(upstream.clone());
    let _calls = [service.call((1, "Alice")), service.call((2, "ALICE")), service.call((3, "bob"))];
    let stats = layer.handle().stats();
    assert_eq!((stats.led, stats.joined), (2, 1));
}
