//! An inner error reaches every waiter, typed.

use crate::support::{Ask, Broken, Upstream, by_key, call, result, settle};
use std::{
    convert::Infallible, error::Error, future::pending, io, iter::successors, time::Duration,
};
use tokio_test::{assert_pending, task::Spawn};
use tower::{
    BoxError, Layer, Service, ServiceBuilder, ServiceExt, service_fn, timeout::error::Elapsed,
};
use tower_singleflight::{SharedError, SingleflightLayer};

#[tokio::test]
async fn every_waiter_gets_the_inner_error_as_it_is_if_it_can_be_cloned() {
    let upstream = Upstream::<&str, Broken>::new();
    let mut service = by_key().layer(upstream.clone());
    let mut calls = [call(&mut service, (1, "one")), call(&mut service, (1, "two"))];
    settle().await;
    upstream.next().fail(Broken("pipe"));
    settle().await;
    for call in &mut calls {
        let error: Result<&str, Broken> = result(call);
        assert_eq!(error, Err(Broken("pipe")));
    }
}

#[tokio::test]
async fn an_error_starts_no_retries() {
    let upstream = Upstream::<&str, Broken>::new();
    let mut service = by_key().layer(upstream.clone());
    let mut calls: Vec<_> = (0..50).map(|_| call(&mut service, (1, "ask"))).collect();
    settle().await;
    upstream.next().fail(Broken("pipe"));
    settle().await;
    for call in &mut calls {
        assert!(result(call).is_err());
    }
    settle().await;
    assert_eq!(upstream.total(), 1);
}

#[tokio::test]
async fn a_call_after_an_error_asks_again() {
    let upstream = Upstream::<&str, Broken>::new();
    let mut service = by_key().layer(upstream.clone());
    let mut failed = call(&mut service, (1, "one"));
    assert_pending!(failed.poll());
    upstream.next().fail(Broken("pipe"));
    assert!(result(&mut failed).is_err());
    let mut again = call(&mut service, (1, "two"));
    assert_pending!(again.poll());
    upstream.next().answer("mended");
    assert_eq!(result(&mut again), Ok("mended"));
}

#[tokio::test]
async fn infallible_stays_infallible() {
    let mut service =
        by_key().layer(service_fn(|ask: Ask| async move { Ok::<_, Infallible>(ask.1) }));
    let told: Result<&str, Infallible> = service.ready().await.unwrap().call((1, "ask")).await;
    let Ok(told) = told;
    assert_eq!(told, "ask");
}

#[tokio::test]
async fn every_waiter_finds_a_boxed_error_by_downcast() {
    for error in shared(|| io::Error::new(io::ErrorKind::TimedOut, "slow").into()).await {
        assert_eq!(error.downcast_ref::<io::Error>().unwrap().kind(), io::ErrorKind::TimedOut);
        assert!(error.is::<io::Error>() && !error.is::<Broken>());
        assert!(error.get_ref().is::<io::Error>());
    }
}

#[tokio::test]
async fn a_shared_error_reads_as_the_inner_one_which_is_its_source() {
    for error in shared(|| Outer(Broken("pipe")).into()).await {
        assert_eq!(error.to_string(), "outer");
        assert_eq!(format!("{error:?}"), "Outer(Broken(\"pipe\"))");
        assert!(error.source().unwrap().is::<Outer>());
    }
}

