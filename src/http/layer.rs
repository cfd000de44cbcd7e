//! The layer for HTTP: its constructor and its policy.

use crate::http::{
    policy::HttpPolicy,
    settings::{HttpMode, HttpSettings},
};
use crate::layer::{
    keys::{Extract, Keys},
    mode::{Mode, sealed},
    settings::Settings,
    singleflight_layer::SingleflightLayer,
};
use http::Request;
use std::{fmt, hash::Hash, sync::Arc, time::Duration};

/// HTTP requests and responses: the mode of [`SingleflightLayer::new`].
pub struct Http<K> {
    extract: Extract<Request<()>, K>,
    settings: HttpSettings<K>,
}

impl<K> Http<K> {
    /// Calls the user's key closure.
    pub(super) fn key(&self, head: &Request<()>) -> K {
        (self.extract)(head)
    }
}

impl<K: Hash + Eq + Send + Sync + 'static> HttpMode for Http<K> {
    fn http(&self) -> &HttpSettings<K> {
        &self.settings
    }
}

impl<K: Hash + Eq + Send + Sync + 'static> Mode for Http<K> {
    type Head = Request<()>;
    type Key = K;
}

impl<K: Hash + Eq + Send + Sync + 'static> sealed::Mode<Request<()>, K> for Http<K> {
    fn keys(&self) -> &Keys<Request<()>, K> {
        &self.settings.keys
    }

    fn keys_mut(&mut self) -> &mut Keys<Request<()>, K> {
        &mut self.settings.keys
    }

    fn in_separate_group(&self) -> Self {
        Self { extract: self.extract.clone(), settings: self.settings.in_separate_group() }
    }

    fn part_name(&self, part: usize) -> Option<&str> {
        Some(self.settings.policy.name_of(part))
    }
}

impl<K> Clone for Http<K> {
    fn clone(&self) -> Self {
        Self { extract: self.extract.clone(), settings: self.settings.clone() }
    }
}

impl<K> fmt::Debug for Http<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("policy", &self.settings.policy).finish_non_exhaustive()
    }
}

/// The default of `join_within`. An upstream that hangs must not own its key for ever.
const JOIN_WITHIN: Duration = Duration::from_secs(30);

impl<M: HttpMode> SingleflightLayer<M> {
    /// Makes a layer with the defaults for HTTP.
    pub(super) fn of_mode(mode: M) -> Self {
        let rounds = mode.http().policy.rounds();
        let layer = Self::with_settings(Settings::new(mode)).join_within(JOIN_WITHIN);
        layer.set(|settings| settings.rules.rounds.after_refusals = rounds)
    }
}

impl<M: HttpMode, E> SingleflightLayer<M, E> {
    /// Holds a response for this long after it landed. Meanwhile requests join it, as they join a
    /// response whose body still streams. By default, and with zero, nothing is held.
    ///
    /// So stragglers cost no call of their own: the requests of a burst that come a moment after
    /// the response. Use milliseconds, or a second or two. This is not a cache: if you need one,
    /// put it outside of this layer.
    ///
    /// The rules of [late joins](HttpPolicy#after-the-head) apply. Without `hold_for`, late joins
    /// end with the body. With it, they go on until `time` after the head arrived, if the body has
    /// ended by then:
    ///
    /// - A response is held only while it says that it is fresh, by `max-age` or `s-maxage` less
    ///   its `Age`, or with [`LateJoin::Always`](crate::LateJoin::Always). With
    ///   [`LateJoin::Never`](crate::LateJoin::Never) or [`max_waiters`](Self::max_waiters) nothing
    ///   is held.
    /// - An `Err`, a 5xx, a refusal, a response that is for its leader alone, and a body that
    ///   failed or had no reader at its end are never held.
    /// - A body is held up to [`keep_start`](HttpPolicy::keep_start). It counts into
    ///   [`body_budget`](HttpPolicy::body_budget), and is dropped when others need that.
    /// - A write and [`Handle::forget`](crate::Handle::forget) drop it. So do `forget_if`,
    ///   `forget_all` and `set_enabled`.
    /// - A timer drops it when its time is over. The timer needs a tokio runtime with a time
    ///   driver. Without a runtime, nothing is held.
    /// - A request that takes it counts as [`joined`](crate::Stats::joined). `in_flight` does not
    ///   count held responses.
    ///
    /// ```
    /// use axum::{Router, http::header, routing::get};
    /// use std::time::Duration;
    /// use tower_singleflight::SingleflightLayer;
    ///
    /// let layer = SingleflightLayer::new(|req| req.uri().path().to_owned())
    ///     .hold_for(Duration::from_millis(500));
    /// let report = || async { ([(header::CACHE_CONTROL, "max-age=1")], "expensive") };
    /// let app: Router = Router::new().route("/report", get(report)).layer(layer);
    /// ```
    #[must_use]
    pub fn hold_for(self, time: Duration) -> Self {
        self.set(|settings| settings.hold_for = Some(time).filter(|time| !time.is_zero()))
    }
}

