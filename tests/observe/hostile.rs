//! Recorders and subscribers that panic, or call the layer while they are told.

use crate::support::*;
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use std::{
    cell::Cell,
    future::pending,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};
use tokio_test::{
    assert_pending, assert_ready,
    task::{Spawn, spawn},
};
use tower_singleflight::{Group, Run};
use tracing::{Event, Instrument, Subscriber, info_span, span};
use tracing_core::span::Current;
use tracing_subscriber::{
    Layer, Registry,
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
};

/// Does something whenever it is told anything, or but for new spans.
struct OnTell<F>(F, SpansToo);

#[derive(Clone, Copy, PartialEq)]
enum SpansToo {
    Yes,
    No,
}

impl<F: Fn()> Recorder for OnTell<F> {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {
        (self.0)();
    }

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {
        (self.0)();
    }

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {
        (self.0)();
    }

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        (self.0)();
        Counter::noop()
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        (self.0)();
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        (self.0)();
        Histogram::noop()
    }
}

impl<S, F> Layer<S> for OnTell<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    F: Fn() + 'static,
{
    fn on_new_span(&self, attributes: &span::Attributes<'_>, _: &span::Id, _: Context<'_, S>) {
        if self.1 == SpansToo::Yes {
            self.told(attributes.metadata());
        }
    }

    fn on_record(&self, id: &span::Id, _: &span::Record<'_>, context: Context<'_, S>) {
        self.told(context.metadata(id).unwrap());
    }

    fn on_follows_from(&self, _: &span::Id, flight: &span::Id, context: Context<'_, S>) {
        self.told(context.metadata(flight).unwrap());
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.told(event.metadata());
    }

    fn on_close(&self, id: span::Id, context: Context<'_, S>) {
        self.told(context.metadata(&id).unwrap());
    }
}

/// Does something whenever a hold on a span is taken or let go.
struct OnHold<F>(Registry, F);

impl<F: Fn() + 'static> Subscriber for OnHold<F> {
    fn clone_span(&self, id: &span::Id) -> span::Id {
        (self.1)();
        self.0.clone_span(id)
    }

    fn try_close(&self, id: span::Id) -> bool {
        (self.1)();
        self.0.try_close(id)
    }

    fn current_span(&self) -> Current {
        self.0.current_span()
    }

    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        self.0.enabled(metadata)
    }

    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        self.0.new_span(attributes)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, id: &span::Id) {
        self.0.enter(id);
    }

    fn exit(&self, id: &span::Id) {
        self.0.exit(id);
    }
}

impl<F: Fn()> OnTell<F> {
    /// The tests have spans of their own.
    fn told(&self, metadata: &tracing::Metadata<'_>) {
        if metadata.target() == "tower_singleflight" {
            (self.0)();
        }
    }
}

/// Followers whom nobody but a hostile listener polls.
type Bystanders = Arc<Mutex<Vec<Spawn<Run<()>>>>>;

/// A flight that lands for four, one that is cancelled, one that panics, one that is led anew, and
/// a pass.
async fn all_kinds_of_ends(group: &Group<u32, ()>, bystanders: &Bystanders) {
    let stand_by = |key| bystanders.lock().unwrap().push(follow(group, key));
    let (end, leader) = lead(group, 1);
    let mut waiters = [leader, follow(group, 1), follow(group, 1)];
    for waiter in &mut waiters {
        assert_pending!(waiter.poll());
    }
    stand_by(1);
    settle().await;
    end.send(()).unwrap();
    settle().await;
    for waiter in &mut waiters {
        assert!(waiter.is_woken());
        assert_ready!(waiter.poll());
    }

    drop((group.run(2, pending), group.run(2, pending)));

    let mut waiters = [spawn(group.run(3, || async { panic!("the work") })), follow(group, 3)];
    stand_by(3);
    settle().await;
    for waiter in &mut waiters {
        assert!(panics(|| waiter.poll()));
    }

    let runtime = doomed();
    let (mut leader, mut heir) = {
        let _inside = runtime.enter();
        (spawn(group.run(4, pending)), spawn(group.run(4, || async {})))
    };
    bystanders.lock().unwrap().push(spawn(group.run(4, || async {})));
    runtime.shutdown_background();
    for waiter in [&mut heir, &mut leader] {
        if waiter.poll().is_pending() {
            settle().await;
            assert_ready!(waiter.poll());
        }
    }

    let same = group.clone();
    group.run(5, || async move { same.run(5, || async {}).await.value }).await;
    assert_eq!(group.in_flight(), 0);
}

