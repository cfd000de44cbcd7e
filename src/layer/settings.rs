//! The settings of a layer.

use crate::{
    core::rules::Rules, layer::mode::ByKey, layer::mode::Mode,
    layer::singleflight_layer::SingleflightLayer, layer::tables::FlightTable, observe::Observer,
    stats::PassReason,
};
use std::{fmt, hash::Hash, sync::Arc, time::Duration};

/// The settings of a layer or a service.
#[derive(Clone)]
pub(crate) struct Settings<M> {
    pub(crate) mode: M,
    pub(crate) rules: Rules,
    pub(crate) patience: Option<Duration>,
    /// HTTP: how long a response may be joined after it landed. For other results, the rules say
    /// it.
    #[allow(dead_code, reason = "only HTTP reads it")]
    pub(crate) hold_for: Option<Duration>,
    one_group: bool,
    name: Option<Arc<str>>,
}

impl<M: Mode> Settings<M> {
    pub(crate) fn new(mode: M) -> Self {
        Self {
            mode,
            rules: Rules::default(),
            patience: None,
            hold_for: None,
            one_group: true,
            name: None,
        }
    }

    /// Returns the settings of a service that the layer makes now.
    pub(crate) fn for_service(&self) -> Self {
        self.observer().set_name(self.name.as_ref());
        let mode = if self.one_group { self.mode.clone() } else { self.mode.in_separate_group() };
        // Nobody elsewhere waits for the flights of a separate group.
        let moves_to_task = self.rules.moves_to_task && self.one_group;
        let rules = Rules { moves_to_task, ..self.rules };
        Self { mode, rules, name: self.name.clone(), ..*self }
    }

    /// Returns why a call passes, if the layer's switch or filter says so.
    #[inline]
    pub(crate) fn reason_to_pass(&self, head: &M::Head) -> Option<PassReason> {
        if !self.is_enabled() {
            return Some(PassReason::Disabled);
        }
        (!self.mode.keys().accepts(head)).then_some(PassReason::Filter)
    }

    #[inline]
    pub(crate) fn is_enabled(&self) -> bool {
        self.mode.keys().layer.is_enabled()
    }

    /// Returns the table of type `T` of this service's group: see
    /// [`GroupTables::get`](crate::layer::tables::GroupTables::get).
    #[inline]
    pub(crate) fn table<T>(&self, new: fn(&Arc<Observer>) -> Arc<T>) -> &Arc<T>
    where
        T: FlightTable<M::Key> + 'static,
    {
        self.mode.keys().group.get(new, self.observer())
    }

    pub(crate) fn observer(&self) -> &Arc<Observer> {
        self.mode.keys().layer.observer()
    }
}

impl<M: Mode, E> SingleflightLayer<M, E> {
    /// Coalesces only requests for which `filter` returns `true`. All others pass: they go straight
    /// to the inner service.
    ///
    /// If this is called several times, a request must be accepted by every filter. A panic in
    /// `filter` reaches the caller of that one request.
    ///
    /// With `new`, the `key` closure is also called for writes that `filter` rejects, because a
    /// write seals the flights of its key.
    #[must_use]
    pub fn filter(self, filter: impl Fn(&M::Head) -> bool + Send + Sync + 'static) -> Self {
        self.set(|settings| settings.mode.keys_mut().add_filter(filter))
    }

    /// Whether a flight goes on after its last waiter has left. By default (`false`) its inner call
    /// is dropped at once.
    ///
    /// With `true` the inner call is finished in a task. This needs a tokio runtime: the one in
    /// which the leader was called, or else the one in which the last waiter is dropped. If there
    /// is no runtime, or the leader's has shut down, the inner call is dropped.
    ///
    /// Over HTTP, this holds for the body of a response as well, unless the response is for its
    /// leader alone. When the last reader of the body is dropped, a task of the current tokio
    /// runtime reads the body to its end. New requests may join meanwhile, under the usual rules of
    /// late joins. The body is dropped if the rest of it turns out to be longer than
    /// `HttpPolicy::body_limit`, or if the body budget is exhausted.
    #[must_use]
    pub fn run_to_completion(self, run_to_completion: bool) -> Self {
        self.set(|settings| settings.rules.run_to_completion = run_to_completion)
    }

    /// Lets a call join a flight only if the flight is younger than `age`, by tokio's clock.
    /// Otherwise the call leads a new flight, and later calls join the new one.
    ///
    /// So an inner call that hangs does not block its key forever. The default is 30 s for HTTP,
    /// and no limit for `by_key`.
    ///
    /// A layer without a limit does not note when its flights open. If you set a limit on a clone
    /// of such a layer, the clone treats the flights that are already in progress as too old.
    ///
    /// # Panics
    ///
    /// Panics if `age` is zero, because no call could join.
    #[must_use]
    #[track_caller]
    pub fn join_within(self, age: Duration) -> Self {
        assert!(
            !age.is_zero(),
            "tower-singleflight: `join_within` of zero would let nobody join a flight"
        );
        self.settings.observer().want_ages();
        self.set(|settings| settings.rules.join_within = Some(age))
    }

    /// How long a follower waits for a flight, counted from when it joined. There is no limit by
    /// default.
    ///
    /// After that the follower leaves the flight. It joins a newer flight for its key, or leads one
    /// with its own request if there is none. So followers whose patience ends together make one
    /// call together, and an upstream that hangs sees one more call per `patience`. The old flight
    /// goes on for its other waiters. A leader has no limit: it waits as long as its inner call
    /// takes.
    ///
    /// With `by_key`, the `key` closure is called again when the patience ends. A panic in it
    /// reaches that caller.
    ///
    /// # Panics
    ///
    /// Panics if `patience` is zero, because no call could follow.
    ///
    /// The future of a follower panics if it is polled outside a tokio runtime, or in a runtime
    /// without a timer.
    #[must_use]
    #[track_caller]
    pub fn wait_at_most(self, patience: Duration) -> Self {
        assert!(
            !patience.is_zero(),
            "tower-singleflight: `wait_at_most` of zero would let no follower wait"
        );
        self.set(|settings| settings.patience = Some(patience))
    }

