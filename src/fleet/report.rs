//! What happened in a fleet, for its counters, the recorder of metrics and the subscriber of
//! traces.

use crate::fleet::{handle::Fleet, node::Node, stats::FleetReason};
use std::{sync::atomic::Ordering::SeqCst, time::Duration};

/// An event of one flight.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "metrics"), allow(dead_code, reason = "the counters need no times"))]
pub(crate) enum FleetEvent {
    /// The engine replied to an entry after this time.
    Entered(Duration),
    /// It waits for another replica.
    Followed,
    /// It leads. `takes_over`: another leader went away before.
    Led { takes_over: bool },
    /// It took the result of another replica, for which it had waited so long.
    Taken(Duration),
    /// It goes alone.
    Alone(FleetReason),
    /// It lost its lease.
    LeaseLost,
    /// Other replicas got its result, of so many bytes.
    Published(u64),
}

impl Fleet {
    pub(crate) fn tell(&self, event: FleetEvent) {
        let counters = &self.node.counters;
        match event {
            FleetEvent::Entered(_) => {}
            FleetEvent::Followed => counters.followed.add(1),
            FleetEvent::Led { takes_over } => {
                counters.led.add(1);
                counters.taken_over.add(takes_over.into());
            }
            FleetEvent::Taken(_) => counters.taken.add(1),
            FleetEvent::Alone(reason) => counters.alone(reason),
            FleetEvent::LeaseLost => counters.leases_lost.add(1),
            FleetEvent::Published(bytes) => {
                counters.published.add(1);
                counters.published_bytes.add(bytes);
            }
        }
        #[cfg(feature = "metrics")]
        reported::tell(&self.config.layer, event);
    }
}

impl Node {
    /// Reports whether the engine can be reached: the first time, and each time that this changes.
    pub(crate) fn notice(&self) -> bool {
        let is_up = self.is_up();
        #[cfg(feature = "metrics")]
        if !self.is_described.load(SeqCst) && !self.is_described.swap(true, SeqCst) {
            reported::begin(is_up);
        }
        if self.was_up.load(SeqCst) != is_up && self.was_up.swap(is_up, SeqCst) != is_up {
            #[cfg(feature = "metrics")]
            reported::tell_up(is_up);
            #[cfg(feature = "tracing")]
            if !is_up {
                logged::gone(self);
            }
        }
        is_up
    }

    /// The engine replied to an entry in time. A ping does not tell that: an engine that is always
    /// too slow for entries answers it, and would be reported again and again.
    pub(crate) fn notice_reply(&self) {
        // A reply to an earlier entry may come after the breaker has opened.
        #[cfg(feature = "tracing")]
        if self.is_up() {
            logged::back(self);
        }
    }

    /// The engine could be reached for a while, and did not answer in time.
    pub(crate) fn notice_slow(&self) {
        #[cfg(feature = "tracing")]
        logged::slow(self);
    }
}

/// One warning when the engine goes away, and one when it is back.
#[cfg(feature = "tracing")]
mod logged {
    use crate::{fleet::node::Node, panics::contain};
    use std::sync::atomic::Ordering::SeqCst;
    use tracing::warn;

    pub(super) fn gone(node: &Node) {
        if !node.engine.logs_outages() {
            down(node, "cannot be reached");
        }
    }

    pub(super) fn back(node: &Node) {
        if node.is_logged.load(SeqCst) && node.is_logged.swap(false, SeqCst) {
            contain(|| {
                warn!(target: "tower_singleflight", "the engine of the fleet can be reached again");
            });
        }
    }

    /// An engine that tells its outages does not know that it is slow.
    pub(super) fn slow(node: &Node) {
        down(node, "answers too late");
    }

    fn down(node: &Node, what: &str) {
        if !node.is_logged.swap(true, SeqCst) {
            contain(|| {
                warn!(
                    target: "tower_singleflight",
                    "the engine of the fleet {what}: each replica goes alone"
                );
            });
        }
    }
}

