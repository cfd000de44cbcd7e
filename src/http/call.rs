//! A call of an HTTP service, alone or for a flight.

use crate::http::{
    body::SharedBody,
    flights::{FlightKey, Flights},
    late::LateStream,
    layer::Http,
    noted_body::NotedBody,
    policy::HttpPolicy,
    request::partition::Partition,
    response::cache_status::{Forwarded, append_cache_status},
    response::class::ResponseClass,
    response::facts::ResponseFacts,
    response::flight_response::FlightResponse,
    response::recipients::Recipients,
};
use crate::{
    core::flight::{Flight, Place},
    core::group::Role,
    error::BoxError,
    layer::future::{Job, ResponseFuture, Verdict},
    layer::mode::ErrorMode,
    layer::site::Site,
    observe::{Caller, Work},
    panics::Debris,
};
use http::{HeaderName, Method, Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use std::{
    fmt,
    hash::Hash,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::time::Instant;
use tower::ServiceExt;
use tower_service::Service;

/// How often a follower is sent on by `Vary`: an origin that never comes to an end with it must not keep anybody
/// waiting.
const MAX_VARY_RETRIES: usize = 4;

/// The flight that a call belongs to.
pub(super) enum FlightRef<K> {
    /// No flight. The response is not recorded in `UnshareableKeys`.
    Untracked,
    /// No flight. The response is recorded in `UnshareableKeys` under this hash.
    Hash(u64),
    Flight(Place, FlightKey<K>),
}

/// `X` is the error that callers get.
pub struct HttpCall<S, B, K: Hash + Eq + Send + Sync + 'static, E, X> {
    service: S,
    head: Request<()>,
    body: B,
    site: Arc<Site<Http<K>>>,
    known: FlightRef<K>,
    /// What its partition has beyond the policy's, because of a `Vary` that it met.
    vary: Vec<HeaderName>,
    /// How often `Vary` sent it on.
    vary_retries: usize,
    /// Whether it followed another request before.
    has_followed: bool,
    /// What a write does when it is answered.
    seal: Option<Box<dyn Send>>,
    errors: PhantomData<fn() -> (E, X)>,
}

impl<S, B, K, E, X> HttpCall<S, B, K, E, X>
where
    K: Hash + Eq + Send + Sync + 'static,
{
    pub(super) fn new(
        service: S,
        (head, body): (Request<()>, B),
        site: Arc<Site<Http<K>>>,
        known: FlightRef<K>,
    ) -> Self {
        let (vary, vary_retries, has_followed, seal) = (Vec::new(), 0, false, None);
        Self { service, head, body, site, known, vary, vary_retries, has_followed, seal, errors: PhantomData }
    }

    /// Whether it may join another flight after one whose response varies by a header it differs in.
    fn may_retry_vary(&self) -> bool {
        self.vary_retries < MAX_VARY_RETRIES && self.site.registry.is_enabled()
    }

    pub(super) fn with_seal(self, seal: Option<Box<dyn Send>>) -> Self {
        Self { seal, ..self }
    }
}

impl<S, B, RB, K, E> HttpCall<S, B, K, E, E::Error>
where
    S: Service<Request<B>, Response = Response<RB>> + Send + 'static,
    S::Future: Send + 'static,
    B: Send + 'static,
    RB: Body + Send + 'static,
    RB::Error: Into<BoxError>,
    K: Hash + Eq + Send + Sync + 'static,
    E: ErrorMode<S::Error>,
{
    /// Sends the request for this caller alone.
    async fn send(self) -> Result<Response<SharedBody>, E::Error> {
        let bodies = self.site.settings.mode.bodies.clone();
        let response = self.service.oneshot(join(self.head, self.body)).await;
        drop(self.seal);
        response.map(|response| response.map(|body| SharedBody::new(body, bodies))).map_err(E::convert)
    }

    /// Sends the request, and judges who may have the answer. `opened`: when its flight did, if newcomers may join that
    /// after its head.
    fn fetch(self, opened: Option<Instant>) -> impl Future<Output = Result<FlightResponse, E::Error>> + Send + 'static {
        let Self { service, head, body, site, known, vary, has_followed, .. } = self;
        let is_head = head.method() == Method::HEAD;
        let context = FetchContext { site, known, opened, vary: vary.into(), has_followed, is_head };
        let response = service.oneshot(join(head, body));
        Fetch { response, context: Some(context), errors: PhantomData::<fn() -> E> }
    }
}