impl<K: Hash + Eq + Send + Sync + 'static> SingleflightLayer<Http<K>> {
    /// Coalesces identical concurrent HTTP requests. `key` sees the head of a request (method, URI,
    /// version, headers, extensions) and returns the name of the requested resource. The closure
    /// needs no annotation.
    ///
    /// Two requests share a flight only if their keys are equal and [`HttpPolicy`] says that one
    /// response may answer both (RFC 9111 §4): by default `GET` and `HEAD`, with the same host,
    /// path, query, credentials and negotiation headers. Followers do not get a response that is
    /// for the leader alone, such as one with `Set-Cookie` or `private`.
    ///
    /// The response's body becomes a [`SharedBody`](crate::SharedBody), which streams to every
    /// waiter. A flight lands when the head of its response arrives. All services made by this
    /// layer and its clones use one group. Requests join a flight for 30 s at most.
    ///
    /// ```
    /// use axum::{Router, routing::get};
    /// use tower_singleflight::SingleflightLayer;
    ///
    /// let layer = SingleflightLayer::new(|req| req.uri().path().to_owned());
    /// let handle = layer.handle();
    /// let report = get(|| async { "expensive" });
    /// let app: Router = Router::new().route("/report", report).layer(layer);
    ///
    /// handle.forget("/report"); // with any query
    /// ```
    ///
    /// The path is a good key. The layer compares query and host as well, while `forget` and writes
    /// reach all queries of a path. And HTTP/1.1 and HTTP/2 requests have the same path, but not
    /// the same URI.
    ///
    /// # Nested routers, and several apps
    ///
    /// Inside a nested router, axum strips the prefix off the URI: under `/users/{id}`, the pages
    /// of two users have one URI, and one user would get the other's page. The feature `axum`
    /// prevents that: it compares the original path too. It supports axum 0.8. Without it, or with
    /// axum 0.7, put the layer outside of nested routers.
    ///
    /// The layer does not compare inner services. Make a layer value for each app.
    ///
    /// # Sessions and task-locals
    ///
    /// Put layers that set them inside of this one: [the order of a
    /// stack](crate::guide::order#sessions) says why.
    ///
    /// # Panics
    ///
    /// A panic in `key` reaches the caller of that request alone.
    pub fn new(key: impl Fn(&Request<()>) -> K + Send + Sync + 'static) -> Self {
        let settings = HttpSettings::new(Keys::new(), HttpPolicy::default());
        Self::of_mode(Http { extract: Arc::new(key), settings })
    }
}

impl<K: Hash + Eq + Send + Sync + 'static, E> SingleflightLayer<Http<K>, E> {
    /// Sets what may be shared over HTTP, and how.
    ///
    /// A layer and a clone of it with another policy share no flights, because a response that one
    /// policy shares may be private under the other. A write through either seals the flights of
    /// both.
    #[must_use]
    pub fn policy(self, policy: HttpPolicy) -> Self {
        self.set(|settings| {
            settings.rules.rounds.after_refusals = policy.rounds();
            let http = &mut settings.mode.settings;
            #[cfg(feature = "fleet")]
            let fleet = http.fleet.as_ref().map(|fleet| fleet.with_policy(&policy));
            *http = HttpSettings::new(http.keys.clone(), policy);
            #[cfg(feature = "fleet")]
            http.set_fleet(fleet);
        })
    }

    /// Shares the flights of this layer with the other replicas of the fleet: one upstream call for
    /// all of them.
    ///
    /// Replicas meet if their layers have the same `name`, the same policy and the same type of
    /// key. All services that this layer and its clones make use one group, as with
    /// [`shared_group`](Self::shared_group).
    ///
    /// Use it where the upstream takes 20 ms or more. Each flight asks the engine once before its
    /// request is sent, and tells it once when the head of the response is known. The response
    /// leaves the process only if another replica waits for it. Whatever goes wrong with the
    /// engine, the flight goes on as without a fleet.
    ///
    /// [`Fleet`](crate::Fleet) has an example.
    #[cfg(feature = "fleet")]
    #[must_use]
    pub fn fleet(self, fleet: &crate::Fleet, name: &str) -> Self
    where
        K: crate::FleetKey,
    {
        self.shared_group().set(|settings| {
            let http = &mut settings.mode.settings;
            let group = http.keys.layer.common_group();
            let fleet = crate::http::fleet::LayerFleet::new(fleet, name, group, &http.policy);
            http.set_fleet(Some(fleet));
            settings.rules.moves_to_task = true;
        })
    }
}
