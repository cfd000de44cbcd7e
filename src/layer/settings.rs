//! The settings of a layer.

use crate::{
    core::flight::Rules, layer::mode::Mode, layer::singleflight_layer::SingleflightLayer, layer::tables::FlightTable,
    observe::Observer, stats::PassReason,
};
use std::{fmt, sync::Arc, time::Duration};

/// The settings of a layer or a service.
#[derive(Clone)]
pub(crate) struct Settings<M> {
    pub(crate) mode: M,
    pub(crate) rules: Rules,
    pub(crate) patience: Option<Duration>,
    one_group: bool,
    name: Option<Arc<str>>,
}

impl<M: Mode> Settings<M> {
    pub(crate) fn new(mode: M) -> Self {
        Self { mode, rules: Rules::default(), patience: None, one_group: true, name: None }
    }

    /// Returns the settings of a service that the layer makes now.
    pub(crate) fn for_service(&self) -> Self {
        self.observer().set_name(self.name.as_ref());
        let mode = if self.one_group { self.mode.clone() } else { self.mode.in_separate_group() };
        Self { mode, name: self.name.clone(), ..*self }
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

    /// Returns the table of type `T` of this service's group: see [`GroupTables::get`](crate::layer::tables::GroupTables::get).
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
    /// Requests for which `filter` says `false` pass: they go straight to the inner service. Of several filters, all
    /// have to say `true`. A panic in it reaches the caller of that one request.
    ///
    /// With HTTP, the `key` closure is called for every write, also for one that `filter` refuses, because a write
    /// seals the flights of its key.
    #[must_use]
    pub fn filter(self, filter: impl Fn(&M::Head) -> bool + Send + Sync + 'static) -> Self {
        self.set(|settings| settings.mode.keys_mut().add_filter(filter))
    }

    /// Whether a flight that everybody left goes on to its end (`true`), or its inner call is dropped at once (`false`,
    /// the default).
    ///
    /// Going on takes a tokio runtime: the one in which the leader was called, or else that of whoever leaves last.
    /// Where there is none, or the leader's was shut down, the inner call is dropped all the same.
    #[must_use]
    pub fn run_to_completion(self, run_to_completion: bool) -> Self {
        self.set(|settings| settings.rules.run_to_completion = run_to_completion)
    }

    /// A newcomer joins only a flight that is younger than this, by tokio's clock; else it leads a new one, which
    /// takes those who come later. So one inner call that hangs does not own its key for ever.
    ///
    /// 30 s for HTTP; no bound for `by_key`. The clock is read only for those who have one: set on a clone of a layer
    /// that has flights in progress already, it takes them for too old.
    ///
    /// # Panics
    ///
    /// When `age` is zero: nobody could join.
    #[must_use]
    #[track_caller]
    pub fn join_within(self, age: Duration) -> Self {
        assert!(!age.is_zero(), "tower-singleflight: `join_within` of zero would let nobody join a flight");
        self.settings.observer().want_ages();
        self.set(|settings| settings.rules.join_within = Some(age))
    }

    /// How long a follower waits for a flight, from when it joined. Then it leaves the flight, and joins one for its key
    /// that is newer; if there is none it leads one, with its own request, and takes those who come later. So followers
    /// whose patience ends together make one call together, and an upstream that hangs sees one call more for each
    /// `patience`. The flight that was left goes on for those who still wait for it. A leader waits as long as its inner
    /// call takes. No bound by default.
    ///
    /// With `by_key`, the `key` closure is called again when patience ends; a panic in it reaches that caller.
    ///
    /// # Panics
    ///
    /// When `patience` is zero: nobody could follow. With a patience, a follower's future panics when it is
    /// polled outside a tokio runtime, or in one without its timer.
    #[must_use]
    #[track_caller]
    pub fn wait_at_most(self, patience: Duration) -> Self {
        assert!(!patience.is_zero(), "tower-singleflight: `wait_at_most` of zero would let no follower wait");
        self.set(|settings| settings.patience = Some(patience))
    }

    /// After an `Err`: how often the followers of a flight go on together before the error is theirs too. The leader has
    /// its error at once; its followers all belong to one next flight, which the first of them to be polled leads with
    /// its own request. So a backend that fails costs `retries + 1` calls, however many wait for it. 0 by default: an
    /// error reaches every waiter. Over HTTP, refusals are counted apart: see `HttpPolicy::refusals`.
    #[must_use]
    pub fn followers_retry(self, retries: u32) -> Self {
        self.set(|settings| settings.rules.rounds.after_errors = retries.try_into().unwrap_or(u16::MAX))
    }

    /// How many callers one flight takes, its leader included. The next to arrive leads a new flight, which takes
    /// those who come later. No limit by default.
    ///
    /// # Panics
    ///
    /// When `waiters` is zero: a leader waits for its own flight. With one, nobody joins a flight that somebody waits
    /// for.
    #[must_use]
    #[track_caller]
    pub fn max_waiters(self, waiters: usize) -> Self {
        assert!(waiters > 0, "tower-singleflight: `max_waiters` counts the leader, and cannot be zero");
        self.set(|settings| settings.rules.max_waiters = waiters)
    }

    /// All services made by this layer value and its clones use one group. The default of `new`, because axum
    /// applies a router's layers anew for each route and each connection.
    ///
    /// Use it only where equal keys mean equal answers in all those services.
    #[must_use]
    pub fn shared_group(self) -> Self {
        self.set(|settings| settings.one_group = true)
    }

    /// Each call of [`Layer::layer`] makes a service with its own group, shared by that service's clones. The
    /// default of [`by_key`](SingleflightLayer::by_key).
    #[must_use]
    pub fn separate_groups(self) -> Self {
        self.set(|settings| settings.one_group = false)
    }

    /// What metrics and traces call it ([as the guide says](crate::guide::watch)); the layer and its services show it in
    /// their `Debug` as well.
    ///
    /// Like [`Stats`](crate::Stats), this is one for a layer and its clones: the first that makes a service decides.
    #[must_use]
    pub fn name(self, name: impl Into<String>) -> Self {
        self.set(|settings| settings.name = Some(name.into().into()))
    }

    pub(crate) fn set(mut self, change: impl FnOnce(&mut Settings<M>)) -> Self {
        change(&mut self.settings);
        self
    }
}

impl<M> fmt::Debug for Settings<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("name", &self.name)
            .field("rules", &self.rules)
            .field("wait_at_most", &self.patience)
            .field("shared_group", &self.one_group)
            .finish_non_exhaustive()
    }
}
