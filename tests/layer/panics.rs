//! Panics in user types reach the caller concerned, and nobody else.

use crate::support::{Ask, Upstream, by_key, call, panic_text, result, settle, without_deadlock};
use std::{
    borrow::Borrow,
    convert::Infallible,
    future::{Ready, pending, ready},
    hash::{Hash, Hasher},
    panic::panic_any,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    thread,
};
use tokio_test::{assert_pending, task::spawn};
use tower::{Layer, Service, service_fn};
use tower_singleflight::{
    Singleflight, SingleflightLayer,
    mode::{ByKey, OwnErrors},
};

/// What a [`Touchy`] panics in.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    Hash,
    Eq,
    Clone,
    Drop,
}

use Fault::None as Fine;

/// Is equal to all with the same number, whatever their faults.
#[derive(Debug)]
struct Touchy(u32, Fault);

impl Touchy {
    fn touch(&self, what: Fault) {
        if self.1 == what && !thread::panicking() {
            panic!("touchy about {what:?}");
        }
    }
}

impl Hash for Touchy {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.touch(Fault::Hash);
        self.0.hash(state);
    }
}

impl PartialEq for Touchy {
    fn eq(&self, other: &Self) -> bool {
        self.touch(Fault::Eq);
        other.touch(Fault::Eq);
        self.0 == other.0
    }
}

impl Eq for Touchy {}

impl Clone for Touchy {
    fn clone(&self) -> Self {
        self.touch(Fault::Clone);
        Self(self.0, self.1)
    }
}

impl Drop for Touchy {
    fn drop(&mut self) {
        self.touch(Fault::Drop);
    }
}

/// A request whose key is as touchy as it says.
type Key = Fault;

type KeyUpstream = Upstream<&'static str, Infallible, Key>;
type KeyLayer = SingleflightLayer<ByKey<Key, Touchy>>;
type OverKeys = Singleflight<KeyUpstream, ByKey<Key, Touchy>, OwnErrors>;

fn with_touchy_keys() -> (KeyUpstream, KeyLayer, OverKeys) {
    let upstream = Upstream::new();
    let layer = SingleflightLayer::by_key(|fault: &Key| Touchy(1, *fault));
    let service = layer.layer(upstream.clone());
    (upstream, layer, service)
}

/// A flight can be led, joined and landed, and nothing else is in flight then.
async fn works(mut service: OverKeys, upstream: &KeyUpstream) {
    let (mut leader, mut follower) = (call(&mut service, Fine), call(&mut service, Fine));
    settle().await;
    upstream.next().answer("works");
    settle().await;
    assert_eq!((result(&mut leader), result(&mut follower)), (Ok("works"), Ok("works")));
}

// ---- What a layer is given.

#[tokio::test]
async fn a_panic_in_the_extractor_reaches_its_caller_and_the_flight_goes_on() {
    let upstream = Upstream::<&str>::new();
    let layer = SingleflightLayer::by_key(|ask: &Ask| match ask.1 {
        "bad" => panic!("no key"),
        _ => ask.0,
    });
    let mut service = layer.layer(upstream.clone());
    let mut leader = call(&mut service, (1, "leader"));
    assert_eq!(panic_text(|| service.call((1, "bad"))), "no key");
    let mut follower = call(&mut service, (1, "follower"));
    settle().await;
    upstream.next().answer("told");
    settle().await;
    assert_eq!((result(&mut leader), result(&mut follower)), (Ok("told"), Ok("told")));
    assert_eq!((layer.handle().in_flight(), layer.handle().waiting()), (0, 0));
}

#[tokio::test]
async fn a_panic_in_the_filter_reaches_its_caller_and_the_flight_goes_on() {
    let upstream = Upstream::<&str>::new();
    let layer = by_key().filter(|ask: &Ask| match ask.1 {
        "bad" => panic!("undecided"),
        _ => true,
    });
    let mut service = layer.layer(upstream.clone());
    let mut leader = call(&mut service, (1, "leader"));
    assert_eq!(panic_text(|| service.call((1, "bad"))), "undecided");
    let mut follower = call(&mut service, (1, "follower"));
    settle().await;
    upstream.next().answer("told");
    settle().await;
    assert_eq!((result(&mut leader), result(&mut follower)), (Ok("told"), Ok("told")));
    assert_eq!(layer.handle().stats().passed, 0);
}

