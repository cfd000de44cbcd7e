//! A call of an HTTP service, alone or for a flight.

use super::{
    answer::Answer,
    body::SharedBody,
    cache_status::{Forwarded, say},
    layer::{Http, Partitioned},
    policy::HttpPolicy,
};
use crate::{
    error::BoxError,
    flight::{Place, Work},
    future::{Job, ResponseFuture, Verdict},
    group::Role,
    mode::ErrorMode,
    site::Site,
    table::Table,
    trace::in_current_span,
};
use http::{HeaderMap, HeaderName, Request, Response};
use http_body::Body;
use std::{fmt, hash::Hash, marker::PhantomData, pin::Pin, sync::Arc};
use tower::ServiceExt;
use tower_service::Service;

/// How often a follower is sent on by `Vary`: an origin that never comes to an end with it must not keep anybody waiting.
const VARY_AT_MOST: usize = 4;

/// `X` is the error that callers get.
pub struct HttpCall<S, B, K: Hash + Eq + Send + Sync + 'static, E, X> {
    service: S,
    request: Request<B>,
    site: Arc<Site<Http<K>>>,
    table: Arc<Table<Partitioned<K>, Result<Answer, X>>>,
    /// The hash of its flight, if it has one: what `Memory` knows it by.
    hash: Option<u64>,
    /// What its partition has beyond the policy's, because of a `Vary` that it met.
    vary: Vec<HeaderName>,
    /// How often `Vary` sent it on.
    detours: usize,
    /// What a write does when it is answered.
    seal: Option<Box<dyn Send>>,
    errors: PhantomData<fn() -> E>,
}

impl<S, B, K, E, X> HttpCall<S, B, K, E, X>
where
    K: Hash + Eq + Send + Sync + 'static,
{
    pub(super) fn new(
        service: S,
        request: Request<B>,
        site: Arc<Site<Http<K>>>,
        table: Arc<Table<Partitioned<K>, Result<Answer, X>>>,
    ) -> Self {
        Self {
            service,
            request,
            site,
            table,
            hash: None,
            vary: Vec::new(),
            detours: 0,
            seal: None,
            errors: PhantomData,
        }
    }

    pub(super) fn with_seal(self, seal: Option<Box<dyn Send>>) -> Self {
        Self { seal, ..self }
    }

    pub(super) fn with_hash(self, hash: Option<u64>) -> Self {
        Self { hash, ..self }
    }

    fn policy(&self) -> &Arc<HttpPolicy> {
        &self.site.settings.mode.policy
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
    /// Joins or leads the flight at `place`.
    pub(super) fn enter(self, place: Place, key: Partitioned<K>) -> ResponseFuture<Self> {
        let (site, table) = (self.site.clone(), self.table.clone());
        site.enter(&table, place, key, self.with_hash(Some(place.hash)))
    }

    async fn send(self) -> Result<Response<SharedBody>, E::Error> {
        let bodies = self.site.settings.mode.bodies.clone();
        let response = self.service.oneshot(self.request).await;
        drop(self.seal);
        response.map(|response| response.map(|body| SharedBody::new(body, bodies))).map_err(E::convert)
    }

    /// Sends the request, and judges who may have the answer.
    async fn ask(self) -> Result<Answer, E::Error> {
        let (site, vary, hash) = (self.site.clone(), self.vary.clone(), self.hash);
        let (method, asked) = (self.request.method().clone(), self.headers_to_compare());
        let response = self.send().await?;
        let answer = Answer::new(&site.settings.mode.policy, &method, asked, vary, response);
        if let Some(hash) = hash {
            site.settings.mode.memory.note(hash, answer.is_shareable());
        }
        Ok(answer)
    }

    fn headers_to_compare(&self) -> HeaderMap {
        if self.policy().heeds_vary() { self.request.headers().clone() } else { HeaderMap::new() }
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

    fn fly(self) -> Work<Self::Landing> {
        Box::pin(in_current_span(self.ask()))
    }

    fn pass(self, waited: bool) -> Pin<Box<dyn Future<Output = Self::Output> + Send>> {
        let how = if waited { Forwarded::Refetched } else { Forwarded::Bypassed };
        Box::pin(async move {
            let policy = self.policy().clone();
            let answer = if self.hash.is_some() { self.ask().await?.into_response() } else { self.send().await? };
            Ok(passed(answer, &policy, how))
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
        self.enter(place, key)
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