pin_project! {
    /// A named future, and small: the request is in it once.
    struct Fetch<F, Q, E> {
        #[pin]
        response: F,
        context: Option<Q>,
        errors: PhantomData<fn() -> E>,
    }
}

/// What is left of a request while its answer is awaited.
struct FetchContext<K: Hash + Eq + Send + Sync + 'static> {
    site: Arc<Site<Http<K>>>,
    known: FlightRef<K>,
    opened: Option<Instant>,
    vary: Box<[HeaderName]>,
    has_followed: bool,
    is_head: bool,
}

impl<F, RB, R, K, E> Future for Fetch<F, FetchContext<K>, E>
where
    F: Future<Output = Result<Response<RB>, R>>,
    RB: Body + Send + 'static,
    RB::Error: Into<BoxError>,
    K: Hash + Eq + Send + Sync + 'static,
    E: ErrorMode<R>,
{
    type Output = Result<FlightResponse, E::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.response.poll(cx));
        let context = this.context.as_ref().expect("it is polled until it is ready");
        let answer = response.map(|response| context.judge::<E::Error, _>(response)).map_err(E::convert);
        // This may be the last of the flight's key. A panic in its drop is no waiter's affair.
        let mut debris = Debris::default();
        debris.sweep(this.context.take());
        debris.swallow();
        Poll::Ready(answer)
    }
}

impl<K> FetchContext<K>
where
    K: Hash + Eq + Send + Sync + 'static,
{
    /// `X` is the error that callers get.
    fn judge<X, RB>(&self, response: Response<RB>) -> FlightResponse
    where
        X: Send + Sync + 'static,
        RB: Body + Send + 'static,
        RB::Error: Into<BoxError>,
    {
        let Http { policy, bodies, unshareable, .. } = &self.site.settings.mode;
        let mut body = None;
        let head = response.map(|streams| body = Some(streams));
        let body = body.expect("the closure was called");
        let facts = ResponseFacts::in_headers(policy, head.headers());
        let class = policy.classify(&facts, &head, &body.size_hint(), self.is_head);
        // One client's refusal says nothing about those who ask later.
        if let Some(hash) = self.known.hash().filter(|_| !class.is_refusal()) {
            unshareable.record(hash, class == ResponseClass::Shared);
        }
        let recipients = Recipients::of(policy, &facts, class, &self.vary, self.known.partition());
        let body = NotedBody::new(body, self.known.flight().map(|place| self.site.observer().own_hash(place.hash)));
        let body = match self.late(&facts, class == ResponseClass::Shared && !body.is_end_stream()) {
            Some((place, key, until)) => {
                let stream = |body| LateStream::new(head.clone(), body, recipients.vary(), until);
                let flights = self.site.flights(Flights::<K, X>::new);
                let (flight, is_open) = ((place, key.clone()), || flights.table.lists_this_flight(place));
                flights.late.share(flight, is_open, body, bodies.clone(), until, stream)
            }
            None => SharedBody::new(body, bodies.clone()),
        };
        FlightResponse::new(policy, recipients, class.is_refusal(), self.has_followed, head.map(|()| body))
    }

    /// The flight and until when newcomers may join it, if they may. A partition that `Vary` made is not the one that
    /// newcomers come with after the head.
    fn late(&self, facts: &ResponseFacts, is_joinable: bool) -> Option<(Place, &FlightKey<K>, Option<Instant>)> {
        let FlightRef::Flight(place, key) = &self.known else { return None };
        let opened = self.opened.filter(|_| is_joinable && self.vary.is_empty() && self.site.allows_late_joins())?;
        Some((*place, key, self.site.late_join_until(facts, opened)?))
    }
}

impl<K> FlightRef<K> {
    fn hash(&self) -> Option<u64> {
        match self {
            Self::Untracked => None,
            Self::Hash(hash) | Self::Flight(Place { hash, .. }, _) => Some(*hash),
        }
    }

