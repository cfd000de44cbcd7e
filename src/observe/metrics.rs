//! Reports to the recorder of the `metrics` facade.
//!
//! Each event looks up the recorder again, and no handle is kept. So a recorder that is installed
//! late, that is set for one thread only, or that forgets idle metrics gets every later event.
//! Without a recorder, an event costs a few function calls, and the clock is not read.

use super::{CallEnd, Event, FlightEnd, GroupName};
use crate::{
    panics::contain,
    stats::{NearMiss, PassReason, VetoReason},
};
use metrics::{IntoF64, Key, Label, Level, Metadata, Recorder, SharedString, Unit, with_recorder};
use std::{
    array, fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};
use tokio::time::Instant;

const CALLS: &str = "singleflight_calls_total";
const PASSES: &str = "singleflight_passes_total";
const VETOES: &str = "singleflight_vetoes_total";
const REFUSALS: &str = "singleflight_refusals_total";
const TIMEOUTS: &str = "singleflight_timeouts_total";
const NEAR_MISSES: &str = "singleflight_near_misses_total";
const FLIGHTS: &str = "singleflight_flights_total";
const IN_PROGRESS: &str = "singleflight_flights_in_progress";
const WAITERS: &str = "singleflight_waiters";
const FLIGHT_DURATION: &str = "singleflight_flight_duration_seconds";
const FLIGHT_WAITERS: &str = "singleflight_flight_waiters";

static METADATA: Metadata<'static> = Metadata::new("tower_singleflight", Level::INFO, None);

#[derive(Default)]
pub(super) struct Metrics {
    keys: OnceLock<Box<MetricKeys>>,
    described: AtomicBool,
}

impl Metrics {
    /// Returns the keys. The first call makes them, with the current name.
    pub(super) fn keys(&self, name: &GroupName) -> &MetricKeys {
        self.keys.get_or_init(|| Box::new(MetricKeys::new(name.get())))
    }

