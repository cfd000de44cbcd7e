//! One call of an HTTP service: alone, or as the leader or a follower of a flight.

use crate::http::{
    body::SharedBody,
    fetch::FetchContext,
    flights::{Flights, HttpLanding},
    key::{FlightRef, HashedKey},
    layer::Http,
    response::{
        cache_status::{Forwarded, append_cache_status},
        flight_response::FlightResponse,
    },
    seal::WriteSeal,
    sending::Sending,
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
    panics::drop_contained,
    stats::PassReason,
};
use http::{Method, Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use std::{
    fmt, future,
    hash::Hash,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::time::Instant;
use tower_service::Service;

/// How many further flights a follower joins because of `Vary`. An origin whose `Vary` changes with
/// every response must not keep it waiting.
const MAX_VARY_RETRIES: usize = 4;

pin_project! {
    /// A request, the service that it is for, and, once it is sent, the future of its response. `F`
    /// is the service's future.
    ///
    /// It lives in one box from the start, because it is large, and it is itself the work of a
    /// flight that it leads.
    pub struct HttpCall<S, B, M: HttpMode, E, F> {
        #[pin]
        sending: Sending<S, B, F>,
        // `None` once the response is judged.
        context: Option<FetchContext<M>>,
        vary_retries: usize,
        // Seals flights when a write is answered.
        seal: Option<Box<dyn WriteSeal>>,
        errors: PhantomData<fn() -> E>,
    }
}

impl<S, B, M: HttpMode, E, F> HttpCall<S, B, M, E, F> {
    /// A call that belongs to no flight yet.
    #[inline]
    pub(super) fn new(
        service: S,
        settings: Arc<Settings<M>>,
        head: Request<()>,
        body: B,
    ) -> Box<Self> {
        let is_head = head.method() == Method::HEAD;
        Box::new(Self {
            sending: Sending::new(service, head, body),
            context: Some(FetchContext {
                settings,
                flight: FlightRef::Untracked,
                opened: None,
                vary: Vec::new(),
                has_followed: false,
                is_head,
                passes: false,
                listing: None,
            }),
            vary_retries: 0,
            seal: None,
            errors: PhantomData,
        })
    }

    fn context(&self) -> &FetchContext<M> {
        self.context.as_ref().expect(NOT_SENT)
    }

    fn context_mut(&mut self) -> &mut FetchContext<M> {
        self.context.as_mut().expect(NOT_SENT)
    }

    /// True if it may join another flight after a response that varies by a header of its own.
    fn may_retry_vary(&self) -> bool {
        self.vary_retries < MAX_VARY_RETRIES && self.context().settings.is_enabled()
    }

    pub(super) fn head(&self) -> &Request<()> {
        self.sending.head().expect(NOT_SENT)
    }

    fn hashed_key(&self) -> &HashedKey<M::Key> {
        self.context().flight.key().expect("only a call with a flight enters")
    }
}

const NOT_SENT: &str = "a call that is asked has not been sent";

impl<S, B, RB, M, E> HttpCall<S, B, M, E, S::Future>
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
    async fn send(self: Box<Self>) -> Result<Response<SharedBody>, E::Error> {
        let bodies = self.context().settings.http().bodies.clone();
        let Self { sending, seal, .. } = *self;
        let response = sending.await.map_err(E::convert);
        if let Some(sealed) = seal.and_then(WriteSeal::answered) {
            sealed.await;
        }
        response.map(|response| response.map(|body| SharedBody::new(body, bodies)))
    }

    /// Goes straight to the inner service. `flight` is the flight that the response is recorded
    /// for.
    pub(super) fn pass_alone(
        mut self: Box<Self>,
        settings: &Settings<M>,
        reason: PassReason,
        flight: FlightRef<M::Key>,
        seal: Option<Box<dyn WriteSeal>>,
    ) -> JobFuture<Box<Self>> {
        self.context_mut().flight = flight;
        self.seal = seal;
        JobFuture::pass(self, reason, settings.observer())
    }

    /// Joins a flight whose body streams or whose head is awaited, or leads a new one.
    #[inline]
    pub(super) fn share(
        mut self: Box<Self>,
        settings: &Settings<M>,
        key: HashedKey<M::Key>,
    ) -> JobFuture<Box<Self>> {
        let flights = settings.table(Flights::<M::Key, E::Error>::new);
        if flights.late.is_inside(&key) {
            let flight = FlightRef::Hash(key.address.hash);
            return self.pass_alone(settings, PassReason::Reentrant, flight, None);
        }
        let version = flights.late.version();
        if let Some(response) = settings.join_late(&flights.late, &key, self.head()) {
            return Self::joined_late(settings, response);
        }
        self.context_mut().flight = FlightRef::Flight(key);
        self.enter_if(settings, flights, || flights.late.version() == version)
            .unwrap_or_else(|call| call.share_again(settings, flights))
    }

    /// Looks for a response again: one has landed since this call last looked.
    #[cold]
    fn share_again(
        mut self: Box<Self>,
        settings: &Settings<M>,
        flights: &Flights<M::Key, E::Error>,
    ) -> JobFuture<Box<Self>> {
        loop {
            let version = flights.late.version();
            let late = settings.join_late(&flights.late, self.hashed_key(), self.head());
            if let Some(response) = late {
                return Self::joined_late(settings, response);
            }
            match self.enter_if(settings, flights, || flights.late.version() == version) {
                Ok(future) => return future,
                Err(again) => self = again,
            }
        }
    }

    fn joined_late(settings: &Settings<M>, response: Response<SharedBody>) -> JobFuture<Box<Self>> {
        settings.observer().tell(Event::JoinedLate);
        JobFuture::boxed(future::ready(Ok(response)))
    }

    /// Joins or leads the flight of its key. A call that `left` a flight looks for a newer one.
    pub(super) fn enter(
        self: Box<Self>,
        settings: &Settings<M>,
        flights: &Flights<M::Key, E::Error>,
        left: Option<FlightNumber>,
    ) -> JobFuture<Box<Self>> {
        let HashedKey { address, key } = self.hashed_key().clone();
        JobFuture::enter(settings, &flights.table, address, key, self, left)
    }

    /// As `enter`. `Err`: there is no flight, and it may not lead one.
    #[inline]
    fn enter_if(
        self: Box<Self>,
        settings: &Settings<M>,
        flights: &Flights<M::Key, E::Error>,
        may_lead: impl FnOnce() -> bool,
    ) -> Result<JobFuture<Box<Self>>, Box<Self>> {
        let HashedKey { address, key } = self.hashed_key().clone();
        JobFuture::enter_if(settings, &flights.table, address, key, self, None, may_lead)
    }
}

/// Sends the request, and decides who may have the response.
impl<S, B, RB, M, E> Future for HttpCall<S, B, M, E, S::Future>
where
    S: Service<Request<B>, Response = Response<RB>>,
    RB: Body + Send + 'static,
    RB::Error: Into<BoxError>,
    M: HttpMode,
    E: ErrorMode<S::Error>,
{
    type Output = HttpLanding<E::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.sending.poll(cx));
        let context = this.context.as_ref().expect("a future is not polled after it was ready");
        let landing =
            response.map(|response| context.judge::<E::Error, _>(response)).map_err(E::convert);
        // This may drop the last copy of the user's key. A panic in its `Drop` concerns no waiter.
        drop_contained(this.context.take());
        Poll::Ready(landing)
    }
}

