//! A twin for each case of the public tests of Go's `golang.org/x/sync/singleflight`, and for those
//! of the standard library's internal copy.

use crate::util::*;
use std::{fmt, io, sync::Arc, time::Duration};
use tokio::{
    sync::{Barrier, oneshot},
    time::{sleep, timeout},
};
use tower_singleflight::{Group, Role};

/// Go's `TestDo`.
#[tokio::test]
async fn run_gives_what_the_work_returned() {
    let group = Group::new();
    assert_eq!(group.run("key", || async { "bar" }).await, led("bar", false));
}

/// Go's `TestDoErr`.
#[tokio::test]
async fn run_gives_the_error_of_the_work() {
    let group = Group::<_, Result<&str, Arc<io::Error>>>::new();
    let some_error = Arc::new(io::Error::other("some error"));
    let same = some_error.clone();
    let outcome = group.run("key", || async { Err(same) }).await;
    assert!(Arc::ptr_eq(&outcome.value.unwrap_err(), &some_error));
}

/// Go's `TestDoDupSuppress`, where at most nine of ten calls may go through. Here it is one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_callers_make_one_call() {
    let group = Group::new();
    let (remote, inner) = work();
    let leader = group.run("key", inner);
    let barrier = Arc::new(Barrier::new(10));
    let followers: Vec<_> = (0..9)
        .map(|_| {
            let (group, barrier) = (group.clone(), barrier.clone());
            tokio::spawn(async move {
                let run = group.run("key", never());
                barrier.wait().await;
                run.await
            })
        })
        .collect();
    barrier.wait().await;
    remote.land("bar");
    assert_eq!(leader.await, led("bar", true));
    for follower in followers {
        assert_eq!(follower.await.unwrap(), followed("bar"));
    }
    assert_eq!(remote.calls(), 1);
}

/// Go's `TestForget`, for golang/go#31420: the landing of a forgotten flight must not take the
/// newer one off.
#[tokio::test]
async fn a_third_call_joins_the_second_when_the_forgotten_first_has_landed() {
    let group = Group::new();
    let (first, inner) = work();
    let first_run = tokio::spawn(group.run("key", inner));
    until("the first has started", || first.polls() > 0).await;
    group.forget("key");

    let (second, inner) = work();
    let second_run = group.spawn("key", inner);
    first.land(1);
    assert_eq!(first_run.await.unwrap(), led(1, false));

    let third_run = group.spawn("key", ready(3));
    second.land(2);
    assert_eq!(second_run.await, led(2, true));
    assert_eq!(third_run.await, followed(2));
}

/// Go's `TestDoChan`.
#[tokio::test]
async fn spawn_gives_what_the_work_returned() {
    let group = Group::new();
    assert_eq!(group.spawn("key", || async { "bar" }).await, led("bar", false));
}

/// Go's `TestPanicDo`, for golang/go#41133: everybody panics, and nobody hangs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_callers_get_the_panic() {
    let group = Group::<_, ()>::new();
    let call = || {
        group.run("key", || async { panic!("invalid memory address or nil pointer dereference") })
    };
    let callers = [call(), call(), call(), call(), call()];
    for caller in callers.map(tokio::spawn) {
        let panic = timeout(Duration::from_secs(20), caller).await.expect("run hangs").unwrap_err();
        assert_eq!(
            text_of(panic.into_panic()),
            "invalid memory address or nil pointer dereference"
        );
    }
    assert_eq!(group.in_flight(), 0);
}

/// Go's `TestGoexitDo`: the work ends without a result and without a panic. Here its runtime is
/// shut down. Go gives everybody a nil; here the followers, who have work of their own, go on, and
/// one of them leads.
#[test]
fn four_of_five_callers_go_on_when_the_runtime_of_the_work_is_gone() {
    let group = Group::new();
    let doomed = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let (remote, inner) = work::<&str>();
    let leader = inside(&doomed, || group.run("key", inner));
    let followers = [(); 4].map(|()| group.run("key", ready("anew")));
    doomed.block_on(until("the work is polled", || remote.polls() > 0));
    drop(doomed);
    let followers = followers.map(|run| std::thread::spawn(|| block_on(run)));
    let roles = followers.map(|follower| {
        let outcome = follower.join().unwrap();
        assert_eq!(outcome.value, "anew");
        outcome.role
    });
    assert_eq!(roles.iter().filter(|role| **role == Role::Leader).count(), 1);
    assert_eq!(block_on(leader).value, "anew");
    assert_eq!((remote.drops(), group.in_flight()), (1, 0));
}

/// Go's `TestGoexitDo`, another way to end the work without a result: all callers' tasks are
/// aborted.
#[tokio::test]
async fn five_callers_are_aborted_and_the_key_is_free() {
    let group = Group::new();
    let (remote, inner) = work();
    let mut callers = vec![tokio::spawn(group.run("key", inner))];
    callers.extend((0..4).map(|_| tokio::spawn(group.run("key", never()))));
    until("the work is polled", || remote.polls() > 0).await;
    for caller in callers {
        caller.abort();
        assert!(caller.await.unwrap_err().is_cancelled());
    }
    assert_eq!((remote.drops(), group.in_flight()), (1, 0));
    assert_eq!(group.run("key", ready("next")).await, led("next", false));
}