// ---- Keys.

#[tokio::test]
async fn a_panic_in_hash_reaches_its_caller_and_the_group_works_on() {
    let (upstream, layer, mut service) = with_touchy_keys();
    assert_eq!(panic_text(|| service.call(Fault::Hash)), "touchy about Hash");
    assert_eq!(layer.handle().in_flight(), 0);
    works(service, &upstream).await;
}

#[tokio::test]
async fn a_panic_in_eq_reaches_its_caller_and_the_flight_goes_on() {
    let (upstream, layer, mut service) = with_touchy_keys();
    let mut leader = call(&mut service, Fine);
    assert_eq!(panic_text(|| service.call(Fault::Eq)), "touchy about Eq");
    assert_eq!((layer.handle().in_flight(), layer.handle().waiting()), (1, 1));
    let mut follower = call(&mut service, Fine);
    settle().await;
    upstream.next().answer("told");
    settle().await;
    assert_eq!((result(&mut leader), result(&mut follower)), (Ok("told"), Ok("told")));
    works(service, &upstream).await;
}

#[tokio::test]
async fn a_listed_key_whose_eq_panics_harms_the_newcomers_only() {
    let (upstream, layer, mut service) = with_touchy_keys();
    let mut leader = call(&mut service, Fault::Eq);
    assert_eq!(panic_text(|| service.call(Fine)), "touchy about Eq");
    assert_pending!(leader.poll());
    upstream.next().answer("told");
    assert_eq!(result(&mut leader), Ok("told"));
    assert_eq!(layer.handle().in_flight(), 0);
    works(service, &upstream).await;
}

#[tokio::test]
async fn a_panic_in_eq_reaches_the_caller_of_forget_and_the_flight_goes_on() {
    let (upstream, layer, mut service) = with_touchy_keys();
    let mut leader = call(&mut service, Fine);
    assert_eq!(panic_text(|| layer.handle().forget(&Touchy(1, Fault::Eq))), "touchy about Eq");
    let mut follower = call(&mut service, Fine);
    settle().await;
    upstream.next().answer("told");
    settle().await;
    assert_eq!((result(&mut leader), result(&mut follower)), (Ok("told"), Ok("told")));
}

#[tokio::test]
async fn a_panic_in_hash_reaches_the_caller_of_forget() {
    let (upstream, layer, service) = with_touchy_keys();
    assert_eq!(panic_text(|| layer.handle().forget(&Touchy(1, Fault::Hash))), "touchy about Hash");
    works(service, &upstream).await;
}

#[tokio::test]
async fn a_panic_in_borrow_reaches_the_caller_of_forget_and_the_flight_goes_on() {
    #[derive(PartialEq, Eq)]
    struct Stiff(String);
    impl Hash for Stiff {
        fn hash<H: Hasher>(&self, state: &mut H) {
            self.0.hash(state);
        }
    }
    impl Borrow<str> for Stiff {
        fn borrow(&self) -> &str {
            panic!("not lent")
        }
    }
    let layer = SingleflightLayer::by_key(|ask: &Ask| Stiff(ask.1.into()));
    let mut service = layer.layer(Upstream::<&str>::new());
    let _leader = service.call((1, "alice"));
    assert_eq!(panic_text(|| layer.handle().forget("alice")), "not lent");
    let _follower = service.call((1, "alice"));
    assert_eq!(layer.handle().stats().joined, 1);
}

#[tokio::test]
async fn a_key_whose_drop_panics_as_it_joins_harms_its_caller_only() {
    let (upstream, layer, mut service) = with_touchy_keys();
    let mut leader = call(&mut service, Fine);
    assert_eq!(panic_text(|| service.call(Fault::Drop)), "touchy about Drop");
    assert_eq!((layer.handle().in_flight(), layer.handle().waiting()), (1, 1));
    assert_pending!(leader.poll());
    settle().await;
    upstream.next().answer("told");
    settle().await;
    assert_eq!(result(&mut leader), Ok("told"));
    works(service, &upstream).await;
}