#[tokio::test]
async fn a_recorder_that_panics_holds_nobody_up() {
    let told = AtomicUsize::new(0);
    let panics = || {
        told.fetch_add(1, SeqCst);
        panic!("the recorder");
    };
    let recorder = OnTell(panics, SpansToo::Yes);
    let _here = metrics::set_default_local_recorder(&recorder);
    all_kinds_of_ends(&Group::new(), &Arc::default()).await;
    assert!(told.load(SeqCst) > 20, "{told:?}");
}

#[tokio::test]
async fn a_subscriber_that_panics_holds_nobody_up() {
    for (spans, at_least) in [(SpansToo::Yes, 5), (SpansToo::No, 10)] {
        let told = Arc::new(AtomicUsize::new(0));
        let telling = told.clone();
        let panics = move || {
            telling.fetch_add(1, SeqCst);
            panic!("the subscriber");
        };
        let subscriber = tracing_subscriber::registry().with(OnTell(panics, spans));
        let _tracing = listen(subscriber);
        all_kinds_of_ends(&Group::new(), &Arc::default()).instrument(info_span!("caller")).await;
        assert!(told.load(SeqCst) >= at_least, "{told:?}");
    }
}

/// Polls the bystanders of a flight whenever it is told anything; joins and leaves, or leads and
/// cancels, flights of every key; but not while it does.
fn calls_back(
    group: Group<u32, ()>,
    bystanders: Bystanders,
    told: Arc<AtomicUsize>,
) -> OnTell<impl Fn()> {
    thread_local! {
        static BUSY: Cell<bool> = const { Cell::new(false) };
    }
    let call_back = move || {
        if BUSY.replace(true) {
            return;
        }
        told.fetch_add(1, SeqCst);
        if let Ok(mut bystanders) = bystanders.try_lock() {
            bystanders.retain_mut(|call| {
                catch_unwind(AssertUnwindSafe(|| call.poll().is_pending())).unwrap_or(false)
            });
        }
        for key in 1..=5 {
            drop(group.run(key, || async {}));
        }
        group.in_flight();
        group.forget(&6);
        BUSY.set(false);
    };
    OnTell(call_back, SpansToo::Yes)
}

#[test]
fn a_subscriber_may_call_the_group_when_a_hold_on_a_span_is_taken_or_let_go() {
    without_deadlock(|| {
        let (group, bystanders, told) = (Group::new(), Bystanders::default(), Arc::default());
        let OnTell(calls_back, _) =
            calls_back(group.clone(), bystanders.clone(), Arc::clone(&told));
        let _tracing = listen(OnHold(tracing_subscriber::registry(), calls_back));
        doomed().block_on(all_kinds_of_ends(&group, &bystanders).instrument(info_span!("caller")));
        assert!(told.load(SeqCst) > 20, "{told:?}");
    });
}

#[test]
fn a_recorder_may_call_the_group_that_tells_it() {
    without_deadlock(|| {
        let (group, bystanders, told) = (Group::new(), Bystanders::default(), Arc::default());
        let recorder = calls_back(group.clone(), bystanders.clone(), Arc::clone(&told));
        let _here = metrics::set_default_local_recorder(&recorder);
        doomed().block_on(all_kinds_of_ends(&group, &bystanders));
        assert!(told.load(SeqCst) > 20, "{told:?}");
    });
}

#[test]
fn a_subscriber_may_call_the_group_that_tells_it() {
    without_deadlock(|| {
        let (group, bystanders, told) = (Group::new(), Bystanders::default(), Arc::default());
        let calls_back = calls_back(group.clone(), bystanders.clone(), Arc::clone(&told));
        let _tracing = listen(tracing_subscriber::registry().with(calls_back));
        doomed().block_on(all_kinds_of_ends(&group, &bystanders).instrument(info_span!("caller")));
        assert!(told.load(SeqCst) > 5, "{told:?}");
    });
}
