//! A recorder and a subscriber that remember what they were told.

pub(crate) use crate::shared::{follow, panics, settle, without_deadlock};

use metrics::LocalRecorderGuard;
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use std::{
    collections::BTreeMap,
    fmt::{self, Write},
    sync::{Arc, Mutex, OnceLock},
};
use tokio::{runtime::Runtime, sync::oneshot};
use tokio_test::task::{Spawn, spawn};
use tower_singleflight::{Group, Run};
use tracing::{
    Dispatch, Event, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
    subscriber::DefaultGuard,
};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
};

/// What the recorder of this thread was told, by series.
pub(crate) struct Recorded {
    snapshotter: Snapshotter,
    series: BTreeMap<String, Series>,
    _here: LocalRecorderGuard<'static>,
}

/// Counters and gauges have a number, histograms all of theirs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Series {
    Number(f64),
    Numbers(Vec<f64>),
}

/// Until the guard is dropped, `subscriber` is told what happens on this thread.
///
/// Two more are alive for good. While there is one subscriber alone, `tracing` asks that of the
/// thread which happens to get to a place first whether anybody wants to hear of it, and a thread
/// of another test has none.
pub(crate) fn listen(subscriber: impl Subscriber + Send + Sync) -> DefaultGuard {
    static OTHERS: OnceLock<[Dispatch; 2]> = OnceLock::new();
    OTHERS.get_or_init(|| [(); 2].map(|()| Dispatch::new(tracing_subscriber::registry())));
    tracing::subscriber::set_default(subscriber)
}

/// From now on, this thread records.
pub(crate) fn record() -> Recorded {
    let recorder: &'static DebuggingRecorder = Box::leak(Box::default());
    let here = metrics::set_default_local_recorder(recorder);
    Recorded { snapshotter: recorder.snapshotter(), series: BTreeMap::new(), _here: here }
}

impl Recorded {
    /// All series of a metric, by their labels: `role=leader outcome=landed`.
    pub(crate) fn all(&mut self, metric: &str) -> Vec<(String, Series)> {
        self.read();
        let of_it = |(series, value): (&String, &Series)| {
            let labels = series.strip_prefix(metric)?.strip_prefix('{')?.strip_suffix('}')?;
            Some((labels.to_owned(), value.clone()))
        };
        self.series.iter().filter_map(of_it).collect()
    }

    /// All series, as `metric{role=leader outcome=landed}`.
    pub(crate) fn names(&mut self) -> Vec<String> {
        self.read();
        self.series.keys().cloned().collect()
    }

    /// The numbers of a counter or gauge, but for those that are zero.
    pub(crate) fn numbers(&mut self, metric: &str) -> Vec<(String, u64)> {
        let number = |(labels, series)| match series {
            Series::Number(number) => {
                assert!(number >= 0.0 && number.fract() == 0.0, "{metric} of {labels} is {number}");
                (labels, number as u64)
            }
            Series::Numbers(_) => panic!("{metric} is a histogram"),
        };
        self.all(metric).into_iter().map(number).filter(|(_, number)| *number > 0).collect()
    }

    /// The only number of a gauge without labels.
    pub(crate) fn gauge(&mut self, metric: &str) -> u64 {
        match &*self.numbers(metric) {
            [] => 0,
            [(labels, number)] if labels.is_empty() => *number,
            several => panic!("{several:?}"),
        }
    }

    /// What a histogram was told.
    pub(crate) fn histogram(&mut self, metric: &str) -> Vec<(String, Vec<f64>)> {
        let values = |(labels, series)| match series {
            Series::Numbers(values) => (labels, values),
            Series::Number(_) => panic!("{metric} is no histogram"),
        };
        self.all(metric).into_iter().map(values).collect()
    }

    pub(crate) fn calls(&mut self) -> Vec<(String, u64)> {
        self.numbers("singleflight_calls_total")
    }

    pub(crate) fn flights(&mut self) -> Vec<(String, u64)> {
        self.numbers("singleflight_flights_total")
    }

    pub(crate) fn passes(&mut self) -> Vec<(String, u64)> {
        self.numbers("singleflight_passes_total")
    }

    pub(crate) fn vetoes(&mut self) -> Vec<(String, u64)> {
        self.numbers("singleflight_vetoes_total")
    }

    /// Flights in progress, and their waiters.
    pub(crate) fn in_progress(&mut self) -> (u64, u64) {
        (self.gauge("singleflight_flights_in_progress"), self.gauge("singleflight_waiters"))
    }

    /// A snapshot empties the recorder.
    fn read(&mut self) {
        for (key, _, _, value) in self.snapshotter.snapshot().into_vec() {
            let labels =
                key.key().labels().map(|label| format!("{}={}", label.key(), label.value()));
            let series =
                format!("{}{{{}}}", key.key().name(), labels.collect::<Vec<_>>().join(" "));
            let entry = self.series.entry(series);
            match value {
                DebugValue::Counter(more) => entry.or_insert(Series::Number(0.0)).add(more as f64),
                DebugValue::Gauge(more) => entry.or_insert(Series::Number(0.0)).add(*more),
                DebugValue::Histogram(more) => match entry.or_insert(Series::Numbers(Vec::new())) {
                    Series::Numbers(values) => values.extend(more.iter().map(|value| **value)),
                    Series::Number(_) => panic!("it was no histogram before"),
                },
            }
        }
    }
}

impl Series {
    fn add(&mut self, more: f64) {
        match self {
            Self::Number(number) => *number += more,
            Self::Numbers(_) => panic!("it was a histogram before"),
        }
    }
}