#[tokio::test]
async fn a_key_whose_drop_panics_at_the_landing_harms_no_follower() {
    let (upstream, layer, mut service) = with_touchy_keys();
    let mut calls =
        [call(&mut service, Fault::Drop), call(&mut service, Fine), call(&mut service, Fine)];
    settle().await;
    upstream.next().answer("told");
    settle().await;
    assert_eq!(calls.each_mut().map(|call| result(call).unwrap()), ["told"; 3]);
    assert_eq!(layer.handle().in_flight(), 0);
    works(service, &upstream).await;
}

#[tokio::test]
async fn a_key_whose_drop_panics_at_the_landing_of_a_lone_call_reaches_its_caller() {
    let (upstream, layer, mut service) = with_touchy_keys();
    let mut lone = call(&mut service, Fault::Drop);
    assert_pending!(lone.poll());
    upstream.next().answer("told");
    assert_eq!(panic_text(|| lone.poll()), "touchy about Drop");
    assert_eq!((layer.handle().in_flight(), layer.handle().waiting()), (0, 0));
    works(service, &upstream).await;
}

#[tokio::test]
async fn a_key_whose_drop_panics_reaches_who_leaves_last_and_the_inner_call_is_dropped() {
    let (upstream, layer, mut service) = with_touchy_keys();
    let mut lone = call(&mut service, Fault::Drop);
    assert_pending!(lone.poll());
    let inner = upstream.next();
    assert_eq!(panic_text(|| drop(lone)), "touchy about Drop");
    assert!(inner.is_dropped());
    assert_eq!((layer.handle().in_flight(), layer.handle().waiting()), (0, 0));
    works(service, &upstream).await;
}

#[tokio::test]
async fn a_key_whose_drop_panics_reaches_who_forgets_it_and_is_forgotten() {
    let (upstream, layer, mut service) = with_touchy_keys();
    let mut leader = call(&mut service, Fault::Drop);
    assert_pending!(leader.poll());
    let handle = layer.handle();
    assert_eq!(panic_text(|| handle.forget(&Touchy(1, Fine))), "touchy about Drop");
    assert_eq!(handle.in_flight(), 1);
    let inner = upstream.next();
    works(service, &upstream).await;
    inner.answer("told");
    assert_eq!(result(&mut leader), Ok("told"));
}

#[tokio::test]
async fn the_old_key_whose_drop_panics_harms_only_who_replaces_its_full_flight() {
    let upstream = Upstream::<&str, Infallible, Key>::new();
    let layer = SingleflightLayer::by_key(|fault: &Key| Touchy(1, *fault)).max_waiters(1);
    let mut service = layer.layer(upstream.clone());
    let mut full = call(&mut service, Fault::Drop);
    assert_pending!(full.poll());
    assert_eq!(panic_text(|| service.call(Fine)), "touchy about Drop");
    assert_eq!((layer.handle().in_flight(), layer.handle().waiting()), (1, 1));
    upstream.next().answer("told");
    assert_eq!(result(&mut full), Ok("told"));
    let mut afterwards = call(&mut service, Fine);
    assert_pending!(afterwards.poll());
    upstream.next().answer("told");
    assert_eq!(result(&mut afterwards), Ok("told"));
}

// ---- Requests.

type RequestUpstream = Upstream<&'static str, Infallible, Touchy>;
type RequestLayer = SingleflightLayer<ByKey<Touchy, u32>>;
type OverRequests = Singleflight<RequestUpstream, ByKey<Touchy, u32>, OwnErrors>;

fn with_touchy_requests() -> (RequestUpstream, RequestLayer, OverRequests) {
    let upstream = Upstream::new();
    let layer = SingleflightLayer::by_key(|request: &Touchy| request.0);
    let service = layer.layer(upstream.clone());
    (upstream, layer, service)
}

