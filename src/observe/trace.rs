//! Reports to the subscriber of `tracing`: a span for each flight, and an event for each pass, veto
//! and near miss. It never reports a key or the value of a header.

use super::{Ending, Event, FlightEnd, GroupName};
use crate::{
    panics::contain,
    stats::{NearMiss, PassReason, VetoReason},
};
use std::{
    fmt, mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tracing::{
    Instrument, Level, Span, debug, debug_span, dispatcher::with_default, field::Empty,
    instrument::Instrumented, level_filters::LevelFilter, span_enabled,
};

const TARGET: &str = "tower_singleflight";

#[inline(always)]
pub(super) fn tell(name: &GroupName, event: Event) {
    match event {
        Event::Passed { reason, .. } => tell_passed(name, reason),
        Event::Vetoed { reason, .. } => tell_vetoed(name, reason),
        Event::NearMiss { why, part } => tell_near_miss(name, why, part),
        Event::FlightOver(Ending { outcome, released, span, .. }) => span.end(outcome, released),
        _ => {}
    }
}

fn tell_passed(name: &GroupName, reason: PassReason) {
    contain(|| debug!(target: TARGET, name = name.field(), reason = reason.as_str(), "passed"));
}

fn tell_vetoed(name: &GroupName, reason: VetoReason) {
    contain(|| debug!(target: TARGET, name = name.field(), reason = reason.as_str(), "vetoed"));
}

fn tell_near_miss(name: &GroupName, why: NearMiss, part: Option<&str>) {
    contain(
        || debug!(target: TARGET, name = name.field(), reason = why.as_str(), part, "near miss"),
    );
}

impl GroupName {
    /// `None` if there is no name.
    fn field(&self) -> Option<&str> {
        self.get().map(|name| &**name)
    }
}

/// The inner work of a flight. It runs in the span of the caller that brought it, or in the span of
/// its flight, which is a child of the caller's.
pub struct Work<T> {
    future: Instrumented<Pin<Box<dyn Future<Output = T> + Send>>>,
    was_polled: bool,
}

impl<T> Work<T> {
    /// Makes the work of `caller`. This only moves its arguments, so it may be called under a lock.
    pub(crate) fn new(future: Pin<Box<dyn Future<Output = T> + Send>>, caller: Caller) -> Self {
        Self { future: future.instrument(caller.into_span()), was_polled: false }
    }

    /// Returns whether the work was polled. The first poll opens the span of its flight.
    pub(crate) fn was_polled(&self) -> bool {
        self.was_polled
    }

    /// Opens the span of the flight before the first poll, if the subscriber wants it.
    pub(crate) fn open_span(&mut self, name: &GroupName) -> Option<FlightSpan> {
        if self.was_polled {
            return None;
        }
        let (name, outer) = (name.field(), self.future.span());
        let open = || {
            debug_span!(
                target: TARGET,
                parent: outer,
                "flight",
                name,
                outcome = Empty,
                waiters = Empty
            )
        };
        // Uses the subscriber that knows the parent span, on whatever thread this is polled.
        let here =
            || outer.with_subscriber(|(_, its)| with_default(its, open)).unwrap_or_else(open);
        let span = contain(here).filter(|span| !span.is_disabled())?;
        *self.future.span_mut() = span.clone();
        Some(FlightSpan::Open(Arc::new(span)))
    }
}

impl<T> Future for Work<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        self.was_polled = true;
        Pin::new(&mut self.future).poll(cx)
    }
}

impl<T> fmt::Debug for Work<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Work").finish_non_exhaustive()
    }
}

/// Returns whether there is a subscriber for the spans of flights.
pub(crate) fn spans_are_wanted() -> bool {
    let are_wanted = || span_enabled!(target: TARGET, Level::DEBUG, "flight");
    Level::DEBUG <= LevelFilter::current() && contain(are_wanted).unwrap_or(false)
}

/// The span of a call.
#[derive(Debug)]
pub struct Caller {
    span: Span,
    /// Whether it is linked to the flight that it follows.
    follows: bool,
}

impl Caller {
    /// Returns the current span. Call it under no lock.
    pub(crate) fn here() -> Self {
        let span = contain(Span::current).unwrap_or_else(Span::none);
        let follows = !span.is_disabled() && spans_are_wanted();
        Self { span, follows }
    }

    /// Takes the span, if it is to be linked.
    fn take(&mut self) -> Option<Span> {
        mem::take(&mut self.follows).then(|| mem::replace(&mut self.span, Span::none()))
    }

    fn into_span(mut self) -> Span {
        mem::replace(&mut self.span, Span::none())
    }
}

/// Drops the span. Do it under no lock, because that calls the subscriber's code.
impl Drop for Caller {
    fn drop(&mut self) {
        let span = mem::replace(&mut self.span, Span::none());
        if !span.is_none() {
            contain(|| drop(span));
        }
    }
}

/// The span of a flight. Under a lock spans are only moved, because a subscriber is user code.
#[derive(Clone)]
pub(crate) enum FlightSpan {
    /// Not open yet. The followers that joined before the first poll wait for it.
    Awaited(Vec<Span>),
    /// Shared, so that it stays open while a follower is linked to it.
    Open(Arc<Span>),
}

impl FlightSpan {
    /// Links a follower: at once, or when the span opens.
    pub(crate) fn join(&mut self, caller: &mut Caller, was_polled: bool) -> Link {
        match self {
            Self::Awaited(early) => {
                if !was_polled {
                    early.extend(caller.take());
                }
                Link(None)
            }
            Self::Open(flight) => Link(Some(flight.clone())),
        }
    }

    /// Links the followers that joined before the span was open.
    pub(crate) fn link_early(self, flight: &Self) {
        let Self::Awaited(early) = self else { return };
        let flight = if let Self::Open(flight) = flight { Some(flight) } else { None };
        for span in early {
            Link(flight.cloned()).tie(Caller { span, follows: true });
        }
    }

    /// Closes the span at the end of the flight. Call it under no lock.
    pub(crate) fn end(self, outcome: Option<FlightEnd>, waiters: usize) {
        match self {
            Self::Awaited(early) => early.into_iter().for_each(|follower| {
                contain(|| drop(follower));
            }),
            Self::Open(span) => {
                contain(|| {
                    if let Some(outcome) = outcome {
                        span.record("outcome", outcome.as_str());
                    }
                    if outcome == Some(FlightEnd::Landed) {
                        span.record("waiters", waiters);
                    }
                });
                contain(|| drop(span));
            }
        }
    }
}

impl Default for FlightSpan {
    fn default() -> Self {
        Self::Awaited(Vec::new())
    }
}

/// A link from a follower to its flight.
#[derive(Default)]
pub(crate) struct Link(Option<Arc<Span>>);

impl Link {
    /// Call it under no lock.
    pub(crate) fn tie(self, mut follower: Caller) {
        contain(|| {
            if let (Some(flight), Some(follower)) = (self.0, follower.take()) {
                follower.follows_from(&*flight);
            }
        });
    }
}