impl<S, B, RB, M, E> Job for Box<HttpCall<S, B, M, E, S::Future>>
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

    #[inline]
    fn start(mut self, opened: Option<Instant>, caller: Caller) -> Work<Self::Landing> {
        self.context_mut().opened = opened;
        #[cfg(feature = "fleet")]
        if let Some(fleet) = self.context().settings.http().fleet.clone() {
            // Only copied here: this runs under a lock.
            let path = crate::http::path::path_bytes(self.head()).into_owned();
            let HttpCall { sending, context, .. } = *self;
            // The service's future is dropped with the call, not with its response: a panic in its
            // `Drop` concerns no waiter.
            let mut sending = Box::pin(sending);
            let call = future::poll_fn(move |cx| sending.as_mut().poll(cx).map_err(E::convert));
            let context = context.expect(NOT_SENT);
            return Work::new(
                Box::pin(crate::http::fleet::fetch(fleet, call, context, path)),
                caller,
            );
        }
        Work::new(Box::into_pin(self), caller)
    }

    fn follows(&mut self) {
        self.context_mut().has_followed = true;
    }

    fn pass(mut self, waited: bool) -> Pin<Box<dyn Future<Output = Self::Output> + Send>> {
        let how = if waited { Forwarded::Refetched } else { Forwarded::Bypassed };
        self.context_mut().passes = true;
        Box::pin(async move {
            let settings = self.context().settings.clone();
            let mut response = match self.context().flight {
                FlightRef::Untracked => self.send().await?,
                _ => Box::into_pin(self).await?.into_response(Role::Leader),
            };
            response.extensions_mut().remove::<Role>();
            append_cache_status(&settings.http().policy, how, &mut response);
            Ok(response)
        })
    }

    fn judge(landing: &Self::Landing, request: Option<&Self>) -> Verdict {
        let Ok(response) = landing else { return Verdict::Take };
        match response.judge(request.map(|call| call.head().headers())) {
            Verdict::Again(reason) if request.is_some_and(|call| !call.may_retry_vary()) => {
                Verdict::Pass(reason)
            }
            verdict => verdict,
        }
    }

    fn again(mut self, landing: &Self::Landing) -> JobFuture<Self> {
        let names = landing.as_ref().map_or(&[][..], FlightResponse::vary_names);
        self.context_mut().vary.extend_from_slice(names);
        self.vary_retries += 1;
        let (context, head) = (self.context(), self.head());
        let settings = context.settings.clone();
        let partition = settings.http().policy.partition(head).with_vary(&context.vary);
        let key = settings.rehashed_key(&self.hashed_key().key, head, partition);
        self.context_mut().flight = FlightRef::Flight(key);
        self.enter(&settings, settings.table(Flights::new), None)
    }

    fn is_disabled(&self) -> bool {
        !self.context().settings.is_enabled()
    }

    fn newer(self, left: FlightNumber) -> JobFuture<Self> {
        let settings = self.context().settings.clone();
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
        let headers = request.map(|call| call.head().headers());
        landing.map(|response| response.for_waiter(role, headers))
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
    type Call = Box<HttpCall<S, B, Self, E, S::Future>>;
}

impl<S, B, M: HttpMode, E, F> fmt::Debug for HttpCall<S, B, M, E, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpCall").finish_non_exhaustive()
    }
}