#[tokio::test]
async fn a_followers_request_whose_drop_panics_at_the_landing_harms_that_follower_only() {
    let (upstream, layer, mut service) = with_touchy_requests();
    let mut leader = call(&mut service, Touchy(1, Fine));
    let mut touchy = call(&mut service, Touchy(1, Fault::Drop));
    let mut follower = call(&mut service, Touchy(1, Fine));
    settle().await;
    upstream.next().answer("told");
    settle().await;
    assert_eq!(panic_text(|| touchy.poll()), "touchy about Drop");
    assert_eq!((result(&mut leader), result(&mut follower)), (Ok("told"), Ok("told")));
    assert_eq!((layer.handle().in_flight(), layer.handle().waiting()), (0, 0));
}

#[tokio::test]
async fn a_followers_request_whose_drop_panics_as_it_leaves_harms_that_follower_only() {
    let (upstream, layer, mut service) = with_touchy_requests();
    let mut leader = call(&mut service, Touchy(1, Fine));
    let touchy = call(&mut service, Touchy(1, Fault::Drop));
    assert_eq!(panic_text(|| drop(touchy)), "touchy about Drop");
    assert_eq!((layer.handle().in_flight(), layer.handle().waiting()), (1, 1));
    settle().await;
    upstream.next().answer("told");
    settle().await;
    assert_eq!(result(&mut leader), Ok("told"));
}

#[tokio::test]
async fn the_leaders_request_whose_drop_panics_reaches_who_leaves_last() {
    let (upstream, layer, mut service) = with_touchy_requests();
    let lone = call(&mut service, Touchy(1, Fault::Drop));
    assert_eq!(panic_text(|| drop(lone)), "touchy about Drop");
    assert_eq!((layer.handle().in_flight(), layer.handle().stats().cancelled), (0, 1));
    let mut afterwards = call(&mut service, Touchy(1, Fine));
    assert_pending!(afterwards.poll());
    upstream.next().answer("told");
    assert_eq!(result(&mut afterwards), Ok("told"));
}

#[tokio::test]
async fn a_request_that_passes_and_whose_drop_panics_harms_its_caller_only() {
    let upstream = Upstream::<&str, Infallible, Touchy>::new();
    let layer =
        SingleflightLayer::by_key(|request: &Touchy| request.0).filter(|request| request.1 == Fine);
    let mut service = layer.layer(upstream.clone());
    let mut leader = call(&mut service, Touchy(1, Fine));
    let pass = call(&mut service, Touchy(1, Fault::Drop));
    assert_eq!(panic_text(|| drop(pass)), "touchy about Drop");
    assert_pending!(leader.poll());
    upstream.next().answer("told");
    assert_eq!(result(&mut leader), Ok("told"));
}

// ---- Responses.

#[tokio::test]
async fn a_response_whose_clone_panics_harms_those_who_clone_it_and_the_last_gets_the_original() {
    let upstream = Upstream::<Touchy>::new();
    let layer = by_key();
    let mut service = layer.layer(upstream.clone());
    let [mut one, mut two, mut three] =
        ["one", "two", "three"].map(|who| call(&mut service, (1, who)));
    settle().await;
    upstream.next().answer(Touchy(7, Fault::Clone));
    settle().await;
    assert_eq!(panic_text(|| two.poll()), "touchy about Clone");
    assert_eq!(panic_text(|| one.poll()), "touchy about Clone");
    assert_eq!(result(&mut three).unwrap().0, 7);
    assert_eq!((layer.handle().in_flight(), layer.handle().waiting()), (0, 0));
}

#[tokio::test]
async fn a_response_whose_drop_panics_reaches_who_leaves_last_after_the_landing() {
    let layer = by_key();
    let mut service =
        layer.layer(service_fn(|_: Ask| async { Ok::<_, Infallible>(Touchy(7, Fault::Drop)) }));
    let [one, two] = ["one", "two"].map(|who| call(&mut service, (1, who)));
    settle().await;
    drop(one);
    assert_eq!(panic_text(|| drop(two)), "touchy about Drop");
    assert_eq!((layer.handle().in_flight(), layer.handle().waiting()), (0, 0));
}