    /// How often the followers of a flight try again together after an `Err`, before they get the
    /// error too. The default is 0: an error reaches every waiter.
    ///
    /// The leader gets its error at once. All its followers belong to one next flight. The first of
    /// them to be polled leads it, with its own request. So a backend that fails gets `retries + 1`
    /// calls, however many callers wait.
    ///
    /// HTTP refusals are counted separately: see `HttpPolicy::refusals`.
    #[must_use]
    pub fn followers_retry(self, retries: u32) -> Self {
        self.set(|settings| {
            settings.rules.rounds.after_errors = retries.try_into().unwrap_or(u16::MAX)
        })
    }

    /// How many callers one flight takes, including its leader. There is no limit by default.
    ///
    /// When a flight is full, the next call leads a new flight, and later calls join the new one.
    ///
    /// # Panics
    ///
    /// Panics if `waiters` is zero, because a leader waits for its own flight. With 1, a call joins
    /// a flight only if no other caller waits for it.
    #[must_use]
    #[track_caller]
    pub fn max_waiters(self, waiters: usize) -> Self {
        assert!(
            waiters > 0,
            "tower-singleflight: `max_waiters` counts the leader, and cannot be zero"
        );
        self.set(|settings| settings.rules.max_waiters = waiters)
    }

    /// Uses one group for all services that this layer value and its clones make. This is the
    /// default of `new`, because axum applies a router's layers again for each route and each
    /// connection.
    ///
    /// Use it only where equal keys mean equal answers in all those services.
    #[must_use]
    pub fn shared_group(self) -> Self {
        self.set(|settings| settings.one_group = true)
    }

    /// Makes a group for each call of [`Layer::layer`](tower_layer::Layer::layer). The service and
    /// its clones share the group. This is the default of [`by_key`](SingleflightLayer::by_key).
    #[must_use]
    pub fn separate_groups(self) -> Self {
        self.set(|settings| settings.one_group = false)
    }

    /// Sets the name that metrics and traces use ([the guide](crate::guide::watch) has the
    /// details). The layer and its services also show it in their `Debug` output.
    ///
    /// A layer and its clones share one name, as they share one [`Stats`](crate::Stats). The first
    /// of them that makes a service decides the name.
    #[must_use]
    pub fn name(self, name: impl Into<String>) -> Self {
        self.set(|settings| settings.name = Some(name.into().into()))
    }

    pub(crate) fn set(mut self, change: impl FnOnce(&mut Settings<M>)) -> Self {
        change(&mut self.settings);
        self
    }
}

impl<Req: 'static, K: Hash + Eq + Send + Sync + 'static, E> SingleflightLayer<ByKey<Req, K>, E> {
    /// Holds a result for this long after it landed. Meanwhile calls for its key take it, as if
    /// they had joined the flight. By default, and with zero, nothing is held.
    ///
    /// So stragglers cost no call of their own: the calls of a burst that come a moment after the
    /// result. Use milliseconds, or a second or two. This is not a cache: nothing limits how many
    /// results are held, and nothing revalidates them. If you need a cache, put one such as
    /// [moka](https://docs.rs/moka) outside of this layer.
    ///
    /// - An `Err` is never held.
    /// - [`Handle::forget`](crate::Handle::forget), `forget_if`, `forget_all` and `set_enabled`
    ///   drop held results. If a flight is forgotten before it lands, its result is not held.
    /// - A timer drops a held result when its time is over. The timer needs a tokio runtime with a
    ///   time driver. Without a runtime, nothing is held. If the runtime shuts down, its held
    ///   results are dropped.
    /// - Held results are also dropped together with the group that holds them: see
    ///   [Groups](Self#groups).
    /// - A call that takes a held result counts as [`joined`](crate::Stats::joined). `in_flight`
    ///   does not count held results, because they are not in progress.
    /// - [`join_within`](Self::join_within) limits the age of a flight here too. With
    ///   [`max_waiters`](Self::max_waiters) nothing is held.
    ///
    /// If services with different settings share a group, the leader's setting decides how long its
    /// result is held, and only calls of services that hold results take it.
    ///
    /// ```
    /// use std::{convert::Infallible, time::Duration};
    /// use tower::{Layer, ServiceExt, service_fn};
    /// use tower_singleflight::SingleflightLayer;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let layer = SingleflightLayer::by_key(|id: &u32| *id).hold_for(Duration::from_millis(500));
    /// let user = |id: u32| async move { Ok::<_, Infallible>(format!("user {id}")) };
    /// let lookup = layer.layer(service_fn(user));
    ///
    /// let first = lookup.clone().oneshot(7).await;
    /// let straggler = lookup.oneshot(7).await;
    /// assert_eq!(first, straggler);
    /// assert_eq!(layer.handle().stats().led, 1); // one call of the inner service
    /// # }
    /// ```
    #[must_use]
    pub fn hold_for(self, time: Duration) -> Self {
        self.set(|settings| settings.rules.hold_for = Some(time).filter(|time| !time.is_zero()))
    }
}

impl<M> fmt::Debug for Settings<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("name", &self.name)
            .field("rules", &self.rules)
            .field("wait_at_most", &self.patience)
            .field("hold_for", &self.hold_for.or(self.rules.hold_for))
            .field("shared_group", &self.one_group)
            .finish_non_exhaustive()
    }
}