#[tokio::test]
async fn whoever_walks_the_chain_of_a_shared_error_finds_the_inner_one_and_its_cause() {
    for error in shared(|| Outer(Broken("pipe")).into()).await {
        // As anyhow and tonic do.
        let error: BoxError = error.into();
        assert!(find::<Outer>(&*error).is_some());
        assert_eq!(find(&*error), Some(&Broken("pipe")));
        assert!(find::<io::Error>(&*error).is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_timeout_below_is_found_by_who_walks_the_chain_with_the_layer_and_without() {
    let hangs = service_fn(|_: Ask| pending::<Result<&str, BoxError>>());
    let stack = || ServiceBuilder::new().timeout(Duration::from_secs(1)).service(hangs);
    let bare = stack().oneshot((1, "ask")).await.unwrap_err();
    let layered = by_key().shared_errors().layer(stack()).oneshot((1, "ask")).await.unwrap_err();
    for error in [bare, layered.into()] {
        assert!(find::<Elapsed>(&*error).is_some());
    }
}

#[tokio::test]
async fn all_waiters_hold_one_shared_error() {
    let [one, two, three] = shared(|| Broken("pipe").into()).await;
    let address = |error: &SharedError| std::ptr::from_ref(error.downcast_ref::<Broken>().unwrap());
    assert_eq!(address(&one), address(&two));
    assert_eq!(address(&one), address(&three));
}

#[tokio::test]
async fn shared_errors_start_no_retries() {
    let upstream = Upstream::<&str, BoxError>::new();
    let mut service = by_key().shared_errors().layer(upstream.clone());
    let mut calls: Vec<_> = (0..50).map(|_| call(&mut service, (1, "ask"))).collect();
    settle().await;
    upstream.next().fail("no".into());
    settle().await;
    assert!(calls.iter_mut().all(|call| result(call).is_err()));
    assert_eq!(upstream.total(), 1);
}

#[tokio::test]
async fn a_typed_error_can_be_shared_as_well() {
    let upstream = Upstream::<&str, Broken>::new();
    let mut service = by_key().shared_errors().layer(upstream.clone());
    let mut lone = call(&mut service, (1, "ask"));
    assert_pending!(lone.poll());
    upstream.next().fail(Broken("pipe"));
    assert_eq!(result(&mut lone).unwrap_err().downcast_ref(), Some(&Broken("pipe")));
}

#[tokio::test]
async fn a_pass_has_a_shared_error_too() {
    let upstream = Upstream::<&str, BoxError>::new();
    let mut service = by_key().filter(|_: &Ask| false).shared_errors().layer(upstream.clone());
    let mut pass = call(&mut service, (1, "ask"));
    assert_pending!(pass.poll());
    upstream.next().fail(Broken("pipe").into());
    assert_eq!(result(&mut pass).unwrap_err().downcast_ref(), Some(&Broken("pipe")));
}

#[tokio::test]
async fn two_layers_wrap_an_error_once() {
    let upstream = Upstream::<&str, BoxError>::new();
    let mut service = ServiceBuilder::new()
        .layer(by_key().shared_errors())
        .layer(by_key().shared_errors())
        .service(upstream.clone());
    let mut lone = call(&mut service, (1, "ask"));
    assert_pending!(lone.poll());
    upstream.next().fail(Broken("pipe").into());
    assert_eq!(result(&mut lone).unwrap_err().downcast_ref(), Some(&Broken("pipe")));
}

#[tokio::test]
async fn a_shared_error_fits_in_a_stack_of_boxed_errors() {
    let upstream = Upstream::<&str, BoxError>::new();
    let mut service = ServiceBuilder::new()
        .map_err(BoxError::from)
        .layer(by_key().shared_errors())
        .service(upstream.clone());
    let mut lone: Spawn<_> = call(&mut service, (1, "ask"));
    assert_pending!(lone.poll());
    upstream.next().fail(Broken("pipe").into());
    let std::task::Poll::Ready(Err(error)) = lone.poll() else { panic!("it failed") };
    assert_eq!(error.downcast_ref::<SharedError>().unwrap().downcast_ref(), Some(&Broken("pipe")));
}

#[tokio::test]
async fn settings_can_follow_shared_errors() {
    let layer = SingleflightLayer::by_key(|ask: &Ask| ask.0)
        .shared_errors()
        .max_waiters(1)
        .filter(|_| true);
    let upstream = Upstream::<&str, BoxError>::new();
    let mut service = layer.layer(upstream.clone());
    let mut calls = [call(&mut service, (1, "one")), call(&mut service, (1, "two"))];
    for call in &mut calls {
        assert_pending!(call.poll());
    }
    assert_eq!(upstream.total(), 2);
}

/// The errors of a leader and two followers.
async fn shared(error: impl Fn() -> BoxError) -> [SharedError; 3] {
    let upstream = Upstream::<&str, BoxError>::new();
    let mut service = by_key().shared_errors().layer(upstream.clone());
    let calls = ["one", "two", "three"].map(|who| call(&mut service, (1, who)));
    settle().await;
    upstream.next().fail(error());
    settle().await;
    calls.map(|mut call| result(&mut call).unwrap_err())
}

/// The first `E` of an error's chain, itself included.
fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    successors(Some(error), |error| (*error).source()).find_map(|error| error.downcast_ref())
}

#[derive(Debug)]
struct Outer(Broken);

impl std::fmt::Display for Outer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("outer")
    }
}

impl Error for Outer {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}