#[tokio::test]
async fn a_response_whose_drop_panics_and_that_nobody_waits_for_harms_nobody() {
    let layer = by_key().run_to_completion(true);
    let mut service = layer.layer(service_fn(|ask: Ask| async move {
        Ok::<_, Infallible>(Touchy(7, if ask.1 == "bad" { Fault::Drop } else { Fine }))
    }));
    drop(service.call((1, "bad")));
    settle().await;
    assert_eq!(layer.handle().in_flight(), 0);
    let mut afterwards = call(&mut service, (1, "good"));
    assert_eq!(result(&mut afterwards).unwrap().0, 7);
}

/// A response that calls back when it is cloned and when it is dropped.
struct CallsBack(Arc<OnceLock<Box<dyn Fn() + Send + Sync>>>);

impl CallsBack {
    fn call_back(&self) {
        self.0.get().unwrap()();
    }
}

impl Clone for CallsBack {
    fn clone(&self) -> Self {
        self.call_back();
        Self(self.0.clone())
    }
}

impl Drop for CallsBack {
    fn drop(&mut self) {
        self.call_back();
    }
}

/// A layer and a service whose responses, when cloned and dropped, call that service with the same
/// key, forget the key, and read the counters.
fn calling_back() -> (
    SingleflightLayer<ByKey<Ask, u32>>,
    impl Service<Ask, Response = CallsBack, Error = Infallible> + Clone,
) {
    let back = Arc::new(OnceLock::<Box<dyn Fn() + Send + Sync>>::new());
    let layer = by_key();
    let service = layer.layer(service_fn({
        let back = back.clone();
        move |_: Ask| {
            let response = CallsBack(back.clone());
            async move {
                tokio::task::yield_now().await;
                Ok::<_, Infallible>(response)
            }
        }
    }));
    let (again, handle) = (service.clone(), layer.handle());
    let call_back = move || {
        let mut again = again.clone();
        drop((again.call((1, "back")), again.call((1, "back"))));
        handle.forget(&1);
        handle.stats();
    };
    assert!(back.set(Box::new(call_back)).is_ok());
    (layer, service)
}

#[test]
fn a_response_that_calls_back_as_it_is_cloned_and_dropped_does_not_deadlock() {
    without_deadlock(|| async {
        let (layer, mut service) = calling_back();
        let mut calls = ["one", "two", "three"].map(|who| call(&mut service, (1, who)));
        settle().await;
        for call in &mut calls {
            drop(result(call));
        }
        assert_eq!((layer.handle().in_flight(), layer.handle().waiting()), (0, 0));
    });
}

#[test]
fn a_response_that_calls_back_as_its_waiters_leave_does_not_deadlock() {
    without_deadlock(|| async {
        let (layer, mut service) = calling_back();
        let calls = ["one", "two", "three"].map(|who| call(&mut service, (1, who)));
        settle().await;
        assert_eq!(layer.handle().in_flight(), 0);
        drop(calls);
        assert_eq!((layer.handle().in_flight(), layer.handle().waiting()), (0, 0));
    });
}

#[test]
fn a_response_that_calls_back_in_a_lone_call_does_not_deadlock() {
    without_deadlock(|| async {
        let (layer, mut service) = calling_back();
        drop(service.call((1, "lone")).await);
        assert_eq!(layer.handle().in_flight(), 0);
    });
}

