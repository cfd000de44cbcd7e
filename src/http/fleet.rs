//! HTTP flights that several replicas share: a flight asks the fleet before it sends its request.

mod layer;
mod listed;
mod outlived;
mod upstream;
mod write;

pub(super) use layer::LayerFleet;
pub(super) use write::FleetSeal;

use crate::http::{
    fetch::FetchContext,
    flights::{Flights, HttpLanding},
    response::flight_response::FlightResponse,
    settings::HttpMode,
};
use crate::{
    core::key::Address,
    error::BoxError,
    fleet::{
        FleetReason, FleetRole,
        ask::Asked,
        engine::Token,
        name::Subject,
        report::FleetEvent,
        wire::{Answer, Go, WireResult},
    },
    panics::{contain, drop_contained},
    stats::VetoReason,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use http_body::{Body, Frame, SizeHint};
use listed::Listing;
use std::{
    any::Any,
    convert::Infallible,
    future::ready,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use upstream::FleetUpstream;

/// How long a flight waits for another replica, at most.
const LONGEST: Duration = Duration::from_secs(60);

/// Gets the response of a flight: from the fleet, or by `call`. `path`: as in writes to it.
pub(super) async fn fetch<C, B, X, M>(
    fleet: Arc<LayerFleet<M::Key>>,
    call: C,
    mut context: FetchContext<M>,
    path: Vec<u8>,
) -> HttpLanding<X>
where
    C: Future<Output = Result<Response<B>, X>> + Send + Unpin + 'static,
    B: Body + Send + 'static,
    B::Error: Into<BoxError>,
    X: Send + Sync + 'static,
    M: HttpMode,
{
    let enlisted = contain(|| enlist(&fleet, &mut context, &path));
    let Enlisted { address, listing, subject } = match enlisted.unwrap_or(Err(FleetReason::Key)) {
        Ok(enlisted) => enlisted,
        Err(reason) => return alone(&fleet, call, context, reason).await,
    };
    let name = *subject.name();
    let longest = context.settings.rules.join_within.unwrap_or(LONGEST).min(LONGEST);
    let wait = context.settings.patience.unwrap_or(longest).min(longest);
    let close_here = || {
        let flights = context.settings.table(Flights::<M::Key, X>::new);
        flights.table.unlist_this_flight(address);
    };
    let mut asked = traced(fleet.fleet().ask(subject, wait, close_here)).await;
    if let Asked::Lead(lead) = &mut asked {
        if listing.leads(lead.token()) {
            lead.shut();
        }
    }
    // The context keeps it. So this drops no key, whose `Drop` may panic.
    drop(listing);
    match asked {
        Asked::Lead(lead) => FleetUpstream::new(call, context, *lead, longest).await,
        Asked::Take(WireResult::Value(answer), _) if !agrees(&context, &answer) => {
            alone(&fleet, call, context, FleetReason::Vary).await
        }
        Asked::Take(WireResult::Value(answer), waited) => {
            drop_contained(call);
            fleet.fleet().tell(FleetEvent::Taken(waited));
            judged(ready(Ok(whole_response(*answer))), context).await
        }
        Asked::Take(WireResult::Go(Go::Veto(number)), _) if veto_of(number).is_some() => {
            // All callers here go at once, as those of the leader's replica do.
            fleet.fleet().tell(FleetEvent::Alone(FleetReason::Veto));
            context.settings.http().unshareable.record(address.hash, false);
            let reason = veto_of(number).unwrap_or(VetoReason::Status);
            Ok(FlightResponse::leader_calls(
                reason,
                Box::pin(async move {
                    let landing = judged(call, context).await;
                    landing.map_err(|error| Box::new(error) as Box<dyn Any + Send>)
                }),
            ))
        }
        Asked::Take(WireResult::Go(go), _) => {
            let reason = reason_of(go);
            if matches!(reason, FleetReason::TooLarge | FleetReason::TooSlow) {
                fleet
                    .fleet()
                    .node
                    .remember(&name, context.settings.http().policy.flight.unshareable_time);
            }
            alone(&fleet, call, context, reason).await
        }
        Asked::Alone(reason) => {
            let landing = alone(&fleet, call, context, reason).await;
            if reason == FleetReason::Unshareable {
                fleet.unmark(&name, &landing);
            }
            landing
        }
    }
}

/// A flight that may ask the fleet.
struct Enlisted<K> {
    address: Address,
    listing: Arc<Listing<K>>,
    subject: Subject,
}

/// Lists a flight for the writes on other replicas, and names it. `Err`: why it goes alone.
///
/// # Panics
///
/// With the panic of the key. The flight stays listed as far as it was.
fn enlist<M: HttpMode>(
    fleet: &LayerFleet<M::Key>,
    context: &mut FetchContext<M>,
    path: &[u8],
) -> Result<Enlisted<M::Key>, FleetReason> {
    let key = context.flight.key().expect("only a flight asks the fleet");
    let listing = Arc::new(fleet.list(key, path));
    context.listing = Some(listing.clone());
    // A call that comes from another flight wants another answer than that of the fleet.
    if context.has_followed || !context.vary.is_empty() {
        return Err(FleetReason::Patience);
    }
    if fleet.is_forgetting(&listing) {
        return Err(FleetReason::Sealed);
    }
    let subject = fleet.subject(key, listing.tag());
    Ok(Enlisted { address: key.address, listing, subject })
}

/// Asks inside a span of its own, which tells how that ended.
#[cfg(feature = "tracing")]
async fn traced(ask: impl Future<Output = Asked>) -> Asked {
    use tracing::{Instrument, Span, debug_span, field::Empty};

    let open = || debug_span!(target: "tower_singleflight", "fleet", role = Empty, reason = Empty);
    let span = contain(open).unwrap_or_else(Span::none);
    let asked = ask.instrument(span.clone()).await;
    let (role, reason) = match &asked {
        Asked::Lead(_) => ("leader", None),
        Asked::Take(WireResult::Value(_), _) => ("follower", None),
        Asked::Take(WireResult::Go(go), _) => ("alone", Some(reason_of(*go))),
        Asked::Alone(reason) => ("alone", Some(*reason)),
    };
    contain(|| {
        span.record("role", role);
        if let Some(reason) = reason {
            span.record("reason", reason.as_str());
        }
    });
    contain(|| drop(span));
    asked
}

#[cfg(not(feature = "tracing"))]
fn traced(ask: impl Future<Output = Asked>) -> impl Future<Output = Asked> {
    ask
}

/// Sends the request for this replica.
async fn alone<C, B, X, M>(
    fleet: &LayerFleet<M::Key>,
    call: C,
    context: FetchContext<M>,
    reason: FleetReason,
) -> HttpLanding<X>
where
    C: Future<Output = Result<Response<B>, X>> + Unpin,
    B: Body + Send + 'static,
    B::Error: Into<BoxError>,
    X: Send + Sync + 'static,
    M: HttpMode,
{
    fleet.fleet().tell(FleetEvent::Alone(reason));
    judged(call, context).await
}

/// Awaits and judges the response. What is left of the call is dropped after that: a panic in its
/// `Drop` concerns no waiter.
async fn judged<C, B, X, M>(mut call: C, context: FetchContext<M>) -> HttpLanding<X>
where
    C: Future<Output = Result<Response<B>, X>> + Unpin,
    B: Body + Send + 'static,
    B::Error: Into<BoxError>,
    X: Send + Sync + 'static,
    M: HttpMode,
{
    let landing = (&mut call).await.map(|response| context.judge::<X, _>(response));
    drop_contained(call);
    drop_contained(context);
    landing
}

/// Why the response of another replica was vetoed. `None`: it was a refusal, which says nothing
/// about other clients.
fn veto_of(number: u8) -> Option<VetoReason> {
    VetoReason::ALL.get(usize::from(number)).copied()
}

fn reason_of(go: Go) -> FleetReason {
    match go {
        Go::Veto(_) => FleetReason::Veto,
        Go::TooLarge => FleetReason::TooLarge,
        Go::TooSlow | Go::Late => FleetReason::TooSlow,
        Go::Failed => FleetReason::Failed,
    }
}

/// True if this request has the leader's lines of all headers by which the response varies.
fn agrees<M: HttpMode>(context: &FetchContext<M>, answer: &Answer) -> bool {
    if answer.vary.is_empty() {
        return true;
    }
    let Some(key) = context.flight.key() else { return false };
    let own = key.key.partition().uncompared_headers();
    answer
        .vary
        .iter()
        .all(|(name, lines)| own.lines(name).eq(lines.iter().map(HeaderValue::as_bytes)))
}

/// The response of another replica, as if the inner service had given it.
fn whole_response(answer: Answer) -> Response<WholeBody> {
    let Answer { mut head, body, trailers, .. } = answer;
    head.extensions_mut().insert(FleetRole::Follower);
    let data = Some(body).filter(|body| !body.is_empty());
    head.map(|()| WholeBody { data, trailers })
}

/// A body that came as a whole.
struct WholeBody {
    data: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

impl Body for WholeBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = self.data.take().map(Frame::data);
        Poll::Ready(data.or_else(|| self.trailers.take().map(Frame::trailers)).map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.data.as_ref().map_or(0, |data| data.len() as u64))
    }
}

impl<K> LayerFleet<K> {
    /// Removes the mark of a name whose response turned out to be for all.
    fn unmark<X>(&self, name: &crate::fleet::engine::Name, landing: &HttpLanding<X>) {
        let is_for_others = landing
            .as_ref()
            .is_ok_and(|response| response.is_for_others(self.fleet().config.body_limit));
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if !is_for_others || !self.fleet().is_up() {
            return;
        }
        let (node, name) = (self.fleet().node.clone(), *name);
        node.forget(&name);
        drop(runtime.spawn(async move { node.engine.release(&name, Token::MARK).await }));
    }
}
