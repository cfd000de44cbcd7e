//! One call of an HTTP service: alone, or as the leader or a follower of a flight.

use crate::http::{
    body::SharedBody,
    fetch::{Fetch, FetchContext},
    flights::{Flights, HttpLanding},
    key::{FlightRef, HashedKey},
    layer::Http,
    response::{
        cache_status::{Forwarded, append_cache_status},
        flight_response::FlightResponse,
    },
    seal::WriteSeal,
    settings::HttpMode,
};
use crate::{
    core::{group::Role, reentry::FlightNumber},
    error::BoxError,
    layer::job::{Job, Verdict},
    layer::job_future::JobFuture,
    layer::mode::{ErrorMode, sealed::CallMode},
    layer::settings::Settings,
    observe::{Caller, Event, Work},
    stats::PassReason,
};
use http::{HeaderMap, HeaderName, Method, Request, Response};
use http_body::Body;
use std::{fmt, future, hash::Hash, marker::PhantomData, pin::Pin, sync::Arc};
use tokio::time::Instant;
use tower::{ServiceExt, util::Oneshot};
use tower_service::Service;

/// How many further flights a follower joins because of `Vary`. An origin whose `Vary` changes with
/// every response must not keep it waiting.
const MAX_VARY_RETRIES: usize = 4;

/// A request, and the service that it is for. `X` is the error that callers get.
pub struct HttpCall<S, B, M: HttpMode, E, X> {
    service: S,
    head: Request<()>,
    body: B,
    settings: Arc<Settings<M>>,
    flight: FlightRef<M::Key>,
    /// The headers that its partition compares beyond the policy's, because a response varied by
    /// them.
    vary: Vec<HeaderName>,
    vary_retries: usize,
    /// Whether it was a follower before.
    has_followed: bool,
    /// Seals flights when a write is answered.
    seal: Option<Box<dyn WriteSeal>>,
    errors: PhantomData<fn() -> (E, X)>,
}

impl<S, B, M: HttpMode, E, X> HttpCall<S, B, M, E, X> {
    pub(super) fn new(
        service: S,
        head: Request<()>,
        body: B,
        settings: Arc<Settings<M>>,
        flight: FlightRef<M::Key>,
    ) -> Self {
        let (vary, vary_retries, has_followed, seal) = (Vec::new(), 0, false, None);
        Self {
            service,
            head,
            body,
            settings,
            flight,
            vary,
            vary_retries,
            has_followed,
            seal,
            errors: PhantomData,
        }
    }

    pub(super) fn with_seal(self, seal: Option<Box<dyn WriteSeal>>) -> Self {
        Self { seal, ..self }
    }

    /// True if it may join another flight after a response that varies by a header of its own.
    fn may_retry_vary(&self) -> bool {
        self.vary_retries < MAX_VARY_RETRIES && self.settings.is_enabled()
    }

    fn headers(&self) -> &HeaderMap {
        self.head.headers()
    }

    fn hashed_key(&self) -> &HashedKey<M::Key> {
        self.flight.key().expect("only a call with a flight enters")
    }
}