#[test]
fn a_request_that_calls_back_as_it_is_dropped_does_not_deadlock() {
    without_deadlock(|| async {
        type Back = Arc<OnceLock<Box<dyn Fn() + Send + Sync>>>;
        struct Request(Option<Back>);
        impl Drop for Request {
            fn drop(&mut self) {
                if let Some(back) = self.0.take() {
                    back.get().unwrap()();
                }
            }
        }
        let layer = SingleflightLayer::by_key(|_: &Request| 1);
        let service = layer.layer(Upstream::<&str, Infallible, Request>::new());
        let back = Back::default();
        let (again, handle) = (service.clone(), layer.handle());
        let call_back = move || {
            let mut again = again.clone();
            drop((again.call(Request(None)), again.call(Request(None))));
            handle.forget(&1);
        };
        assert!(back.set(Box::new(call_back)).is_ok());

        let mut service = service;
        let [leader, one, two] = [(); 3].map(|()| service.call(Request(Some(back.clone()))));
        drop(one);
        drop(leader);
        drop(two);
        assert_eq!((layer.handle().in_flight(), layer.handle().waiting()), (0, 0));
    });
}

#[tokio::test]
async fn a_response_is_not_leaked_when_the_drop_of_a_followers_request_panics() {
    struct Request {
        drop_fails: bool,
    }
    impl Drop for Request {
        fn drop(&mut self) {
            assert!(!self.drop_fails, "request dropped");
        }
    }
    let upstream = Upstream::<Arc<()>, Infallible, Request>::new();
    let mut service = SingleflightLayer::by_key(|_: &Request| 1).layer(upstream.clone());
    let [leader, mut follower] =
        [false, true].map(|drop_fails| spawn(service.call(Request { drop_fails })));
    drop(leader);
    settle().await;
    let response = Arc::new(());
    upstream.next().answer(response.clone());
    settle().await;
    assert_eq!(panic_text(|| follower.poll()), "request dropped");
    assert_eq!(Arc::strong_count(&response), 1);
}

// ---- The inner service.

/// Is always ready, and panics where it is told to.
#[derive(Clone)]
struct Faulty(&'static str);

impl Service<Ask> for Faulty {
    type Response = &'static str;
    type Error = Infallible;
    type Future = Ready<Result<&'static str, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        assert!(self.0 != "poll_ready", "no {}", self.0);
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, ask: Ask) -> Self::Future {
        assert!(self.0 != "call", "no {}", self.0);
        ready(Ok(ask.1))
    }
}

#[tokio::test]
async fn a_panic_in_the_inner_services_call_or_readiness_reaches_every_waiter() {
    for place in ["poll_ready", "call"] {
        let layer = by_key();
        let mut service = layer.layer(Faulty(place));
        let mut calls = ["one", "two", "three"].map(|who| call(&mut service, (1, who)));
        settle().await;
        for call in &mut calls {
            assert_eq!(panic_text(|| call.poll()), format!("no {place}"));
        }
        assert_eq!((layer.handle().in_flight(), layer.handle().stats().panicked), (0, 1));
        service.get_mut().0 = "nowhere";
        assert_eq!(result(&mut call(&mut service, (1, "mended"))), Ok("mended"));
    }
}

#[tokio::test]
async fn a_panic_in_the_inner_future_reaches_every_waiter_with_its_text() {
    let layer = by_key();
    let mut service = layer.layer(service_fn(|ask: Ask| async move {
        tokio::task::yield_now().await;
        if ask.1 == "mended" { Ok::<_, Infallible>(ask.1) } else { panic!("ouch at {}", ask.0) }
    }));
    let mut calls = ["one", "two", "three"].map(|who| call(&mut service, (1, who)));
    settle().await;
    for call in &mut calls {
        assert_eq!(panic_text(|| call.poll()), "ouch at 1");
    }
    assert_eq!(layer.handle().stats().panicked, 1);
    let mended = service.call((1, "mended"));
    assert_eq!(mended.await, Ok("mended"));
}

#[tokio::test]
async fn a_panic_in_one_flight_leaves_the_others_alone() {
    let upstream = Upstream::<&str>::new();
    let mut service = by_key().layer(upstream.clone());
    let mut good = [call(&mut service, (2, "one")), call(&mut service, (2, "two"))];
    let mut bad = [call(&mut service, (1, "one")), call(&mut service, (1, "two"))];
    settle().await;
    let goods = upstream.next();
    // A call that is not answered panics.
    drop(upstream.next());
    settle().await;
    for call in &mut bad {
        assert!(panic_text(|| call.poll()).contains("the upstream answers"));
    }
    goods.answer("told");
    settle().await;
    assert_eq!(good.each_mut().map(|call| result(call).unwrap()), ["told"; 2]);
}

