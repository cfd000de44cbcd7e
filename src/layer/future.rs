//! The future of a call.

use crate::{
    core::{
        group::Role,
        reentry::FlightNumber,
        waiter::{Arrival, Waiter},
    },
    observe::{Caller, Event, Observer, Work},
    panics::Debris,
    stats::{PassReason, VetoReason},
};
use std::{
    fmt, mem,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep_until};

/// One call of an inner service: enough to lead a flight with, or to pass.
pub trait Job: Send + 'static {
    /// What a flight lands with.
    type Landing: Clone + Send + Sync + 'static;
    /// What the caller gets.
    type Output;

    /// The inner call on behalf of a flight that `caller` leads. `opened`: when, if anybody may want to know. It is made
    /// under a lock: what is the user's may be moved in it, but not called.
    fn fly(self, opened: Option<Instant>, caller: Caller) -> Work<Self::Landing>;
    /// It joins a flight. What it leads after that is a second try.
    fn follows(&mut self) {}
    /// Calls it for this caller alone, who may have `waited` in a flight before.
    fn pass(self, waited: bool) -> Pin<Box<dyn Future<Output = Self::Output> + Send>>;
    /// Whether a follower gets this. `request` is its own, if it has one left.
    fn judge(_landing: &Self::Landing, _request: Option<&Self>) -> Verdict {
        Verdict::Take
    }
    /// Joins or leads another flight: see [`Verdict::Again`].
    fn again(self, _landing: &Self::Landing) -> ResponseFuture<Self>
    where
        Self: Sized,
    {
        unreachable!("only asked for by `Verdict::Again`")
    }
    /// Whether everything passes by now. Only asked of a follower.
    fn is_disabled(&self) -> bool;
    /// Joins or leads a flight that is newer than the one that it `left`.
    fn newer(self, left: FlightNumber) -> ResponseFuture<Self>
    where
        Self: Sized;
    /// What a waiter gets. `request` is a follower's own, if it has one left.
    fn unpack(landing: Self::Landing, role: Role, request: Option<&Self>) -> Self::Output;
}

/// What a follower makes of a landing.
#[derive(Clone, Copy, Debug)]
pub enum Verdict {
    /// It is an answer to its request too.
    Take,
    /// It is not, and the follower sends its own request.
    Pass(VetoReason),
    /// It is not, but others may want what this follower wants.
    Again(VetoReason),
}

/// The response future of [`Singleflight`](crate::Singleflight).
///
/// # Cancel safety
///
/// Dropping it never disturbs the other waiters of its flight. When the last one goes, the inner call is dropped at
/// once, unless the layer runs flights to their completion.
///
/// # Panics
///
/// - With the message of the inner call's panic.
/// - When the flight was lost with its runtime, and nobody has a request left to lead it anew; or when another waiter did,
///   and got a response that must not be shared with this one, which has no request left.
/// - When the response's `Clone` panics as it is taken.
/// - With `wait_at_most`: when a follower is polled outside a tokio runtime, or in one without its timer.
/// - When polled after it was ready.
///
/// Dropping it panics when the inner call, the request, the key or the response panics in its `Drop`.
#[must_use = "a flight stops working when nobody waits for it"]
pub struct ResponseFuture<J: Job> {
    state: State<J>,
}

enum State<J: Job> {
    /// Dropped in this order: leaving the flight may panic with what the dropped work panicked with, and a `spare`
    /// dropped after that, whose `Drop` panics as well, would end the process.
    Waiting {
        spare: Option<J>,
        waiter: Waiter<J::Landing>,
        patience: Patience,
    },
    Passing(Pin<Box<dyn Future<Output = J::Output> + Send>>),
    /// What it is to be is known later.
    #[cfg(feature = "http")]
    Deferred(Pin<Box<dyn Future<Output = ResponseFuture<J>> + Send>>),
    #[cfg(feature = "http")]
    Ready(Option<J::Output>),
}

/// How long a follower waits: nothing if endlessly, boxed because it seldom has a limit.
pub(crate) struct Patience(Option<Box<Limit>>);

/// The timer is made only when it is needed.
enum Limit {
    Until(Instant),
    Timed(Pin<Box<Sleep>>),
}

impl<J: Job> ResponseFuture<J> {
    pub(crate) fn pass(job: J, reason: PassReason, observer: &Observer) -> Self {
        observer.tell(Event::Passed { reason, waited: false });
        Self { state: State::Passing(job.pass(false)) }
    }

    #[cfg(feature = "http")]
    pub(crate) fn ready(output: J::Output, observer: &Observer) -> Self {
        observer.tell(Event::JoinedLate);
        Self { state: State::Ready(Some(output)) }
    }

    /// What `later` gives, once that is there.
    #[cfg(feature = "http")]
    pub(crate) fn deferred(later: impl Future<Output = Self> + Send + 'static) -> Self {
        Self { state: State::Deferred(Box::pin(later)) }
    }

    pub(crate) fn lead(waiter: Waiter<J::Landing>) -> Self {
        Self { state: State::Waiting { spare: None, waiter, patience: Patience(None) } }
    }