impl<S, B, RB, M, E> HttpCall<S, B, M, E, E::Error>
where
    S: Service<Request<B>, Response = Response<RB>> + Send + 'static,
    S::Future: Send + 'static,
    B: Send + 'static,
    RB: Body + Send + 'static,
    RB::Error: Into<BoxError>,
    M: HttpMode,
    E: ErrorMode<S::Error>,
{
    /// Sends the request for this caller alone.
    async fn send(self) -> Result<Response<SharedBody>, E::Error> {
        let bodies = self.settings.http().bodies.clone();
        let response =
            self.service.oneshot(unsplit(self.head, self.body)).await.map_err(E::convert);
        if let Some(sealed) = self.seal.and_then(WriteSeal::answered) {
            sealed.await;
        }
        response.map(|response| response.map(|body| SharedBody::new(body, bodies)))
    }

    /// Sends the request, and decides who may have the response. `opened`: when its flight opened,
    /// if newcomers may join after its head. `passes`: it has no flight.
    fn fetch(
        self,
        opened: Option<Instant>,
        passes: bool,
    ) -> impl Future<Output = HttpLanding<E::Error>> + Send + 'static {
        let (call, context) = self.into_call(opened, passes);
        Fetch::<_, _, E>::new(call, context)
    }

    /// The call of the inner service, and what has to be known when its response arrives.
    fn into_call(
        self,
        opened: Option<Instant>,
        passes: bool,
    ) -> (Oneshot<S, Request<B>>, FetchContext<M>) {
        let Self { service, head, body, settings, flight, vary, has_followed, .. } = self;
        let is_head = head.method() == Method::HEAD;
        let context = FetchContext {
            settings,
            flight,
            opened,
            vary: vary.into(),
            has_followed,
            is_head,
            passes,
        };
        (service.oneshot(unsplit(head, body)), context)
    }

    /// Joins a flight whose body streams or whose head is awaited, or leads a new one.
    #[inline]
    pub(super) fn share(
        settings: &Arc<Settings<M>>,
        service: &S,
        head: Request<()>,
        body: B,
        key: HashedKey<M::Key>,
    ) -> JobFuture<Self>
    where
        S: Clone,
    {
        let flights = settings.table(Flights::<M::Key, E::Error>::new);
        if flights.late.is_inside(&key) {
            let flight = FlightRef::Hash(key.address.hash);
            let call = Self::new(service.clone(), head, body, settings.clone(), flight);
            return JobFuture::pass(call, PassReason::Reentrant, settings.observer());
        }
        let version = flights.late.version();
        if let Some(response) = settings.join_late(&flights.late, &key, &head) {
            return Self::joined_late(settings, response);
        }
        let call = Self::new(service.clone(), head, body, settings.clone(), FlightRef::Flight(key));
        call.enter_if(settings, flights, || flights.late.version() == version)
            .unwrap_or_else(|call| call.share_again(settings, flights))
    }

    /// Looks for a response again: one has landed since this call last looked.
    #[cold]
    fn share_again(
        mut self,
        settings: &Settings<M>,
        flights: &Flights<M::Key, E::Error>,
    ) -> JobFuture<Self> {
        loop {
            let version = flights.late.version();
            if let Some(response) = settings.join_late(&flights.late, self.hashed_key(), &self.head)
            {
                return Self::joined_late(settings, response);
            }
            match self.enter_if(settings, flights, || flights.late.version() == version) {
                Ok(future) => return future,
                Err(again) => self = again,
            }
        }
    }

    fn joined_late(settings: &Settings<M>, response: Response<SharedBody>) -> JobFuture<Self> {
        settings.observer().tell(Event::JoinedLate);
        JobFuture::boxed(future::ready(Ok(response)))
    }

    /// Joins or leads the flight of its key. A call that `left` a flight looks for a newer one.
    pub(super) fn enter(
        self,
        settings: &Settings<M>,
        flights: &Flights<M::Key, E::Error>,
        left: Option<FlightNumber>,
    ) -> JobFuture<Self> {
        let HashedKey { address, key } = self.hashed_key().clone();
        JobFuture::enter(settings, &flights.table, address, key, self, left)
    }

    /// As `enter`. `Err`: there is no flight, and it may not lead one.
    #[allow(clippy::result_large_err, reason = "the future holds the call as well")]
    #[inline]
    fn enter_if(
        self,
        settings: &Settings<M>,
        flights: &Flights<M::Key, E::Error>,
        may_lead: impl FnOnce() -> bool,
    ) -> Result<JobFuture<Self>, Self> {
        let HashedKey { address, key } = self.hashed_key().clone();
        JobFuture::enter_if(settings, &flights.table, address, key, self, None, may_lead)
    }
}

