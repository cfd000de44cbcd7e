//! A flight runs in its leader's span, wherever it is polled. Between the two is its own, which
//! `tests/observe` looks at.

use crate::util::*;
use std::sync::Once;
use tokio_test::{assert_pending, assert_ready_eq, task};
use tower_singleflight::Group;
use tracing::{Span, info_span, subscriber};
use tracing_subscriber::registry::{LookupSpan, Registry};

fn subscribe() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| subscriber::set_global_default(tracing_subscriber::registry()).unwrap());
}

/// The innermost span but for those of flights.
fn here() -> Option<&'static str> {
    let names = Span::current().with_subscriber(|(id, dispatch)| {
        let registry = dispatch.downcast_ref::<Registry>().unwrap();
        registry.span(id).unwrap().scope().map(|span| span.name()).collect::<Vec<_>>()
    });
    names?.into_iter().find(|name| *name != "flight")
}

#[test]
fn a_sole_caller_polled_in_another_span() {
    subscribe();
    let group = Group::new();
    let run = info_span!("leader").in_scope(|| group.run(1, || async { here() }));
    let outcome = info_span!("elsewhere").in_scope(|| ready_now(task::spawn(run)));
    assert_eq!(outcome.value, Some("leader"));
}

#[test]
fn a_closure_is_called_in_the_span_too() {
    subscribe();
    let group = Group::new();
    let run = info_span!("leader").in_scope(|| group.run(1, || std::future::ready(here())));
    assert_eq!(ready_now(task::spawn(run)).value, Some("leader"));
}

on_both_runtimes! {
    async fn a_flight_that_moved_to_a_task_is_in_its_leaders_span() {
        subscribe();
        let group = Group::new();
        let (remote, inner) = work();
        let mut leader = info_span!("leader").in_scope(|| {
            task::spawn(group.run(1, || async {
                inner().await;
                here()
            }))
        });
        assert_pending!(leader.poll());
        let follower = info_span!("follower").in_scope(|| group.run(1, never()));
        until("a task polls it", || remote.polls() == 2).await;
        remote.land(());
        assert_eq!(follower.await, followed(Some("leader")));
        assert_ready_eq!(leader.poll(), led(Some("leader"), true));
    }

    async fn spawned_work_is_in_the_span_of_its_spawner() {
        subscribe();
        let group = Group::new();
        let ticket = info_span!("spawner").in_scope(|| group.spawn(1, || async { here() }));
        assert_eq!(ticket.await, led(Some("spawner"), false));
    }

    async fn work_that_leads_anew_is_in_its_own_callers_span() {
        subscribe();
        let group = Group::new();
        let doomed = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let leader = {
            let _inside = doomed.enter();
            info_span!("first").in_scope(|| group.run(1, std::future::pending))
        };
        let heir = info_span!("second").in_scope(|| group.run(1, || async { here() }));
        doomed.shutdown_background();
        assert_eq!(heir.await.value, Some("second"));
        assert_eq!(leader.await.value, Some("second"));
    }
}

#[test]
fn a_call_that_passes_is_in_the_span_around_it() {
    subscribe();
    let group = Group::new();
    let same = group.clone();
    let run = group.run(1, || async move {
        let run = info_span!("inner").in_scope(|| same.run(1, || async { here() }));
        run.await.value
    });
    assert_eq!(ready_now(task::spawn(run)).value, Some("inner"));
}