    pub(crate) fn follow(waiter: Waiter<J::Landing>, mut job: J, patience: Option<Duration>) -> Self {
        job.follows();
        Self { state: State::Waiting { spare: Some(job), waiter, patience: Patience::from_now(patience) } }
    }

    /// As a follower. `Err`: what is to be polled in the place of this future.
    fn receive(&mut self, arrival: Arrival<J::Landing>, request: Option<J>) -> Result<J::Output, Self> {
        let verdict = J::judge(arrival.get_ref(), request.as_ref());
        let (reason, passes) = match verdict {
            Verdict::Take => {
                let output = J::unpack(arrival.take(), Role::Follower, request.as_ref());
                let mut debris = Debris::default();
                debris.sweep(request);
                return Ok(debris.rethrow_or(output));
            }
            Verdict::Pass(reason) => (reason, true),
            Verdict::Again(reason) => (reason, false),
        };
        let Some(request) = request else {
            arrival.waste();
            panic!("{NOT_FOR_US}");
        };
        arrival.veto(reason, passes);
        if passes {
            Err(Self { state: State::Passing(request.pass(true)) })
        } else {
            Err(request.again(arrival.get_ref()).with_patience_of(self))
        }
    }

    /// A follower's patience counts from its call on, through all its flights.
    fn with_patience_of(mut self, earlier: &mut Self) -> Self {
        let states = (&mut self.state, &mut earlier.state);
        if let (State::Waiting { patience, spare: Some(_), .. }, State::Waiting { patience: rest, .. }) = states {
            mem::swap(patience, rest);
        }
        self
    }
}

impl<J: Job> Future for ResponseFuture<J> {
    type Output = J::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<J::Output> {
        loop {
            let (waiter, spare, patience) = match &mut self.state {
                State::Passing(call) => return call.as_mut().poll(cx),
                #[cfg(feature = "http")]
                State::Deferred(later) => {
                    let known = ready!(later.as_mut().poll(cx));
                    *self = known;
                    continue;
                }
                #[cfg(feature = "http")]
                State::Ready(output) => {
                    return Poll::Ready(output.take().expect("tower-singleflight: polled after it was ready"));
                }
                State::Waiting { spare, waiter, patience } => (waiter, spare, patience),
            };
            let lead_anew = |opened| spare.take().expect("a follower has its request").fly(opened, Caller::here());
            match waiter.poll(cx, lead_anew) {
                Poll::Ready(arrival) if arrival.leads() => {
                    return Poll::Ready(J::unpack(arrival.take(), Role::Leader, None));
                }
                Poll::Ready(arrival) => {
                    let request = spare.take();
                    match self.receive(arrival, request) {
                        Ok(output) => return Poll::Ready(output),
                        Err(next) => *self = next,
                    }
                }
                Poll::Pending if spare.is_none() => return Poll::Pending,
                Poll::Pending => {
                    // It may be polled inside its flight though it was called outside: it would wait for itself.
                    let is_inside = waiter.is_inside();
                    if !is_inside {
                        ready!(patience.poll(cx));
                    }
                    let job = spare.take().expect("a follower has its request");
                    if is_inside || job.is_disabled() {
                        let reason = if is_inside { PassReason::Reentrant } else { PassReason::Disabled };
                        waiter.pass(reason);
                        self.state = State::Passing(job.pass(true));
                    } else {
                        let newer = job.newer(waiter.number());
                        // Told after: should the key closure panic, this call ends here.
                        waiter.time_out();
                        *self = newer;
                    }
                }
            }
        }
    }
}

const NOT_FOR_US: &str = "tower-singleflight: the flight was lost before it landed, another waiter led it anew, \
    and got a response that must not be shared with this one, which has no request left";

/// Nothing in it is pinned in place.
impl<J: Job> Unpin for ResponseFuture<J> {}

impl Patience {
    fn from_now(patience: Option<Duration>) -> Self {
        let deadline = patience.and_then(|patience| Instant::now().checked_add(patience));
        Self(deadline.map(|deadline| Box::new(Limit::Until(deadline))))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(limit) = &mut self.0 else { return Poll::Pending };
        loop {
            match &mut **limit {
                Limit::Until(deadline) => **limit = Limit::Timed(Box::pin(timer(*deadline))),
                Limit::Timed(sleep) => return sleep.as_mut().poll(cx),
            }
        }
    }
}

fn timer(deadline: Instant) -> Sleep {
    let here = tokio::runtime::Handle::try_current();
    assert!(here.is_ok(), "tower-singleflight: a follower with `wait_at_most` was polled outside a tokio runtime");
    sleep_until(deadline)
}

impl<J: Job> fmt::Debug for ResponseFuture<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Waiting { .. } => "waiting",
            State::Passing(_) => "passing",
            #[cfg(feature = "http")]
            State::Deferred(_) => "deferred",
            #[cfg(feature = "http")]
            State::Ready(_) => "ready",
        };
        f.debug_struct("ResponseFuture").field("state", &state).finish()
    }
}
