//! The upstream call of a flight that this replica leads for the fleet.

use crate::http::{
    body::SharedBody,
    fetch::FetchContext,
    fleet::{LONGEST, outlived::Outlived},
    flights::HttpLanding,
    settings::HttpMode,
};
use crate::{
    core::reentry::{self, Ancestors, FlightNumber},
    error::BoxError,
    fleet::{
        FleetRole,
        flight::{FleetOutcome, Lead},
        lead::Deserted,
    },
    panics::drop_contained,
};
use http::Response;
use http_body::Body;
use std::{
    future::poll_fn,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Sleep, sleep, timeout};

/// The call of a leader. If it is dropped before the head, while others follow elsewhere, the call
/// goes on in a task, until nobody can wait for it any more.
pub(super) struct FleetUpstream<C, B, X, M>
where
    C: Future<Output = Result<Response<B>, X>> + Send + Unpin + 'static,
    B: Body + Send + 'static,
    B::Error: Into<BoxError>,
    X: Send + Sync + 'static,
    M: HttpMode,
{
    /// Until the head is known.
    rest: Option<Rest<C, M>>,
    /// True while the call or the policy's closures run. So a drop knows of a panic.
    is_polled: bool,
    /// Whether it is in a task of its own, for others.
    is_moved: bool,
    types: PhantomData<fn() -> (B, X)>,
}

struct Rest<C, M: HttpMode> {
    call: C,
    context: FetchContext<M>,
    lead: Lead,
    /// The flight that makes the call, and those around it.
    flight: (FlightNumber, Ancestors),
    /// When the flight takes no more.
    too_old: Option<Pin<Box<Sleep>>>,
}

impl<C, B, X, M> FleetUpstream<C, B, X, M>
where
    C: Future<Output = Result<Response<B>, X>> + Send + Unpin + 'static,
    B: Body + Send + 'static,
    B::Error: Into<BoxError>,
    X: Send + Sync + 'static,
    M: HttpMode,
{
    /// `joinable`: for how long others may follow. Call it inside the flight.
    pub(super) fn new(call: C, context: FetchContext<M>, lead: Lead, joinable: Duration) -> Self {
        let too_old = {
            let _inside = lead.runtime().enter();
            Some(Box::pin(sleep(joinable)))
        };
        let flight = (reentry::innermost().unwrap_or_else(FlightNumber::new), Ancestors::around());
        let rest = Some(Rest { call, context, lead, flight, too_old });
        Self { rest, is_polled: false, is_moved: false, types: PhantomData }
    }

    /// Ends the flight with the result of the call. Callers here get it at once. A task gives it to
    /// the other replicas.
    fn land(&mut self, result: Result<Response<B>, X>) -> HttpLanding<X> {
        let context = &self.rest.as_ref().expect(POLLED_AGAIN).context;
        let http = context.settings.http();
        let is_shared = !http.bodies.budget.is_spent();
        let landing = result.map(|mut response| {
            response.extensions_mut().insert(FleetRole::Leader);
            context.judge::<X, _>(response)
        });
        let mark = http.policy.flight.unshareable_time;
        let outcome = landing.as_ref().ok().map(|landing| landing.outcome(mark, is_shared));
        // Only now: a panic of the policy's closures has to find the rest.
        self.rest.take().expect(POLLED_AGAIN).end(outcome);
        landing
    }
}

impl<C, M: HttpMode> Rest<C, M> {
    /// The call has ended. `None`: it failed. A panic in the `Drop` of what is left of it concerns
    /// no waiter.
    fn end(self, outcome: Option<FleetOutcome<SharedBody>>) {
        let Self { call, context, lead, .. } = self;
        match outcome {
            Some(outcome) => lead.head(outcome),
            None => lead.failed(),
        }
        drop_contained(call);
        drop_contained(context);
    }
}

const POLLED_AGAIN: &str = "a future is not polled after it was ready";

impl<C, B, X, M> Future for FleetUpstream<C, B, X, M>
where
    C: Future<Output = Result<Response<B>, X>> + Send + Unpin + 'static,
    B: Body + Send + 'static,
    B::Error: Into<BoxError>,
    X: Send + Sync + 'static,
    M: HttpMode,
{
    type Output = HttpLanding<X>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let rest = this.rest.as_mut().expect(POLLED_AGAIN);
        rest.lead.hear(cx);
        if rest.too_old.as_mut().is_some_and(|too_old| too_old.as_mut().poll(cx).is_ready()) {
            rest.too_old = None;
            rest.lead.shut();
        }
        this.is_polled = true;
        let polled = match Pin::new(&mut rest.call).poll(cx) {
            Poll::Ready(result) => Poll::Ready(this.land(result)),
            Poll::Pending => Poll::Pending,
        };
        this.is_polled = false;
        polled
    }
}

impl<C, B, X, M> Drop for FleetUpstream<C, B, X, M>
where
    C: Future<Output = Result<Response<B>, X>> + Send + Unpin + 'static,
    B: Body + Send + 'static,
    B::Error: Into<BoxError>,
    X: Send + Sync + 'static,
    M: HttpMode,
{
    fn drop(&mut self) {
        let Some(mut rest) = self.rest.take() else { return };
        if self.is_polled {
            return rest.end(None);
        }
        if !self.is_moved && rest.lead.deserted() == Deserted::GoOn {
            let (number, around) = rest.flight.clone();
            let outlived = Arc::new(Outlived::new(number, around));
            let followed = outlived.clone();
            rest.lead.goes_on(Arc::new(move || followed.lets_follow()));
            let runtime = rest.lead.runtime().clone();
            let mut moved =
                Self { rest: Some(rest), is_polled: false, is_moved: true, types: PhantomData };
            let call = poll_fn(move |cx| {
                let _inside = outlived.enter();
                let polled = Pin::new(&mut moved).poll(cx).map(drop);
                let is_lost = moved.rest.as_ref().is_some_and(|rest| rest.lead.is_lost());
                if is_lost { Poll::Ready(()) } else { polled }
            });
            // Who follows last waits for `LONGEST`, and follows within `LONGEST`.
            drop(runtime.spawn(async move { drop(timeout(2 * LONGEST, call).await) }));
        }
    }
}