/// `[("role=leader", 1)]`, as it is compared with what was recorded.
pub(crate) fn are<const N: usize>(numbers: [(&str, u64); N]) -> Vec<(String, u64)> {
    numbers.map(|(labels, number)| (labels.to_owned(), number)).into()
}

/// The label sets of calls, as `role/outcome`.
pub(crate) fn calls<const N: usize>(numbers: [(&str, u64); N]) -> Vec<(String, u64)> {
    let labels = |part: &str| {
        let (role, outcome) = part.split_once('/').unwrap();
        format!("role={role} outcome={outcome}")
    };
    let mut calls: Vec<_> = numbers.iter().map(|(part, number)| (labels(part), *number)).collect();
    calls.sort();
    calls
}

/// What the subscriber of this thread was told.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<Told>>>);

/// Spans are told apart by their number.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Told {
    Opened { id: u64, name: &'static str, parent: Option<u64>, fields: String },
    Recorded { id: u64, fields: String },
    Follows { id: u64, flight: u64 },
    Closed { id: u64 },
    Event { inside: Option<u64>, level: tracing::Level, target: String, fields: String },
}

/// From now on, this thread traces.
pub(crate) fn trace() -> (Log, DefaultGuard) {
    let log = Log::default();
    let subscriber = tracing_subscriber::registry().with(log.clone());
    (log, listen(subscriber))
}

impl Log {
    pub(crate) fn all(&self) -> Vec<Told> {
        self.0.lock().unwrap().clone()
    }

    /// The spans of flights that were opened so far, in order.
    pub(crate) fn flights(&self) -> Vec<u64> {
        self.opened("flight")
    }

    pub(crate) fn opened(&self, wanted: &str) -> Vec<u64> {
        let opened = self.all().into_iter();
        let of_it = |told| match told {
            Told::Opened { id, name, .. } if name == wanted => Some(id),
            _ => None,
        };
        opened.filter_map(of_it).collect()
    }

    pub(crate) fn parent_of(&self, span: u64) -> Option<u64> {
        let parent = |told: &Told| match told {
            Told::Opened { id, parent, .. } if *id == span => Some(*parent),
            _ => None,
        };
        self.all().iter().find_map(parent).expect("it was opened")
    }

    /// All that was recorded about a span: when it was opened, and after.
    pub(crate) fn fields_of(&self, span: u64) -> String {
        let mut all = String::new();
        for told in self.all() {
            match told {
                Told::Opened { id, fields, .. } | Told::Recorded { id, fields } if id == span => {
                    all += &fields
                }
                _ => {}
            }
        }
        all
    }

    /// Who follows from a span.
    pub(crate) fn followers_of(&self, span: u64) -> Vec<u64> {
        let follower = |told: &Told| match told {
            Told::Follows { id, flight } if *flight == span => Some(*id),
            _ => None,
        };
        self.all().iter().filter_map(follower).collect()
    }

    pub(crate) fn is_closed(&self, span: u64) -> bool {
        self.all().contains(&Told::Closed { id: span })
    }

    pub(crate) fn events(&self) -> Vec<Told> {
        self.all().into_iter().filter(|told| matches!(told, Told::Event { .. })).collect()
    }

    fn push(&self, told: Told) {
        self.0.lock().unwrap().push(told);
    }
}

/// The registry uses the number of a closed span again, which these tests must not take for the old
/// one.
#[derive(Clone, Copy)]
struct Number(u64);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Log {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let span = context.span(id).unwrap();
        let number = self.0.lock().unwrap().len() as u64;
        span.extensions_mut().insert(Number(number));
        let parent = span.parent().map(|parent| number_of(&parent));
        self.push(Told::Opened {
            id: number,
            name: span.name(),
            parent,
            fields: text(|to| attributes.record(to)),
        });
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let id = number_of(&context.span(id).unwrap());
        self.push(Told::Recorded { id, fields: text(|to| values.record(to)) });
    }

    fn on_follows_from(&self, id: &Id, follows: &Id, context: Context<'_, S>) {
        let number = |id| number_of(&context.span(id).expect("both spans are open"));
        self.push(Told::Follows { id: number(id), flight: number(follows) });
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let id = number_of(&context.span(&id).unwrap());
        self.push(Told::Closed { id });
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let inside = context.event_span(event).map(|span| number_of(&span));
        let (level, target) = (*event.metadata().level(), event.metadata().target().to_owned());
        self.push(Told::Event { inside, level, target, fields: text(|to| event.record(to)) });
    }
}

fn number_of<S: for<'a> LookupSpan<'a>>(
    span: &tracing_subscriber::registry::SpanRef<'_, S>,
) -> u64 {
    span.extensions().get::<Number>().unwrap().0
}

/// All fields as ` name=value`.
fn text(record: impl FnOnce(&mut dyn Visit)) -> String {
    struct Text(String);
    impl Visit for Text {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            write!(self.0, " {field}={value:?}").unwrap();
        }
    }
    let mut text = Text(String::new());
    record(&mut text);
    text.0
}

/// A call of a group, and the sender that ends its work.
pub(crate) fn lead<T: Clone + Send + Sync + 'static>(
    group: &Group<u32, T>,
    key: u32,
) -> (oneshot::Sender<T>, Spawn<Run<T>>) {
    let (end, ended) = oneshot::channel();
    let work = || tokio::task::unconstrained(async { ended.await.expect("the work ends") });
    (end, spawn(group.run(key, work)))
}

/// A runtime to be shut down under a flight.
pub(crate) fn doomed() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}