/// Go's `TestPanicDoChan`. In Go the process dies, as nobody could hear of the panic; here the
/// ticket tells it.
#[tokio::test]
async fn the_ticket_tells_the_panic_of_spawned_work() {
    let group = Group::<_, ()>::new();
    let ticket = tokio::spawn(group.spawn("", || async { panic!("Panicking in DoChan") }));
    assert_eq!(text_of(ticket.await.unwrap_err().into_panic()), "Panicking in DoChan");
}

/// Go's `TestPanicDoSharedByDoChan`.
#[tokio::test]
async fn the_ticket_tells_the_panic_of_the_run_it_joined() {
    let group = Group::<_, ()>::new();
    let (remote, inner) = work();
    let run = tokio::spawn(group.run("", inner));
    until("the work is polled", || remote.polls() > 0).await;
    let ticket = tokio::spawn(group.spawn("", never()));
    remote.panic_with("Panicking in Do");
    for waiter in [run, ticket] {
        assert_eq!(text_of(waiter.await.unwrap_err().into_panic()), "Panicking in Do");
    }
}

/// Go's `TestPanicErrorUnwrap`: what was panicked with can be told from the wrapping. Here nothing
/// is wrapped: the payload is what the work panicked with, for every type that is text, and for any
/// type where it was polled in place.
#[test]
fn the_payload_of_a_panic_is_not_wrapped() {
    #[derive(Debug, PartialEq)]
    struct SomeError(u8);
    let group = Group::<_, ()>::new();
    let (remote, inner) = work();
    let mut run = tokio_test::task::spawn(group.run("key", inner));
    remote.panic_with(SomeError(7));
    assert_eq!(panic_payload(|| run.poll()).downcast_ref(), Some(&SomeError(7)));
}

/// Go's `ExampleGroup`.
#[tokio::test]
async fn three_calls_one_block_of_work() {
    let group = Group::new();
    let (block, blocked) = oneshot::channel::<()>();
    let first = group.run("key", || async {
        blocked.await.unwrap();
        "func 1"
    });
    let second = group.run("key", || async { "func 2" });
    block.send(()).unwrap();
    let (first, second) = tokio::join!(first, second);
    assert!(first.shared && second.shared);
    assert_eq!((first.value, second.value), ("func 1", "func 1"));
    assert_eq!(group.run("key", || async { "func 3" }).await, led("func 3", false));
}

/// The way Go's users put a deadline on `DoChan` with `select` (`TestDoTimeout` of older suites):
/// the caller gives up, the work goes on and the next caller gets it.
#[tokio::test(start_paused = true)]
async fn a_caller_out_of_patience_leaves_its_spawned_work_to_the_next() {
    let group = Group::new();
    let ticket = group.spawn("key", || async {
        sleep(Duration::from_secs(10)).await;
        "slow"
    });
    assert!(timeout(Duration::from_secs(1), ticket).await.is_err());
    assert_eq!(group.run("key", never()).await, followed("slow"));
}

/// The same with `run`: when the last caller gives up, so does the work.
#[tokio::test(start_paused = true)]
async fn a_sole_caller_out_of_patience_takes_its_work_along() {
    let group = Group::new();
    let (remote, inner) = work();
    assert!(timeout(Duration::from_secs(1), group.run("key", inner)).await.is_err());
    assert_eq!((remote.drops(), group.in_flight()), (1, 0));
    assert_eq!(group.run("key", ready("next")).await, led("next", false));
}

/// The internal copy's `TestForgetUnshared`: a flight with one caller can be given up for a new
/// one, a shared one goes on. Here the drop of the caller decides, and needs no method.
#[tokio::test]
async fn an_unshared_flight_is_given_up_by_its_caller_and_a_shared_one_goes_on() {
    let group = Group::new();
    drop(group.run("key", never()));
    let (second, inner) = work();
    let second_run = group.run("key", inner);
    let third_run = group.run("key", never());
    drop(second_run);
    let fourth_run = group.run("key", never());
    second.land(2);
    assert_eq!((third_run.await, fourth_run.await), (followed(2), followed(2)));
}

/// The internal copy's `TestDoAndForgetUnsharedRace`: a caller that gives up races with newcomers;
/// nobody is given a flight that died.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_give_up_race_with_newcomers() {
    let group = Group::new();
    for round in 0..200_u32 {
        let work = move || async move {
            tokio::task::yield_now().await;
            round
        };
        let quitter = group.run("key", work);
        let newcomers: Vec<_> = (0..4)
            .map(|_| {
                let group = group.clone();
                tokio::spawn(async move { group.run("key", work).await.value })
            })
            .collect();
        tokio::task::yield_now().await;
        drop(quitter);
        for newcomer in newcomers {
            assert_eq!(
                timeout(Duration::from_secs(20), newcomer).await.expect("nobody hangs").unwrap(),
                round
            );
        }
        assert_eq!(group.in_flight(), 0);
    }
}

/// Go's `Group` of anything: fallible work has a `Result` for its value, whatever the error is, and
/// each gets a clone.
#[tokio::test]
async fn a_typed_error_reaches_every_caller() {
    #[derive(Clone, Debug, PartialEq)]
    struct NotFound(u32);
    impl fmt::Display for NotFound {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{} not found", self.0)
        }
    }
    let group = Group::<_, Result<(), NotFound>>::new();
    let (first, second) =
        tokio::join!(group.run("key", || async { Err(NotFound(7)) }), group.run("key", never()));
    assert_eq!((first.value, second.value), (Err(NotFound(7)), Err(NotFound(7))));
}
