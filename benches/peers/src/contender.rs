//! One way to make a call, so that each can be measured in the same way.

use crate::work::Work;
use std::{
    fmt::Debug,
    task::{Context, Poll, Waker},
};
use tower::Service;
use tower_singleflight::Outcome;

/// The floor: every call does its own work.
pub(crate) const BARE: &str = "bare";
/// This crate's layer, which all others are compared with.
pub(crate) const BY_KEY: &str = "`by_key`";
/// This crate's primitive.
pub(crate) const GROUP: &str = "`Group::run`";
/// What this crate has.
pub(crate) const OURS: [&str; 2] = [BY_KEY, GROUP];
/// The other crate that has a tower layer.
pub(crate) const COALESCE: &str = "tower-resilience-coalesce";

/// One way to make a call.
pub(crate) trait Contender<W: Work>: Clone + Send + Sync + 'static {
    const NAME: &'static str;
    /// Calls with one key share one piece of work.
    const COALESCES: bool = true;

    type Answer: Answer;

    fn new(work: W) -> Self;

    /// A call by somebody who will call again.
    fn call(&mut self, key: u64) -> impl Future<Output = Self::Answer> + Send;

    /// The one call of a task.
    fn once(mut self, key: u64) -> impl Future<Output = Self::Answer> + Send + 'static {
        async move { self.call(key).await }
    }
}

/// What a contender makes of the work's answer.
pub(crate) trait Answer: Send + 'static {
    fn value(self) -> u64;
}

impl<E: Debug + Send + 'static> Answer for Result<u64, E> {
    fn value(self) -> u64 {
        self.expect("the work does not fail")
    }
}

impl<A: Answer> Answer for Outcome<A> {
    fn value(self) -> u64 {
        self.value.value()
    }
}

/// Something to do with every contender.
pub(crate) trait Visit<W: Work> {
    fn visit<C: Contender<W>>(&mut self);
}

/// Calls a service that is always ready.
pub(crate) fn call_ready<S: Service<u64, Error: Debug>>(service: &mut S, key: u64) -> S::Future {
    let ready = service.poll_ready(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(ready, Poll::Ready(Ok(()))), "the backend is always ready");
    service.call(key)
}
