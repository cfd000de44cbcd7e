//! Keys and bodies that panic in their `Eq` and `Drop`: what that reaches.

use crate::support::{
    Flow, Read, Upstream, ask, flow, get, panic_payload, panics, read, settle, with_body,
};
use bytes::Bytes;
use futures_util::future::join_all;
use http::Method;
use http_body::{Body as _, Frame};
use std::{
    borrow::Borrow,
    convert::Infallible,
    hash::{Hash, Hasher},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll},
};
use tokio_test::{assert_ready_ok, task::spawn};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_singleflight::{
    HttpPolicy, LateJoin, SharedBody, Singleflight, SingleflightLayer, mode::Http,
};

const FRESH: (&str, &str) = ("cache-control", "max-age=60");

/// What of a key panics, while it is set.
#[derive(Clone, Default)]
struct Fuses {
    eq: Arc<AtomicBool>,
    drop: Arc<AtomicBool>,
}

struct Key(String, Fuses);

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        assert!(!self.1.eq.load(SeqCst), "the key's Eq");
        self.0 == other.0
    }
}

impl Eq for Key {}

impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        assert!(!self.1.drop.load(SeqCst) || std::thread::panicking(), "the key's Drop");
    }
}

type Layered = Singleflight<Upstream, Http<Key>>;

fn layer(
    fuses: &Fuses,
    key: impl Fn(&http::Request<()>) -> String + Send + Sync + 'static,
) -> SingleflightLayer<Http<Key>> {
    let fuses = fuses.clone();
    SingleflightLayer::new(move |req| Key(key(req), fuses.clone()))
}

/// Two readers of a response that newcomers may join.
async fn listed(service: &mut Layered, upstream: &Upstream, path: &str) -> ([SharedBody; 2], Flow) {
    let calls = [service.call(get(path, &[])), service.call(get(path, &[]))];
    let mut calls = calls.map(spawn);
    calls.iter_mut().for_each(|call| assert!(call.poll().is_pending()));
    settle().await;
    let (flow, body) = flow();
    upstream.next().answer(with_body(200, &[FRESH], body));
    settle().await;
    (calls.map(|mut call| assert_ready_ok!(call.poll()).into_body()), flow)
}

#[tokio::test]
async fn a_key_that_panics_as_a_write_seals_it_is_the_writers_affair() {
    let (upstream, fuses) = (Upstream::default(), Fuses::default());
    let mut service = layer(&fuses, |req| req.uri().to_string()).layer(upstream.clone());
    let mut read = spawn(service.call(get("/a", &[])));
    assert!(read.poll().is_pending());
    fuses.eq.store(true, SeqCst);
    assert!(panics(|| drop(service.call(ask(Method::POST, "/a", &[])))), "when it is sent");
    fuses.eq.store(false, SeqCst);

    let mut write = spawn(service.call(ask(Method::POST, "/a", &[])));
    assert!(write.poll().is_pending());
    let mut other = spawn(service.call(get("/a", &[])));
    assert!(other.poll().is_pending());
    fuses.eq.store(true, SeqCst);
    assert!(panics(|| drop(write)), "when it is over");
    fuses.eq.store(false, SeqCst);

    upstream.next().answer(with_body(200, &[], flow().1));
    upstream.try_next();
    upstream.next().answer(with_body(200, &[], flow().1));
    settle().await;
    assert_ready_ok!(read.poll());
    assert_ready_ok!(other.poll());
}

fn broken() -> Result<http::Response<String>, Infallible> {
    panic!("the write")
}

#[tokio::test]
async fn a_write_that_panics_and_whose_key_does_too_panics_once() {
    let fuses = Fuses::default();
    let gone = fuses.clone();
    let inner = service_fn(move |_: http::Request<String>| {
        let fuses = gone.clone();
        async move {
            fuses.eq.store(true, SeqCst);
            broken()
        }
    });
    let mut service = layer(&fuses, |req| req.uri().to_string()).layer(inner);
    let mut write = spawn(service.call(http::Request::post("/a").body(String::new()).unwrap()));
    let read = service.call(http::Request::get("/a").body(String::new()).unwrap());
    let panic = panic_payload(|| drop(write.poll()));
    assert_eq!(panic.downcast_ref(), Some(&"the write"));
    fuses.eq.store(false, SeqCst);
    drop((read, write));
}

#[tokio::test]
async fn a_key_that_panics_as_it_is_forgotten_keeps_no_other_flight_joinable() {
    let (upstream, fuses) = (Upstream::default(), Fuses::default());
    let layer = layer(&fuses, |_| "key".to_owned());
    let handle = layer.handle();
    let mut service = layer.layer(upstream.clone());
    let mut waiting: Vec<_> = ["/1", "/2"].map(|path| spawn(service.call(get(path, &[])))).into();
    waiting.iter_mut().for_each(|call| assert!(call.poll().is_pending()));
    let before = [upstream.next(), upstream.next()];
    let _bodies =
        (listed(&mut service, &upstream, "/3").await, listed(&mut service, &upstream, "/4").await);
    assert_eq!(upstream.calls(), 4);

    fuses.drop.store(true, SeqCst);
    assert!(panics(|| handle.forget("key")));
    fuses.drop.store(false, SeqCst);

    let after = ["/1", "/2", "/3", "/4"].map(|path| spawn(service.call(get(path, &[]))));
    let after = after.map(|mut call| call.poll().is_pending());
    assert_eq!((after, upstream.calls()), ([true; 4], 8), "all lead anew");
    drop((waiting, before));
}