    pub(super) fn tell(&self, name: &GroupName, event: &Event) {
        let keys = self.keys(name);
        let tell = |recorder: &dyn Recorder| {
            if !self.described.load(Relaxed) && !self.described.swap(true, Relaxed) {
                describe(recorder);
            }
            keys.tell(recorder, event);
        };
        contain(|| with_recorder(tell));
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

fn describe(to: &dyn Recorder) {
    let counter = |name: &'static str, what: &'static str| {
        to.describe_counter(name.into(), Some(Unit::Count), what.into());
    };
    counter(CALLS, "Calls that are over, by their role in a flight and how they ended.");
    counter(PASSES, "Calls that went straight to the inner service, by reason.");
    counter(VETOES, "Followers whose leader's response was not for them, by reason.");
    counter(
        REFUSALS,
        "Results that stayed with their leader, while the followers went on together.",
    );
    counter(TIMEOUTS, "Followers whose patience ended, and who went on in a newer flight.");
    counter(
        NEAR_MISSES,
        "Calls that led although a flight for their key was in progress, by reason.",
    );
    counter(FLIGHTS, "Flights that are over, by how they ended.");
    let gauge = |name: &'static str, what: &'static str| {
        to.describe_gauge(name.into(), Some(Unit::Count), what.into());
    };
    gauge(IN_PROGRESS, "Flights in progress.");
    gauge(WAITERS, "Calls that wait for a flight in progress, leaders too.");
    let histogram = |name: &'static str, unit: Unit, what: &'static str| {
        to.describe_histogram(name.into(), Some(unit), what.into());
    };
    histogram(FLIGHT_DURATION, Unit::Seconds, "How long flights took, by how they ended.");
    histogram(FLIGHT_WAITERS, Unit::Count, "How many calls a flight landed for, its leader too.");
}

/// The keys of all possible series. They are made once, so that an event allocates nothing.
pub(super) struct MetricKeys {
    calls: [[Key; CallEnd::ALL.len()]; Part::ALL.len()],
    passes: [Key; PassReason::ALL.len()],
    vetoes: [Key; VetoReason::ALL.len()],
    refusals: Key,
    timeouts: Key,
    near_misses: [Key; NearMiss::ALL.len()],
    flights: [Key; FlightEnd::ALL.len()],
    in_progress: Key,
    waiters: Key,
    flight_duration: [Key; FlightEnd::ALL.len()],
    flight_waiters: Key,
}

/// The role of a call in its flight.
#[derive(Clone, Copy)]
enum Part {
    Leader,
    Follower,
    None,
}

impl MetricKeys {
    fn new(name: Option<&Arc<str>>) -> Self {
        let name = name.map(|name| Label::new("name", SharedString::from_shared(name.clone())));
        let key = |metric: &'static str, labels: &[(&'static str, &'static str)]| {
            let labels = labels.iter().map(|(label, value)| Label::from_static_parts(label, value));
            Key::from_parts(metric, name.iter().cloned().chain(labels).collect::<Vec<_>>())
        };
        let call = |part: Part, end: CallEnd| {
            key(CALLS, &[("role", part.as_str()), ("outcome", end.as_str())])
        };
        Self {
            calls: Part::ALL.map(|part| CallEnd::ALL.map(|end| call(part, end))),
            passes: array::from_fn(|reason| {
                key(PASSES, &[("reason", PassReason::ALL[reason].as_str())])
            }),
            vetoes: array::from_fn(|reason| {
                key(VETOES, &[("reason", VetoReason::ALL[reason].as_str())])
            }),
            refusals: key(REFUSALS, &[]),
            timeouts: key(TIMEOUTS, &[]),
            near_misses: array::from_fn(|reason| {
                key(NEAR_MISSES, &[("reason", NearMiss::ALL[reason].as_str())])
            }),
            flights: FlightEnd::ALL.map(|outcome| key(FLIGHTS, &[("outcome", outcome.as_str())])),
            in_progress: key(IN_PROGRESS, &[]),
            waiters: key(WAITERS, &[]),
            flight_duration: FlightEnd::ALL
                .map(|outcome| key(FLIGHT_DURATION, &[("outcome", outcome.as_str())])),
            flight_waiters: key(FLIGHT_WAITERS, &[]),
        }
    }

    fn tell(&self, to: &dyn Recorder, event: &Event) {
        let counter = |key: &Key| to.register_counter(key, &METADATA).increment(1);
        let gauge = |key: &Key| to.register_gauge(key, &METADATA);
        let call = |part: Part, end: CallEnd| counter(&self.calls[part as usize][end as usize]);
        match *event {
            Event::Led => {
                gauge(&self.in_progress).increment(1.0);
                gauge(&self.waiters).increment(1.0);
            }
            Event::Joined => gauge(&self.waiters).increment(1.0),
            Event::JoinedLate => call(Part::Follower, CallEnd::Landed),
            Event::Left => gauge(&self.waiters).decrement(1.0),
            Event::Closed => gauge(&self.in_progress).decrement(1.0),
            Event::FlightOver(ref ending) => {
                if ending.released > 0 {
                    gauge(&self.waiters).decrement(ending.released as f64);
                }
                if ending.went_on {
                    counter(&self.refusals);
                }
                if let Some(outcome) = ending.outcome {
                    counter(&self.flights[outcome as usize]);
                    let duration =
                        to.register_histogram(&self.flight_duration[outcome as usize], &METADATA);
                    ending.opened.into_iter().for_each(|opened| duration.record(Since(opened)));
                }
                if ending.outcome == Some(FlightEnd::Landed) {
                    to.register_histogram(&self.flight_waiters, &METADATA)
                        .record(ending.released as f64);
                }
            }
            Event::TimedOut => counter(&self.timeouts),
            Event::NearMiss { why, .. } => counter(&self.near_misses[why as usize]),
            Event::CallOver { leads, how } => {
                call(if leads { Part::Leader } else { Part::Follower }, how)
            }
            Event::Passed { reason, waited } => {
                counter(&self.passes[reason as usize]);
                call(if waited { Part::Follower } else { Part::None }, CallEnd::Passed);
            }
            Event::Vetoed { reason, passes } => {
                counter(&self.vetoes[reason as usize]);
                if passes {
                    call(Part::Follower, CallEnd::Passed);
                }
            }
        }
    }
}

impl Part {
    const ALL: [Self; 3] = [Self::Leader, Self::Follower, Self::None];

    fn as_str(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Follower => "follower",
            Self::None => "none",
        }
    }
}

impl CallEnd {
    const ALL: [Self; 4] = [Self::Landed, Self::Passed, Self::Left, Self::Panicked];

    fn as_str(self) -> &'static str {
        match self {
            Self::Landed => "landed",
            Self::Passed => "passed",
            Self::Left => "left",
            Self::Panicked => "panicked",
        }
    }
}

/// The seconds since a time. The clock is read only if the recorder asks for the value.
struct Since(Instant);

impl IntoF64 for Since {
    fn into_f64(self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }
}
