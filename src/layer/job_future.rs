//! A call on its way: through a flight, or straight to the inner service.

use crate::{
    core::{
        group::Role,
        key::Address,
        reentry::FlightNumber,
        shard::{Entered, Missed, Table},
        waiter::{Arrival, Waiter},
    },
    layer::job::{Job, Verdict},
    layer::mode::Mode,
    layer::patience::Patience,
    layer::settings::Settings,
    observe::{Caller, Event, Observer},
    stats::PassReason,
};
use std::{
    fmt, future, mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

/// The future of a [`Job`].
pub struct JobFuture<J: Job> {
    state: JobState<J>,
}

enum JobState<J: Job> {
    /// In a flight.
    Waiting {
        /// A follower's own call.
        own_work: Option<J>,
        waiter: Waiter<J::Landing>,
        patience: Patience,
    },
    /// In no flight.
    Boxed(Pin<Box<dyn Future<Output = J::Output> + Send>>),
}

impl<J: Job> JobFuture<J> {
    /// Joins the flight of `key`, or leads one. It does not join `left`, the flight that it comes
    /// from.
    #[inline]
    pub(crate) fn enter<M, K>(
        settings: &Settings<M>,
        table: &Arc<Table<K, J::Landing>>,
        address: Address,
        key: K,
        job: J,
        left: Option<FlightNumber>,
    ) -> Self
    where
        M: Mode,
        K: Eq + Send + Sync + 'static,
    {
        let entered = table.enter(address, key, &settings.rules, left, job, J::start, || true);
        Self::of(entered, settings, left)
    }

    /// As `enter`. `Err`: there is no flight, and it may not lead one.
    #[allow(clippy::too_many_arguments, reason = "each call of it is inlined")]
    #[allow(dead_code, reason = "only HTTP looks elsewhere first")]
    #[inline]
    pub(crate) fn enter_if<M, K>(
        settings: &Settings<M>,
        table: &Arc<Table<K, J::Landing>>,
        address: Address,
        key: K,
        job: J,
        left: Option<FlightNumber>,
        may_lead: impl FnOnce() -> bool,
    ) -> Result<Self, J>
    where
        M: Mode,
        K: Eq + Send + Sync + 'static,
    {
        match table.enter(address, key, &settings.rules, left, job, J::start, may_lead) {
            Entered::Outdated(job) => Err(job),
            entered => Ok(Self::of(entered, settings, left)),
        }
    }

    #[inline(always)]
    fn of<M: Mode>(
        entered: Entered<J::Landing, J>,
        settings: &Settings<M>,
        left: Option<FlightNumber>,
    ) -> Self {
        match entered {
            Entered::Led(waiter, missed) => {
                missed.into_iter().for_each(|missed| tell_missed(settings, missed));
                Self::lead(waiter)
            }
            Entered::Joined(waiter, job) => Self::follow(waiter, job, settings.patience),
            Entered::Held(end, job) => {
                settings.observer().tell(Event::JoinedLate);
                let landing = end.value().expect("it has landed").clone();
                Self::boxed(future::ready(J::unpack(landing, Role::Follower, Some(&job))))
            }
            Entered::Inside(job) => {
                let reason =
                    if left.is_some() { PassReason::Patience } else { PassReason::Reentrant };
                Self::pass(job, reason, settings.observer())
            }
            Entered::Outdated(_) => unreachable!("it may always lead"),
        }
    }

    /// Sends the call straight to the inner service.
    pub(crate) fn pass(job: J, reason: PassReason, observer: &Observer) -> Self {
        observer.tell(Event::Passed { reason, waited: false });
        Self { state: JobState::Boxed(job.pass(false)) }
    }

    /// Waits for any other future.
    #[allow(dead_code, reason = "only HTTP has to look at a request's body first")]
    pub(crate) fn boxed(future: impl Future<Output = J::Output> + Send + 'static) -> Self {
        Self { state: JobState::Boxed(Box::pin(future)) }
    }

    fn lead(waiter: Waiter<J::Landing>) -> Self {
        Self { state: JobState::Waiting { own_work: None, waiter, patience: Patience::UNLIMITED } }
    }

    fn follow(waiter: Waiter<J::Landing>, mut job: J, patience: Option<Duration>) -> Self {
        job.follows();
        Self {
            state: JobState::Waiting {
                own_work: Some(job),
                waiter,
                patience: Patience::from_now(patience),
            },
        }
    }

    /// Takes the result of a flight as a follower, or returns the future that replaces this one.
    fn receive(
        &mut self,
        arrival: Arrival<J::Landing>,
        request: Option<J>,
    ) -> Result<J::Output, Self> {
        let verdict = J::judge(arrival.get_ref(), request.as_ref());
        let (reason, passes) = match verdict {
            Verdict::Take => {
                let output = J::unpack(arrival.take(), Role::Follower, request.as_ref());
                drop(request);
                return Ok(output);
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
            Err(Self { state: JobState::Boxed(request.pass(true)) })
        } else {
            Err(request.again(arrival.get_ref()).with_patience_of(self))
        }
    }

    /// Keeps the patience of `earlier`: it counts from the call on, through all flights.
    fn with_patience_of(mut self, earlier: &mut Self) -> Self {
        let states = (&mut self.state, &mut earlier.state);
        if let (
            JobState::Waiting { patience, own_work: Some(_), .. },
            JobState::Waiting { patience: rest, .. },
        ) = states
        {
            mem::swap(patience, rest);
        }
        self
    }
}

impl<J: Job> Future for JobFuture<J> {
    type Output = J::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<J::Output> {
        loop {
            let (waiter, own_work, patience) = match &mut self.state {
                JobState::Boxed(future) => return future.as_mut().poll(cx),
                JobState::Waiting { own_work, waiter, patience } => (waiter, own_work, patience),
            };
            let lead_again = |opened| {
                own_work.take().expect("a follower has its request").start(opened, Caller::here())
            };
            match waiter.poll(cx, lead_again) {
                Poll::Ready(arrival) if arrival.leads() => {
                    #[cfg(feature = "fleet")]
                    if let Some(call) = J::leader_goes_on(arrival.get_ref()) {
                        drop(arrival.take());
                        self.state = JobState::Boxed(call);
                        continue;
                    }
                    return Poll::Ready(J::unpack(arrival.take(), Role::Leader, None));
                }
                Poll::Ready(arrival) => {
                    let request = own_work.take();
                    match self.receive(arrival, request) {
                        Ok(output) => return Poll::Ready(output),
                        Err(next) => *self = next,
                    }
                }
                Poll::Pending if own_work.is_none() => return Poll::Pending,
                Poll::Pending => {
                    // A future that was called outside its flight may be polled inside it. It would
                    // wait for itself.
                    let is_inside = waiter.is_inside();
                    if !is_inside {
                        ready!(patience.poll(cx));
                    }
                    let job = own_work.take().expect("a follower has its request");
                    if is_inside || job.is_disabled() {
                        let reason =
                            if is_inside { PassReason::Reentrant } else { PassReason::Disabled };
                        waiter.pass(reason);
                        self.state = JobState::Boxed(job.pass(true));
                    } else {
                        let newer = job.newer(waiter.number());
                        // Told after `newer`: if the key closure panics, this call ends there.
                        waiter.time_out();
                        *self = newer;
                    }
                }
            }
        }
    }
}

const NOT_FOR_US: &str = "tower-singleflight: the flight was lost before it landed, another waiter \
    led it anew, and got a response that must not be shared with this one, which has no request \
    left";

/// Nothing in it is pinned in place.
impl<J: Job> Unpin for JobFuture<J> {}

/// Shows the state alone.
impl<J: Job> fmt::Debug for JobFuture<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.state {
            JobState::Waiting { .. } => "waiting",
            JobState::Boxed(_) => "passing",
        })
    }
}

#[cold]
fn tell_missed<M: Mode>(settings: &Settings<M>, Missed { why, difference }: Missed) {
    let part = difference.and_then(|part| settings.mode.part_name(part.into()));
    settings.observer().tell(Event::NearMiss { why, part });
}