    fn flight(&self) -> Option<Place> {
        match self {
            Self::Flight(place, _) => Some(*place),
            Self::Untracked | Self::Hash(_) => None,
        }
    }

    fn partition(&self) -> Option<&Partition> {
        match self {
            Self::Flight(_, key) => Some(key.partition()),
            Self::Untracked | Self::Hash(_) => None,
        }
    }
}

impl<S, B, RB, K, E> Job for HttpCall<S, B, K, E, E::Error>
where
    S: Service<Request<B>, Response = Response<RB>> + Send + 'static,
    S::Future: Send + 'static,
    B: Send + 'static,
    RB: Body + Send + 'static,
    RB::Error: Into<BoxError>,
    K: Hash + Eq + Send + Sync + 'static,
    E: ErrorMode<S::Error>,
{
    type Landing = Result<FlightResponse, E::Error>;
    type Output = Result<Response<SharedBody>, E::Error>;

    fn fly(self, opened: Option<Instant>, caller: Caller) -> Work<Self::Landing> {
        Work::new(self.fetch(opened), caller)
    }

    fn follows(&mut self) {
        self.has_followed = true;
    }

    fn pass(self, waited: bool) -> Pin<Box<dyn Future<Output = Self::Output> + Send>> {
        let how = if waited { Forwarded::Refetched } else { Forwarded::Bypassed };
        Box::pin(async move {
            let site = self.site.clone();
            let response = match self.known {
                FlightRef::Untracked => self.send().await?,
                _ => self.fetch(None).await?.into_response(Role::Leader),
            };
            Ok(passed(response, &site.settings.mode.policy, how))
        })
    }

    fn judge(landing: &Self::Landing, request: Option<&Self>) -> Verdict {
        let Ok(answer) = landing else { return Verdict::Take };
        match answer.judge(request.map(|call| call.head.headers())) {
            Verdict::Again(reason) if request.is_some_and(|call| !call.may_retry_vary()) => Verdict::Pass(reason),
            verdict => verdict,
        }
    }

    fn again(mut self, landing: &Self::Landing) -> ResponseFuture<Self> {
        let names = landing.as_ref().map_or(&[][..], FlightResponse::vary_names);
        self.vary.extend_from_slice(names);
        self.vary_retries += 1;
        let partition = self.site.settings.mode.policy.partition(&self.head).with_vary(&self.vary);
        let (place, key) = self.site.address(&self.head, partition);
        self.known = FlightRef::Flight(place, key.clone());
        let site = self.site.clone();
        let flights = site.flights(Flights::new);
        site.enter(&flights.table, place, key, self, None)
    }

    fn is_disabled(&self) -> bool {
        !self.site.registry.is_enabled()
    }

    fn newer(self, left: &Arc<Flight<Self::Landing>>) -> ResponseFuture<Self> {
        let FlightRef::Flight(place, key) = &self.known else { unreachable!("it was in a flight") };
        let (place, key, site) = (*place, key.clone(), self.site.clone());
        let flights = site.flights(Flights::new);
        site.enter(&flights.table, place, key, self, Some(left))
    }

    fn unpack(landing: Self::Landing, role: Role, request: Option<&Self>) -> Self::Output {
        landing.map(|answer| answer.for_waiter(role, request.map(|call| call.head.headers())))
    }
}

fn passed(mut response: Response<SharedBody>, policy: &HttpPolicy, how: Forwarded) -> Response<SharedBody> {
    response.extensions_mut().remove::<Role>();
    append_cache_status(policy, how, &mut response);
    response
}

pub(super) fn split<B>(request: Request<B>) -> (Request<()>, B) {
    let (head, body) = request.into_parts();
    (Request::from_parts(head, ()), body)
}

fn join<B>(head: Request<()>, body: B) -> Request<B> {
    let (head, ()) = head.into_parts();
    Request::from_parts(head, body)
}

impl<S, B, K: Hash + Eq + Send + Sync + 'static, E, X> fmt::Debug for HttpCall<S, B, K, E, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpCall").finish_non_exhaustive()
    }
}