impl<S, B, RB, M, E> Job for HttpCall<S, B, M, E, E::Error>
where
    S: Service<Request<B>, Response = Response<RB>> + Send + 'static,
    S::Future: Send + 'static,
    B: Send + 'static,
    RB: Body + Send + 'static,
    RB::Error: Into<BoxError>,
    M: HttpMode,
    E: ErrorMode<S::Error>,
{
    type Landing = HttpLanding<E::Error>;
    type Output = Result<Response<SharedBody>, E::Error>;

    fn start(self, opened: Option<Instant>, caller: Caller) -> Work<Self::Landing> {
        #[cfg(feature = "fleet")]
        if let Some(fleet) = self.settings.http().fleet.clone() {
            let (call, context) = self.into_call(opened, false);
            let call = async move { call.await.map_err(E::convert) };
            return Work::new(crate::http::fleet::fetch(fleet, call, context), caller);
        }
        Work::new(self.fetch(opened, false), caller)
    }

    fn follows(&mut self) {
        self.has_followed = true;
    }

    fn pass(self, waited: bool) -> Pin<Box<dyn Future<Output = Self::Output> + Send>> {
        let how = if waited { Forwarded::Refetched } else { Forwarded::Bypassed };
        Box::pin(async move {
            let settings = self.settings.clone();
            let mut response = match self.flight {
                FlightRef::Untracked => self.send().await?,
                _ => self.fetch(None, true).await?.into_response(Role::Leader),
            };
            response.extensions_mut().remove::<Role>();
            append_cache_status(&settings.http().policy, how, &mut response);
            Ok(response)
        })
    }

    fn judge(landing: &Self::Landing, request: Option<&Self>) -> Verdict {
        let Ok(response) = landing else { return Verdict::Take };
        match response.judge(request.map(Self::headers)) {
            Verdict::Again(reason) if request.is_some_and(|call| !call.may_retry_vary()) => {
                Verdict::Pass(reason)
            }
            verdict => verdict,
        }
    }

    fn again(mut self, landing: &Self::Landing) -> JobFuture<Self> {
        let names = landing.as_ref().map_or(&[][..], FlightResponse::vary_names);
        self.vary.extend_from_slice(names);
        self.vary_retries += 1;
        let partition = self.settings.http().policy.partition(&self.head).with_vary(&self.vary);
        let key = &self.hashed_key().key;
        self.flight = FlightRef::Flight(self.settings.rehashed_key(key, &self.head, partition));
        let settings = self.settings.clone();
        self.enter(&settings, settings.table(Flights::new), None)
    }

    fn is_disabled(&self) -> bool {
        !self.settings.is_enabled()
    }

    fn newer(self, left: FlightNumber) -> JobFuture<Self> {
        let settings = self.settings.clone();
        self.enter(&settings, settings.table(Flights::new), Some(left))
    }

    #[cfg(feature = "fleet")]
    fn leader_goes_on(
        landing: &Self::Landing,
    ) -> Option<Pin<Box<dyn Future<Output = Self::Output> + Send>>> {
        let call = landing.as_ref().ok()?.take_leader_call()?;
        Some(Box::pin(async move {
            match call.await {
                Ok(response) => Ok(response.for_waiter(Role::Leader, None)),
                Err(error) => Err(*error.downcast().expect("the error of the call that it is")),
            }
        }))
    }

    fn unpack(landing: Self::Landing, role: Role, request: Option<&Self>) -> Self::Output {
        landing.map(|response| response.for_waiter(role, request.map(Self::headers)))
    }
}

/// Splits a request into its head and its body.
pub(super) fn split<B>(request: Request<B>) -> (Request<()>, B) {
    let (head, body) = request.into_parts();
    (Request::from_parts(head, ()), body)
}

/// Undoes `split`.
pub(super) fn unsplit<B>(head: Request<()>, body: B) -> Request<B> {
    let (head, ()) = head.into_parts();
    Request::from_parts(head, body)
}

impl<S, B, RB, K, E> CallMode<S, Request<B>, E> for Http<K>
where
    S: Service<Request<B>, Response = Response<RB>> + Send + 'static,
    S::Future: Send + 'static,
    B: Send + 'static,
    RB: Body + Send + 'static,
    RB::Error: Into<BoxError>,
    K: Hash + Eq + Send + Sync + 'static,
    E: ErrorMode<S::Error>,
{
    type Call = HttpCall<S, B, Self, E, E::Error>;
}

impl<S, B, M: HttpMode, E, X> fmt::Debug for HttpCall<S, B, M, E, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpCall").finish_non_exhaustive()
    }
}
