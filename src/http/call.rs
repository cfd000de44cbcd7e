//! A call of an HTTP service, alone or for a flight.

use super::{
    answer::{Answer, Asked, Judgement},
    body::SharedBody,
    cache_status::{Forwarded, say},
    flights::{FlightKey, Flights},
    late::Stream,
    layer::Http,
    policy::HttpPolicy,
    veto::Said,
};
use crate::{
    error::BoxError,
    flight::{Place, Start},
    future::{Job, ResponseFuture, Verdict},
    group::Role,
    mode::ErrorMode,
    observe::{Caller, Work},
    site::Site,
};
use http::{HeaderName, Request, Response};
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
const VARY_AT_MOST: usize = 4;

/// `X` is the error that callers get.
pub struct HttpCall<S, B, K: Hash + Eq + Send + Sync + 'static, E, X> {
    service: S,
    request: Request<B>,
    site: Arc<Site<Http<K>>>,
    /// The hash of its flight, if it has one: what `Memory` knows it by.
    hash: Option<u64>,
    /// The flight that it leads, if newcomers may join that after its head.
    listed: Option<(Place, FlightKey<K>)>,
    /// What its partition has beyond the policy's, because of a `Vary` that it met.
    vary: Vec<HeaderName>,
    /// How often `Vary` sent it on.
    detours: usize,
    /// What a write does when it is answered.
    seal: Option<Box<dyn Send>>,
    errors: PhantomData<fn() -> (E, X)>,
}

impl<S, B, K, E, X> HttpCall<S, B, K, E, X>
where
    K: Hash + Eq + Send + Sync + 'static,
{
    pub(super) fn new(service: S, request: Request<B>, site: Arc<Site<Http<K>>>) -> Self {
        let errors = PhantomData;
        Self { service, request, site, hash: None, listed: None, vary: Vec::new(), detours: 0, seal: None, errors }
    }

    /// For the flight at `place`. A partition that `Vary` made is not the one that newcomers come with after the head.
    pub(super) fn at(self, place: Place, key: FlightKey<K>) -> Self {
        let listed = (self.site.takes_late() && self.vary.is_empty()).then_some((place, key));
        Self { hash: Some(place.hash), listed, ..self }
    }

    pub(super) fn with_seal(self, seal: Option<Box<dyn Send>>) -> Self {
        Self { seal, ..self }
    }

    pub(super) fn with_hash(self, hash: Option<u64>) -> Self {
        Self { hash, ..self }
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
        let response = self.service.oneshot(self.request).await;
        drop(self.seal);
        response.map(|response| response.map(|body| SharedBody::new(body, bodies))).map_err(E::convert)
    }

    /// Sends the request, and judges who may have the answer.
    fn ask(
        self,
        asked: Asked,
        opened: Option<Instant>,
    ) -> impl Future<Output = Result<Answer, E::Error>> + Send + 'static {
        let Self { service, request, site, hash, listed, vary, .. } = self;
        let question = Question { site, hash, listed, opened, vary, asked };
        Asking { response: service.oneshot(request), question: Some(question), errors: PhantomData::<fn() -> E> }
    }
}

pin_project! {
    /// A named future, and small: the request is in it once.
    struct Asking<F, Q, E> {
        #[pin]
        response: F,
        question: Option<Q>,
        errors: PhantomData<fn() -> E>,
    }
}

/// What is left of a request while its answer is awaited.
struct Question<K: Hash + Eq + Send + Sync + 'static> {
    site: Arc<Site<Http<K>>>,
    hash: Option<u64>,
    listed: Option<(Place, FlightKey<K>)>,
    opened: Option<Instant>,
    vary: Vec<HeaderName>,
    asked: Asked,
}

impl<F, RB, R, K, E> Future for Asking<F, Question<K>, E>
where
    F: Future<Output = Result<Response<RB>, R>>,
    RB: Body + Send + 'static,
    RB::Error: Into<BoxError>,
    K: Hash + Eq + Send + Sync + 'static,
    E: ErrorMode<R>,
{
    type Output = Result<Answer, E::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.response.poll(cx));
        let question = this.question.take().expect("it is polled until it is ready");
        Poll::Ready(response.map(|response| question.judge::<E::Error, _>(response)).map_err(E::convert))
    }
}