#[tokio::test]
async fn a_key_that_panics_when_a_head_arrives_harms_no_waiter() {
    let (upstream, fuses) = (Upstream::default(), Fuses::default());
    let mut service = layer(&fuses, |req| req.uri().to_string()).layer(upstream.clone());
    let _earlier = listed(&mut service, &upstream, "/a").await;
    for fuse in [&fuses.eq, &fuses.drop] {
        let fresh = || get("/a", &[("cache-control", "no-cache")]);
        let mut calls = [spawn(service.call(fresh())), spawn(service.call(fresh()))];
        calls.iter_mut().for_each(|call| assert!(call.poll().is_pending()));
        settle().await;
        let (flow, body) = flow();
        fuse.store(true, SeqCst);
        upstream.next().answer(with_body(200, &[FRESH], body));
        settle().await;
        fuse.store(false, SeqCst);
        flow.data("all of it");
        drop(flow);
        for call in &mut calls {
            assert_eq!(
                read(assert_ready_ok!(call.poll()).body_mut()),
                Read::Ended("all of it".to_owned())
            );
        }
    }
}

#[tokio::test]
async fn a_key_that_panics_as_a_stream_ends_is_one_readers_affair() {
    let (upstream, fuses) = (Upstream::default(), Fuses::default());
    let mut service = layer(&fuses, |req| req.uri().to_string()).layer(upstream.clone());
    let ([mut one, mut two], flow) = listed(&mut service, &upstream, "/a").await;
    flow.data("all of it");
    drop(flow);
    fuses.drop.store(true, SeqCst);
    assert!(panics(|| drop(read(&mut one))));
    fuses.drop.store(false, SeqCst);
    assert_eq!(read(&mut two), Read::Ended("all of it".to_owned()));
    assert!(matches!(read(&mut one), Read::Broken(..)), "it does not know what it missed");
}

/// Ends after one frame, and panics when it is dropped.
struct Bomb {
    frame: Option<&'static str>,
    tells_its_end: bool,
}

impl http_body::Body for Bomb {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.frame.take().map(|text| Ok(Frame::data(Bytes::from(text)))))
    }

    fn is_end_stream(&self) -> bool {
        self.tells_its_end && self.frame.is_none()
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "the body's Drop");
    }
}

#[tokio::test]
async fn a_body_that_panics_as_it_is_dropped_at_its_end_is_one_readers_affair() {
    for tells_its_end in [false, true] {
        let inner = service_fn(move |_: http::Request<String>| async move {
            tokio::task::yield_now().await;
            Ok::<_, Infallible>(http::Response::new(Bomb {
                frame: Some("all of it"),
                tells_its_end,
            }))
        });
        let service = SingleflightLayer::new(|req| req.uri().to_string()).layer(inner);
        let request = || http::Request::get("/a").body(String::new()).unwrap();
        let calls = [service.clone().oneshot(request()), service.oneshot(request())];
        let [mut one, mut two] = join_all(calls).await.try_into().unwrap();
        let (one, two) = (one.as_mut().unwrap().body_mut(), two.as_mut().unwrap().body_mut());
        assert!(panics(|| drop(read(one))));
        assert_eq!(read(two), Read::Ended("all of it".to_owned()));
        assert!(!one.is_end_stream());
        assert!(matches!(read(one), Read::Broken(..)), "it does not know what it missed");
    }
}

#[tokio::test]
async fn a_key_that_panics_in_its_drop_when_a_head_arrives_harms_no_waiter() {
    for late_joins in [LateJoin::WhenFresh, LateJoin::Never] {
        let (upstream, fuses) = (Upstream::default(), Fuses::default());
        let layer = layer(&fuses, |req| req.uri().to_string())
            .policy(HttpPolicy::default().late_joins(late_joins));
        let (handle, mut service) = (layer.handle(), layer.layer(upstream.clone()));
        for answers in [true, false] {
            let mut calls =
                [spawn(service.call(get("/a", &[]))), spawn(service.call(get("/a", &[])))];
            calls.iter_mut().for_each(|call| assert!(call.poll().is_pending()));
            settle().await;
            // So the flight has the last of its key.
            handle.forget("/a");
            fuses.drop.store(true, SeqCst);
            match answers {
                true => upstream.next().answer(with_body(200, &[], flow().1)),
                false => upstream.next().fail("reset"),
            }
            settle().await;
            fuses.drop.store(false, SeqCst);
            for call in &mut calls {
                let Poll::Ready(answer) = call.poll() else { panic!("it waits") };
                assert_eq!(answer.is_ok(), answers);
            }
        }
    }
}

#[tokio::test]
async fn a_key_that_panics_in_one_flight_keeps_no_other_of_it_joinable() {
    let (upstream, fuses) = (Upstream::default(), Fuses::default());
    let (fused, calm) = (fuses.clone(), Fuses::default());
    let layer = SingleflightLayer::new(move |req| {
        Key("key".to_owned(), if req.uri().path() == "/2" { &fused } else { &calm }.clone())
    });
    let mut service = layer.layer(upstream.clone());
    let waiting = ["/1", "/2", "/3"].map(|path| service.call(get(path, &[])));
    fuses.eq.store(true, SeqCst);
    assert!(panics(|| drop(service.call(ask(Method::POST, "/1", &[])))));
    fuses.eq.store(false, SeqCst);
    let mut after = ["/1", "/2", "/3"].map(|path| spawn(service.call(get(path, &[]))));
    assert!(after.iter_mut().all(|call| call.poll().is_pending()));
    assert_eq!(
        upstream.calls(),
        3,
        "those after the write, which was never sent: nobody polled those before"
    );
    drop(waiting);
}