/// Metrics. An event comes with a round trip to the engine, so it may allocate its keys.
#[cfg(feature = "metrics")]
mod reported {
    use super::FleetEvent;
    use crate::panics::contain;
    use metrics::{Key, Label, Level, Metadata, Recorder, SharedString, Unit, with_recorder};
    use std::sync::Arc;

    const CALLS: &str = "singleflight_fleet_calls_total";
    const ENTER: &str = "singleflight_fleet_enter_seconds";
    const WAIT: &str = "singleflight_fleet_wait_seconds";
    const PUBLISHED: &str = "singleflight_fleet_published_bytes_total";
    const TAKEOVERS: &str = "singleflight_fleet_takeovers_total";
    const LEASES_LOST: &str = "singleflight_fleet_leases_lost_total";
    const UP: &str = "singleflight_fleet_up";

    static METADATA: Metadata<'static> = Metadata::new("tower_singleflight", Level::INFO, None);

    /// Reports an event of the layer with this name.
    pub(super) fn tell(layer: &Arc<str>, event: FleetEvent) {
        contain(|| with_recorder(|recorder| report(recorder, layer, event)));
    }

    /// Says what the metrics are, and reports the first state.
    pub(super) fn begin(is_up: bool) {
        contain(|| with_recorder(describe));
        tell_up(is_up);
    }

    fn describe(to: &dyn Recorder) {
        let counter = |name: &'static str, unit: Unit, what: &'static str| {
            to.describe_counter(name.into(), Some(unit), what.into());
        };
        counter(
            CALLS,
            Unit::Count,
            "Flights that asked the fleet, by role, and why they went alone.",
        );
        counter(PUBLISHED, Unit::Bytes, "Results that other replicas took.");
        counter(TAKEOVERS, Unit::Count, "Flights whose earlier leader went away.");
        counter(LEASES_LOST, Unit::Count, "Flights whose leader lost its lease.");
        let histogram = |name: &'static str, what: &'static str| {
            to.describe_histogram(name.into(), Some(Unit::Seconds), what.into());
        };
        histogram(ENTER, "How long the engine took to let a flight enter.");
        histogram(WAIT, "How long followers waited for the result of another replica.");
        to.describe_gauge(UP.into(), None, "1 if the engine can be reached, else 0.".into());
    }

    pub(super) fn tell_up(is_up: bool) {
        let key = Key::from_name(UP);
        let set = |recorder: &dyn Recorder| {
            recorder.register_gauge(&key, &METADATA).set(f64::from(u8::from(is_up)))
        };
        contain(|| with_recorder(set));
    }

    fn report(to: &dyn Recorder, layer: &Arc<str>, event: FleetEvent) {
        let key = |metric: &'static str, labels: &[(&'static str, &'static str)]| {
            let name = Label::new("name", SharedString::from_shared(layer.clone()));
            let labels = labels.iter().map(|(label, value)| Label::from_static_parts(label, value));
            Key::from_parts(metric, [name].into_iter().chain(labels).collect::<Vec<_>>())
        };
        let count = |key: Key, more: u64| to.register_counter(&key, &METADATA).increment(more);
        let call = |role: &'static str, reason: &'static str| {
            count(key(CALLS, &[("role", role), ("reason", reason)]), 1);
        };
        match event {
            FleetEvent::Entered(time) => {
                to.register_histogram(&key(ENTER, &[]), &METADATA).record(time.as_secs_f64())
            }
            FleetEvent::Followed => {}
            FleetEvent::Led { takes_over } => {
                call("leader", "");
                if takes_over {
                    count(key(TAKEOVERS, &[]), 1);
                }
            }
            FleetEvent::Taken(time) => {
                call("follower", "");
                to.register_histogram(&key(WAIT, &[]), &METADATA).record(time.as_secs_f64());
            }
            FleetEvent::Alone(reason) => call("alone", reason.as_str()),
            FleetEvent::LeaseLost => count(key(LEASES_LOST, &[]), 1),
            FleetEvent::Published(bytes) => count(key(PUBLISHED, &[]), bytes),
        }
    }
}