impl<K> Question<K>
where
    K: Hash + Eq + Send + Sync + 'static,
{
    /// `X` is the error that callers get.
    fn judge<X, RB>(self, response: Response<RB>) -> Answer
    where
        X: Send + Sync + 'static,
        RB: Body + Send + 'static,
        RB::Error: Into<BoxError>,
    {
        let Http { policy, bodies, memory, .. } = &self.site.settings.mode;
        let (head, body) = response.into_parts();
        let refetched = !self.vary.is_empty();
        let said = Said::in_head(&head);
        let judgement = Judgement::of(policy, &said, &head, &body.size_hint(), self.asked, &self.vary);
        if let Some(hash) = self.hash {
            memory.note(hash, judgement.is_for_others());
        }
        let is_joinable = judgement.is_for_others() && !body.is_end_stream();
        let until = self.opened.filter(|_| is_joinable).and_then(|opened| self.site.late_until(&said, opened));
        let body = match self.listed.zip(until) {
            Some(((place, key), until)) => {
                let stream = |body| Stream::new(head.clone(), body, judgement.varies(), until);
                self.site.with_flights(Flights::<K, X>::new, |flights| {
                    let (flight, is_open) = ((place, key.clone()), || flights.lists(place, &key));
                    flights.late.share(flight, is_open, body, bodies.clone(), until, stream)
                })
            }
            _ => SharedBody::new(body, bodies.clone()),
        };
        Answer::new(policy, judgement, refetched, Response::from_parts(head, body))
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
    type Landing = Result<Answer, E::Error>;
    type Output = Result<Response<SharedBody>, E::Error>;

    fn fly(self, start: Start, caller: Caller) -> Work<Self::Landing> {
        // A flight that was lost is listed by the key of its first leader, which this call does not have.
        let opened = match start {
            Start::First(opened) => opened,
            Start::Anew => None,
        };
        let asked = Asked::of(&self.request, &self.site.settings.mode.policy);
        Work::new(self.ask(asked, opened), caller)
    }

    fn pass(self, waited: bool) -> Pin<Box<dyn Future<Output = Self::Output> + Send>> {
        let how = if waited { Forwarded::Refetched } else { Forwarded::Bypassed };
        Box::pin(async move {
            let site = self.site.clone();
            let response = match self.hash {
                Some(_) => {
                    let asked = Asked::alone(&self.request);
                    self.ask(asked, None).await?.into_response()
                }
                None => self.send().await?,
            };
            Ok(passed(response, &site.settings.mode.policy, how))
        })
    }

    fn judge(landing: &Self::Landing, request: Option<&Self>) -> Verdict {
        let Ok(answer) = landing else { return Verdict::Take };
        match answer.judge(request.map(|call| call.request.headers())) {
            Verdict::Again(reason) if request.is_some_and(|call| call.detours == VARY_AT_MOST) => Verdict::Pass(reason),
            verdict => verdict,
        }
    }

    fn again(mut self, landing: &Self::Landing) -> ResponseFuture<Self> {
        let names = landing.as_ref().map_or(&[][..], Answer::varies_by);
        self.vary.extend_from_slice(names);
        self.detours += 1;
        let (head, body) = split(self.request);
        let partition = self.site.settings.mode.policy.partition(&head).with_vary(&self.vary, &head);
        let (place, key) = self.site.address(&head, partition);
        self.request = join(head, body);
        let site = self.site.clone();
        site.with_flights(Flights::new, |flights| site.enter(&flights.table, place, key.clone(), self.at(place, key)))
    }

    fn unpack(landing: Self::Landing, role: Role) -> Self::Output {
        landing.map(|answer| answer.give(role))
    }
}

fn passed(mut response: Response<SharedBody>, policy: &HttpPolicy, how: Forwarded) -> Response<SharedBody> {
    response.extensions_mut().remove::<Role>();
    say(policy, how, &mut response);
    response
}

pub(super) fn split<B>(request: Request<B>) -> (Request<()>, B) {
    let (head, body) = request.into_parts();
    (Request::from_parts(head, ()), body)
}

pub(super) fn join<B>(head: Request<()>, body: B) -> Request<B> {
    let (head, ()) = head.into_parts();
    Request::from_parts(head, body)
}

impl<S, B, K: Hash + Eq + Send + Sync + 'static, E, X> fmt::Debug for HttpCall<S, B, K, E, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpCall").finish_non_exhaustive()
    }
}