#[tokio::test]
async fn a_payload_that_is_no_text_reaches_the_followers_as_a_text_that_names_the_crate() {
    let mut service =
        by_key().layer(service_fn(|_: Ask| async { panic_any(7) as Result<(), Infallible> }));
    let mut calls = ["one", "two"].map(|who| call(&mut service, (1, who)));
    settle().await;
    for call in &mut calls {
        assert!(panic_text(|| call.poll()).contains("tower-singleflight"));
    }
}

#[tokio::test]
async fn a_lone_caller_gets_a_payload_that_is_no_text_as_it_is() {
    let mut service =
        by_key().layer(service_fn(|_: Ask| async { panic_any(7) as Result<(), Infallible> }));
    let mut lone = call(&mut service, (1, "lone"));
    let payload =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| lone.poll())).unwrap_err();
    assert_eq!(payload.downcast_ref(), Some(&7));
}

#[tokio::test]
async fn a_future_whose_drop_panics_reaches_who_leaves_last() {
    let layer = by_key();
    let mut service = layer.layer(service_fn(|_: Ask| async {
        let _touchy = Touchy(7, Fault::Drop);
        pending::<Result<(), Infallible>>().await
    }));
    let (leader, follower) =
        (call(&mut service, (1, "leader")), call(&mut service, (1, "follower")));
    settle().await;
    drop(leader);
    assert_eq!(panic_text(|| drop(follower)), "touchy about Drop");
    assert_eq!((layer.handle().in_flight(), layer.handle().waiting()), (0, 0));
    drop(call(&mut service, (1, "afterwards")));
    assert_eq!(layer.handle().stats().cancelled, 2);
}

/// An inner service that is cloned and dropped as its [`Touchy`] lets it, and never answers.
#[derive(Clone)]
struct Held(#[expect(dead_code, reason = "only cloned and dropped")] Touchy);

impl Service<Ask> for Held {
    type Response = &'static str;
    type Error = Infallible;
    type Future = std::future::Pending<Result<&'static str, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Pending
    }

    fn call(&mut self, _: Ask) -> Self::Future {
        unreachable!("it is never ready")
    }
}

#[tokio::test]
async fn an_inner_service_whose_clone_panics_harms_its_caller_only() {
    let layer = by_key().shared_group();
    let mut good = layer.layer(Held(Touchy(7, Fine)));
    let mut bad = layer.layer(Held(Touchy(7, Fault::Clone)));
    let leader = good.call((1, "leader"));
    assert_eq!(panic_text(|| bad.call((1, "bad"))), "touchy about Clone");
    assert_eq!((layer.handle().in_flight(), layer.handle().waiting()), (1, 1));
    let _follower = good.call((1, "follower"));
    assert_eq!(layer.handle().stats().joined, 1);
    drop(leader);
}

#[tokio::test]
async fn an_inner_service_whose_drop_panics_harms_the_follower_that_leaves_with_it() {
    let layer = by_key().shared_group();
    let mut good = layer.layer(Held(Touchy(7, Fine)));
    let mut bad = layer.layer(Held(Touchy(7, Fault::Drop)));
    let _leader = good.call((1, "leader"));
    let follower = bad.call((1, "bad"));
    assert_eq!(panic_text(|| drop(follower)), "touchy about Drop");
    assert_eq!((layer.handle().in_flight(), layer.handle().waiting()), (1, 1));
    assert_eq!(panic_text(|| drop(bad)), "touchy about Drop");
}

#[tokio::test]
async fn a_call_that_is_polled_after_its_end_says_so() {
    let mut service = by_key().layer(Faulty("nowhere"));
    let mut lone = call(&mut service, (1, "lone"));
    assert_eq!(result(&mut lone), Ok("lone"));
    let text = panic_text(|| lone.poll());
    assert!(
        text.contains("tower-singleflight") && text.contains("polled after it was ready"),
        "{text}"
    );
}
