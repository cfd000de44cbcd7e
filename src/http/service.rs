//! How the service calls an HTTP service.

use super::{
    body::{BodyConfig, SharedBody},
    layer::{Http, Partitioned},
    partition::Partition,
    policy::HttpPolicy,
};
use crate::{
    error::BoxError,
    flight::{Place, Work},
    future::{Job, ResponseFuture},
    group::Role,
    mode::ErrorMode,
    scope::Scope,
    service::Singleflight,
    stats::{PassReason, VetoReason},
    sync::Mutex,
    trace::in_current_span,
};
use http::{Method, Request, Response};
use http_body::Body;
use std::{
    fmt,
    hash::{BuildHasher, Hash, Hasher},
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tower::ServiceExt;
use tower_service::Service;

impl<S, B, RB, K, E> Service<Request<B>> for Singleflight<S, Http<K>, E>
where
    S: Service<Request<B>, Response = Response<RB>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    RB: Body + Send + 'static,
    RB::Error: Into<BoxError>,
    K: Hash + Eq + Send + Sync + 'static,
    E: ErrorMode<S::Error>,
{
    type Response = Response<SharedBody>;
    type Error = E::Error;
    type Future = ResponseFuture<HttpCall<S, B, E>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (head, body) = split(request);
        let flight = self.choose(&head, !body.is_end_stream());
        let seals = self.seals(&head);
        let Http { policy, bodies, .. } = &self.settings().mode;
        let call = HttpCall {
            service: self.get_ref().clone(),
            request: join(head, body),
            policy: policy.clone(),
            bodies: bodies.clone(),
            seals,
            errors: PhantomData,
        };
        match flight {
            Ok((place, key)) => self.enter(place, key, call),
            Err(reason) => ResponseFuture::pass(call, reason, self.counters()),
        }
    }
}

impl<S, K: Hash + Eq + Send + Sync + 'static, E> Singleflight<S, Http<K>, E> {
    /// The flight that the request may share, or why it passes.
    fn choose(&self, head: &Request<()>, has_body: bool) -> Result<(Place, Partitioned<K>), PassReason> {
        let settings = self.settings();
        if !settings.wants(head) {
            return Err(PassReason::Filter);
        }
        let partition = settings.mode.policy.admit(head, has_body)?;
        if settings.mode.bodies.budget.is_spent() {
            return Err(PassReason::BodyBudget);
        }
        let key = (settings.extract)(head);
        Ok((self.place(&key, &partition), Partitioned { key, partition }))
    }

    /// All flights of one key are in one shard, so that they can be forgotten together.
    fn place(&self, key: &K, partition: &Partition) -> Place {
        let mut hasher = self.registry().hasher().build_hasher();
        (key, partition).hash(&mut hasher);
        Place { shard: self.registry().place(key).shard, hash: hasher.finish() }
    }

    /// A write seals the flights of its key now, and again when what is returned is dropped: a read that comes after
    /// either must not get an answer from before it (RFC 9111 §4.4).
    fn seals(&self, head: &Request<()>) -> Option<Box<dyn Send>> {
        if !self.settings().mode.policy.is_write(head.method()) {
            return None;
        }
        let key = (self.settings().extract)(head);
        let seals = Seals { hash: self.registry().place(&key).hash, key, scope: self.scope().clone() };
        seals.seal();
        Some(Box::new(seals))
    }
}

struct Seals<K: Eq> {
    scope: Arc<Scope<K>>,
    hash: u64,
    key: K,
}

impl<K: Eq> Seals<K> {
    fn seal(&self) {
        self.scope.forget_key(self.hash, &|known| *known == self.key);
    }
}

impl<K: Eq> Drop for Seals<K> {
    fn drop(&mut self) {
        self.seal();
    }
}

/// A call of an HTTP service.
pub struct HttpCall<S, B, E> {
    service: S,
    request: Request<B>,
    policy: Arc<HttpPolicy>,
    bodies: BodyConfig,
    seals: Option<Box<dyn Send>>,
    errors: PhantomData<fn() -> E>,
}

impl<S, B, RB, E> HttpCall<S, B, E>
where
    S: Service<Request<B>, Response = Response<RB>>,
    RB: Body + Send + 'static,
    RB::Error: Into<BoxError>,
    E: ErrorMode<S::Error>,
{
    async fn send(self) -> Result<Response<SharedBody>, E::Error> {
        let response = self.service.oneshot(self.request).await;
        drop(self.seals);
        let bodies = self.bodies;
        response.map(|response| response.map(|body| SharedBody::new(body, bodies))).map_err(E::convert)
    }

    async fn send_for_all(self) -> Result<Answer, E::Error> {
        let policy = self.policy.clone();
        let method = self.request.method().clone();
        let response = self.send().await?;
        Ok(Answer::new(response, &method, &policy))
    }
}

impl<S, B, RB, E> Job for HttpCall<S, B, E>
where
    S: Service<Request<B>, Response = Response<RB>> + Send + 'static,
    S::Future: Send + 'static,
    B: Send + 'static,
    RB: Body + Send + 'static,
    RB::Error: Into<BoxError>,
    E: ErrorMode<S::Error>,
{
    type Landing = Result<Answer, E::Error>;
    type Output = Result<Response<SharedBody>, E::Error>;

    fn fly(self) -> Work<Self::Landing> {
        Box::pin(in_current_span(self.send_for_all()))
    }

    fn pass(self) -> Pin<Box<dyn Future<Output = Self::Output> + Send>> {
        Box::pin(self.send())
    }

    fn veto(landing: &Self::Landing) -> Option<VetoReason> {
        match landing {
            Ok(Answer(Kind::ForLeader(reason, _))) => Some(*reason),
            Ok(Answer(Kind::ForAll(_))) | Err(_) => None,
        }
    }

    fn unpack(landing: Self::Landing, role: Role) -> Self::Output {
        let mut response = landing?.take();
        response.extensions_mut().insert(role);
        Ok(response)
    }
}

/// What a flight brought.
#[derive(Clone)]
pub struct Answer(Kind);

#[derive(Clone)]
enum Kind {
    ForAll(Response<SharedBody>),
    /// Taken by the leader. No clone of its body is kept for followers, who must not have it.
    ForLeader(VetoReason, Arc<Mutex<Option<Response<SharedBody>>>>),
}

impl Answer {
    fn new(response: Response<SharedBody>, method: &Method, policy: &HttpPolicy) -> Self {
        let (head, body) = response.into_parts();
        let veto = policy.veto(&head, &body.size_hint(), method);
        let veto = veto.or_else(|| (!policy.foreign_vary(&head).is_empty()).then_some(VetoReason::Vary));
        let response = Response::from_parts(head, body);
        Self(match veto {
            None => Kind::ForAll(response),
            Some(reason) => Kind::ForLeader(reason, Arc::new(Mutex::new(Some(response)))),
        })
    }

    fn take(self) -> Response<SharedBody> {
        match self.0 {
            Kind::ForAll(response) => response,
            Kind::ForLeader(_, response) => response.lock().take().expect("only the leader takes it"),
        }
    }
}

fn split<B>(request: Request<B>) -> (Request<()>, B) {
    let (head, body) = request.into_parts();
    (Request::from_parts(head, ()), body)
}

fn join<B>(head: Request<()>, body: B) -> Request<B> {
    let (head, ()) = head.into_parts();
    Request::from_parts(head, body)
}

impl<S, B, E> fmt::Debug for HttpCall<S, B, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpCall").finish_non_exhaustive()
    }
}
