//! What the tests share: an inner service that answers when it is told to, and calls that are
//! stepped by hand.

pub(crate) use crate::shared::{panic_text, paused, result, settle, waker};

use crate::shared;
use std::{
    collections::VecDeque,
    convert::Infallible,
    error::Error,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};
use tokio::{sync::oneshot, task::unconstrained};
use tokio_test::task::{Spawn, spawn};
use tower::{Layer, Service};
use tower_singleflight::{
    Singleflight, SingleflightLayer,
    mode::{ByKey, OwnErrors},
};

/// A key, and who asks.
pub(crate) type Ask = (u32, &'static str);

pub(crate) type Layered<S> = Singleflight<S, ByKey<Ask, u32>, OwnErrors>;

/// A layer under which asks with the same number share a flight.
pub(crate) fn by_key() -> SingleflightLayer<ByKey<Ask, u32>> {
    SingleflightLayer::by_key(|ask: &Ask| ask.0)
}

/// An upstream, and a service that coalesces calls of it.
pub(crate) fn coalesced() -> (Upstream, Layered<Upstream>) {
    let upstream = Upstream::new();
    let service = by_key().layer(upstream.clone());
    (upstream, service)
}

/// Calls a service that needs no readying, and steps the future by hand.
pub(crate) fn call<S: Service<Req>, Req>(service: &mut S, request: Req) -> Spawn<S::Future> {
    spawn(service.call(request))
}

/// Runs `test` on a runtime in a thread of its own, so that a deadlock in it fails instead of
/// hanging.
pub(crate) fn without_deadlock<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    shared::without_deadlock(|| paused().block_on(test()));
}

/// An error that can be cloned.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Broken(pub(crate) &'static str);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "broken: {}", self.0)
    }
}

impl Error for Broken {}

/// An inner service, always ready, each of whose calls is answered by the test.
pub(crate) struct Upstream<Res = &'static str, E = Infallible, Req = Ask> {
    calls: Arc<Mutex<Calls<Res, E, Req>>>,
}

struct Calls<Res, E, Req> {
    open: VecDeque<Inner<Res, E, Req>>,
    total: usize,
}

impl<Res, E, Req> Upstream<Res, E, Req> {
    pub(crate) fn new() -> Self {
        Self { calls: Arc::new(Mutex::new(Calls { open: VecDeque::new(), total: 0 })) }
    }

    /// How often it was called so far.
    pub(crate) fn total(&self) -> usize {
        self.calls.lock().unwrap().total
    }

    pub(crate) fn try_next(&self) -> Option<Inner<Res, E, Req>> {
        self.calls.lock().unwrap().open.pop_front()
    }

    /// The oldest call that the test has not taken yet.
    #[track_caller]
    pub(crate) fn next(&self) -> Inner<Res, E, Req> {
        self.calls.lock().unwrap().open.pop_front().expect("the inner service was called")
    }
}

impl<Res, E, Req> Clone for Upstream<Res, E, Req> {
    fn clone(&self) -> Self {
        Self { calls: self.calls.clone() }
    }
}

impl<Res, E, Req> fmt::Debug for Upstream<Res, E, Req> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Upstream")
    }
}

impl<Res: Send + 'static, E: Send + 'static, Req> Service<Req> for Upstream<Res, E, Req> {
    type Response = Res;
    type Error = E;
    type Future = Pin<Box<dyn Future<Output = Result<Res, E>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), E>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let (answer, answered) = oneshot::channel();
        let mut calls = self.calls.lock().unwrap();
        calls.total += 1;
        calls.open.push_back(Inner { request, answer });
        Box::pin(unconstrained(async { answered.await.expect("the upstream answers") }))
    }
}

/// A call of an [`Upstream`]. Dropped without an answer, it panics in the one who waits for it.
pub(crate) struct Inner<Res = &'static str, E = Infallible, Req = Ask> {
    pub(crate) request: Req,
    answer: oneshot::Sender<Result<Res, E>>,
}

impl<Res, E, Req> Inner<Res, E, Req> {
    pub(crate) fn answer(self, response: Res) {
        assert!(self.answer.send(Ok(response)).is_ok(), "somebody waits for the inner call");
    }

    pub(crate) fn fail(self, error: E) {
        assert!(self.answer.send(Err(error)).is_ok(), "somebody waits for the inner call");
    }

    /// Whether the future of the call is gone.
    pub(crate) fn is_dropped(&self) -> bool {
        self.answer.is_closed()
    }
}
