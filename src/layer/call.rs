//! A call of any service, by key.

use crate::{
    core::{
        group::Role,
        reentry::FlightNumber,
        rules::Setback,
        shard::{Hooks, Table},
    },
    layer::job::Job,
    layer::job_future::JobFuture,
    layer::mode::{ByKey, ErrorMode, FanOut, sealed::CallMode},
    layer::settings::Settings,
    observe::{Caller, Observer, Work},
};
use std::{fmt, hash::Hash, marker::PhantomData, pin::Pin, sync::Arc};
use tokio::time::Instant;
use tower::ServiceExt;
use tower_service::Service;

/// A call of `service` with `request`.
pub struct Call<S, Req, K, E> {
    service: S,
    request: Req,
    /// How a follower finds a newer flight. Only a call with a patience needs it.
    settings: Option<Arc<Settings<ByKey<Req, K>>>>,
    errors: PhantomData<fn() -> E>,
}

impl<S, Req, K, E> Call<S, Req, K, E>
where
    S: Service<Req> + Send + 'static,
    S::Response: FanOut + Send + Sync + 'static,
    S::Future: Send + 'static,
    Req: Send + 'static,
    K: Hash + Eq + Send + Sync + 'static,
    E: ErrorMode<S::Error>,
{
    /// Joins or leads a flight, or passes.
    #[inline]
    pub(crate) fn begin(
        settings: &Arc<Settings<ByKey<Req, K>>>,
        service: &S,
        request: Req,
    ) -> JobFuture<Self>
    where
        S: Clone,
    {
        let reason = settings.reason_to_pass(&request);
        let patient = settings.patience.filter(|_| reason.is_none()).map(|_| settings.clone());
        let call =
            Self { service: service.clone(), request, settings: patient, errors: PhantomData };
        match reason {
            Some(reason) => JobFuture::pass(call, reason, settings.observer()),
            None => call.enter(settings, None),
        }
    }

    /// Joins or leads a flight that is not `left`.
    #[inline(always)]
    fn enter(
        self,
        settings: &Settings<ByKey<Req, K>>,
        left: Option<FlightNumber>,
    ) -> JobFuture<Self> {
        let ByKey { extract, keys } = &settings.mode;
        let key = extract(&self.request);
        let address = keys.layer.address(&key);
        JobFuture::enter(settings, settings.table(new_table), address, key, self, left)
    }
}

fn new_table<K, R, E>(observer: &Arc<Observer>) -> Arc<Table<K, Result<R, E>>>
where
    K: Eq + Send + Sync + 'static,
    Result<R, E>: Send + Sync + 'static,
{
    let setback = |result: &Result<R, E>| result.is_err().then_some(Setback::Error);
    Table::with_hooks(observer.clone(), Hooks { setback, ..Hooks::NONE })
}

impl<S, Req, K, E> Job for Call<S, Req, K, E>
where
    S: Service<Req> + Send + 'static,
    S::Response: FanOut + Send + Sync + 'static,
    S::Future: Send + 'static,
    Req: Send + 'static,
    K: Hash + Eq + Send + Sync + 'static,
    E: ErrorMode<S::Error>,
{
    type Landing = Result<S::Response, E::Error>;
    type Output = Result<S::Response, E::Error>;

    #[inline]
    fn start(self, _: Option<Instant>, caller: Caller) -> Work<Self::Landing> {
        let work = async move { self.service.oneshot(self.request).await.map_err(E::convert) };
        Work::new(Box::pin(work), caller)
    }

    fn pass(self, _: bool) -> Pin<Box<dyn Future<Output = Self::Output> + Send>> {
        Box::pin(async move { self.service.oneshot(self.request).await.map_err(E::convert) })
    }

    fn is_disabled(&self) -> bool {
        self.settings.as_ref().is_some_and(|settings| !settings.is_enabled())
    }

    fn newer(self, left: FlightNumber) -> JobFuture<Self> {
        let settings = self.settings.clone().expect("it has a patience");
        self.enter(&settings, Some(left))
    }

    fn unpack(landing: Self::Landing, _: Role, _: Option<&Self>) -> Self::Output {
        landing
    }
}

impl<S, Req, K, E> fmt::Debug for Call<S, Req, K, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").finish_non_exhaustive()
    }
}

impl<S, Req, K, E> CallMode<S, Req, E> for ByKey<Req, K>
where
    S: Service<Req> + Send + 'static,
    S::Response: FanOut + Send + Sync + 'static,
    S::Future: Send + 'static,
    Req: Send + 'static,
    K: Hash + Eq + Send + Sync + 'static,
    E: ErrorMode<S::Error>,
{
    type Call = Call<S, Req, K, E>;
}
