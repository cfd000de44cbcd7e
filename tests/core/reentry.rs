//! Calls from inside a flight to its own key pass: nothing waits for itself.

use crate::util::*;
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{runtime::Builder, time::timeout};
use tokio_test::{assert_pending, task};
use tower_singleflight::{Group, Role, Ticket};

async fn soon<F: Future>(future: F) -> F::Output {
    timeout(Duration::from_secs(20), future).await.expect("nothing waits for itself")
}

#[test]
fn work_calls_its_own_key() {
    let group = Group::new();
    let same = group.clone();
    let run = group.run(1, || async move { same.run(1, ready("inner")).await.value });
    assert_eq!(ready_now(task::spawn(run)), led("inner", false));
}

#[test]
fn a_call_that_passed_leads_and_shares_nothing() {
    let group = Group::<u32, Option<Box<(bool, bool)>>>::new();
    let same = group.clone();
    let run = group.run(1, || async move {
        let inner = same.run(1, ready(None)).await;
        Some(Box::new((inner == led(None, false), same.in_flight() == 1)))
    });
    assert_eq!(ready_now(task::spawn(run)).value.as_deref(), Some(&(true, true)));
}

#[test]
fn the_closure_itself_calls_its_own_key() {
    let group = Group::new();
    let same = group.clone();
    let run = group.run(1, move || {
        let inner = same.run(1, ready("inner"));
        async { inner.await.value }
    });
    assert_eq!(ready_now(task::spawn(run)), led("inner", false));
}

on_both_runtimes! {
    async fn work_that_moved_to_a_task_calls_its_own_key() {
        let group = Group::new();
        let same = group.clone();
        let (remote, inner) = work();
        let run = group.run(1, || async move {
            inner().await;
            same.run(1, ready("inner")).await.value
        });
        let follower = group.run(1, never());
        until("a task polls it", || remote.polls() > 0).await;
        remote.land(());
        assert_eq!(soon(run).await, led("inner", true));
        assert_eq!(soon(follower).await, followed("inner"));
    }

    async fn work_calls_its_own_key_through_another() {
        let group = Group::new();
        let (two, one) = (group.clone(), group.clone());
        let run = group.run(1, || async move {
            two.run(2, || async move { one.run(1, ready("innermost")).await.value }).await.value
        });
        assert_eq!(soon(run).await, led("innermost", false));
        assert_eq!(group.in_flight(), 0);
    }

    async fn work_calls_its_own_key_through_a_chain_of_nine() {
        fn descend(group: Group<u32, u32>, key: u32) -> std::pin::Pin<Box<dyn Future<Output = u32> + Send>> {
            Box::pin(async move {
                let next = group.clone();
                group.run(key % 10, move || async move {
                    tokio::task::yield_now().await;
                    if key < 12 { descend(next, key + 1).await } else { key }
                }).await.value
            })
        }
        let group = Group::new();
        assert_eq!(soon(descend(group.clone(), 0)).await, 12);
        assert_eq!(group.in_flight(), 0);
    }

    async fn the_inner_flight_moved_to_a_task_and_calls_the_outer_key() {
        let group = Group::new();
        let (remote, inner) = work();
        let (two, one) = (group.clone(), group.clone());
        let run = tokio::spawn(group.run(1, || async move {
            two.run(2, || async move {
                inner().await;
                one.run(1, ready("innermost")).await.value
            }).await.value
        }));
        until("key 2 is led inside key 1", || remote.polls() > 0).await;
        // Another caller of key 2 makes it move: nobody around it is polled by the same thread from
        // then on.
        let other = tokio::spawn(group.run(2, never()));
        until("a task polls it", || remote.polls() > 1).await;
        remote.land(());
        assert_eq!(soon(run).await.unwrap(), led("innermost", false));
        assert_eq!(soon(other).await.unwrap(), followed("innermost"));
        assert_eq!(group.in_flight(), 0);
    }

    async fn spawned_inside_its_own_flight_it_runs_apart() {
        let group = Group::new();
        let same = group.clone();
        let run = group.run(1, || async move { same.spawn(1, ready("inner")).await.value });
        assert_eq!(soon(run).await, led("inner", false));
        assert_eq!(group.in_flight(), 0);
    }

    async fn spawned_inside_its_own_flight_it_outlives_it() {
        let group = Group::new();
        let same = group.clone();
        let (remote, inner) = work();
        let run = group.run(1, || async move {
            drop(same.spawn(1, inner));
            "outer"
        });
        assert_eq!(soon(run).await, led("outer", false));
        until("it is polled", || remote.polls() > 0).await;
        assert_eq!(group.in_flight(), 1);
        remote.land("inner");
        until("it has landed", || group.in_flight() == 0).await;
    }

    async fn the_grandchild_in_a_spawned_flight_calls_the_outermost_key() {
        let group = Group::new();
        let (two, three, one) = (group.clone(), group.clone(), group.clone());
        let run = group.run(1, || async move {
            let inner = || async move {
                let innermost = || async move { one.spawn(1, ready("innermost")).await.value };
                three.spawn(3, innermost).await.value
            };
            two.spawn(2, inner).await.value
        });
        assert_eq!(soon(run).await.value, "innermost");
        assert_eq!(group.in_flight(), 0);
    }

    async fn two_groups_call_each_other() {
        let (one, two) = (Group::new(), Group::new());
        let (theirs, ours) = (two.clone(), one.clone());
        let run = one.run(1, || async move {
            theirs.run("a", || async move { ours.run(1, ready(7)).await.value }).await.value
        });
        assert_eq!(soon(run).await, led(7, false));
    }

    async fn work_that_leads_anew_calls_its_own_key() {
        let group = Group::new();
        let doomed = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let leader = {
            let _inside = doomed.enter();
            group.run(1, std::future::pending)
        };
        let same = group.clone();
        let heir = group.run(1, || async move { same.run(1, ready("inner")).await.value });
        doomed.shutdown_background();
        assert_eq!(soon(heir).await, led("inner", true));
        drop(leader);
    }
}

#[test]
fn a_sibling_led_inside_is_joined_from_inside() {
    // Only a flight around the caller is passed by; one beside it is joined.
    let group = Group::new();
    let same = group.clone();
    let run = group.run(1, || async move {
        let mut leader = task::spawn(same.run(2, ready("two")));
        let mut follower = task::spawn(same.run(2, never()));
        let leader = leader.poll();
        assert!(leader.is_ready());
        assert_eq!(follower.poll(), std::task::Poll::Ready(followed("two")));
        "one"
    });
    assert_eq!(ready_now(task::spawn(run)).value, "one");
}

#[tokio::test]
async fn others_join_a_flight_while_it_calls_itself() {
    let group = Group::new();
    let same = group.clone();
    let (remote, inner) = work();
    let mut leader = task::spawn(group.run(1, || async move { same.run(1, inner).await.value }));
    assert_pending!(leader.poll());
    let follower = group.run(1, never());
    remote.land("inner");
    assert_eq!(soon(follower).await, followed("inner"));
    assert_eq!(soon(leader.into_inner()).await, led("inner", true));
}

#[tokio::test]
async fn a_flight_led_inside_one_that_ended_joins_the_next_of_that_key() {
    let group = Group::new();
    let (remote, inner) = work();
    let one = group.clone();
    let (two, outer) = (group.clone(), group.clone());
    drop(one);
    let first = outer.run(1, || async move {
        let same = two.clone();
        drop(two.spawn(2, || async move {
            inner().await;
            same.run(1, never()).await.value
        }));
        "first"
    });
    assert_eq!(soon(first).await.value, "first");
    let (second, inner) = work();
    let second_run = group.run(1, inner);
    let follower = group.run(2, never());
    settle().await;
    remote.land(());
    settle().await;
    second.land("second");
    assert_eq!(soon(second_run).await, led("second", true));
    assert_eq!(soon(follower).await, followed("second"));
}

#[tokio::test]
async fn a_forgotten_flight_leads_its_own_key_again() {
    let group = Group::new();
    let same = group.clone();
    let run = group.run(1, || async move {
        same.forget(&1);
        let again = same.clone();
        same.run(1, || async move { again.run(1, ready("innermost")).await.value }).await.value
    });
    assert_eq!(soon(run).await.value, "innermost");
    assert_eq!(group.in_flight(), 0);
}

#[tokio::test]
async fn a_panic_in_a_call_that_passed_is_one_of_the_work() {
    let group = Group::<u32, ()>::new();
    let same = group.clone();
    let waiters = [
        group.run(1, || async move { same.run(1, || async { panic!("inside") }).await.value }),
        group.run(1, never()),
    ];
    for waiter in waiters.map(tokio::spawn) {
        assert_eq!(text_of(waiter.await.unwrap_err().into_panic()), "inside");
    }
    // This thread is in no flight any more: a second call joins.
    let (leader, follower) = tokio::join!(group.run(1, ready(())), group.run(1, never()));
    assert_eq!((leader, follower), (led((), true), followed(())));
}

#[test]
fn a_chain_in_which_each_flight_leads_the_next_does_not_grow() {
    // Each work spawns its successor and ends. Were the ended ones remembered, each call would look
    // through all.
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    fn next(group: Group<u32, ()>, key: u32, sizes: Arc<Mutex<Vec<usize>>>) {
        if key == 1000 {
            return;
        }
        drop(group.clone().spawn(key, move || async move {
            tokio::task::yield_now().await;
            next(group.clone(), key + 1, sizes.clone());
            sizes.lock().unwrap().push(group.in_flight());
        }));
    }
    let group = Group::new();
    let sizes = Arc::new(Mutex::new(Vec::new()));
    runtime.block_on(async {
        next(group.clone(), 0, sizes.clone());
        until("the last has landed", || group.in_flight() == 0).await;
    });
    assert_eq!(sizes.lock().unwrap().len(), 1000);
    assert!(sizes.lock().unwrap().iter().all(|size| *size <= 2));
}

#[tokio::test]
async fn a_ticket_that_is_awaited_inside_the_flight_it_joined_does_its_own_work() {
    // Only the first is entrusted to the flight.
    for tickets in 1..=3 {
        let group = Group::new();
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel::<Ticket<String>>();
        let run = group.run(1, || async move {
            let mut texts = String::new();
            while let Some(ticket) = receiver.recv().await {
                let outcome = ticket.await;
                assert_eq!((outcome.shared, outcome.role), (false, Role::Leader));
                texts += &outcome.value;
            }
            texts
        });
        for n in 0..tickets {
            sender.send(group.spawn(1, move || async move { n.to_string() })).unwrap();
        }
        drop(sender);
        assert_eq!(soon(run).await.value, ["0", "01", "012"][tickets - 1]);
        assert_eq!(group.in_flight(), 0);
    }
}

#[tokio::test]
async fn a_follower_that_is_awaited_inside_its_own_flight_passes() {
    let group = Group::<u32, &str>::new();
    let (send, receive) = tokio::sync::oneshot::channel();
    let leader =
        group.run(1, || async { soon(async { receive.await.expect("the follower") }).await });
    let follower = group.run(1, ready("the follower's own"));
    send.send("sent").unwrap();
    assert_eq!(soon(leader).await, led("sent", true));
    assert_eq!(soon(follower).await.value, "sent");

    let (send, receive) = tokio::sync::oneshot::channel::<tower_singleflight::Run<&str>>();
    let leader = group.run(1, || async { receive.await.expect("the follower").await.value });
    let follower = group.run(1, ready("the follower's own"));
    assert!(send.send(follower).is_ok());
    assert_eq!(soon(leader).await, led("the follower's own", true));
    assert_eq!(group.in_flight(), 0);
}

#[tokio::test]
async fn a_flight_that_was_led_in_one_and_anew_in_another_is_inside_both() {
    let group = Group::<u32, &str>::new();
    let doomed = Builder::new_current_thread().build().unwrap();
    let (inner, handle) = (group.clone(), doomed.handle().clone());
    let leads = move || async move {
        let run = {
            let _inside = handle.enter();
            inner.run(1, std::future::pending)
        };
        run.await.value
    };
    let mut first = task::spawn(group.run(10, leads));
    assert_pending!(first.poll());
    let inner = group.clone();
    let leads_anew = move || async move {
        let again = inner.clone();
        let anew = move || async move {
            assert_eq!(again.run(10, ready("its own")).await.value, "its own");
            assert_eq!(again.run(20, ready("its own too")).await.value, "its own too");
            "anew"
        };
        inner.run(1, anew).await.value
    };
    let mut second = task::spawn(group.run(20, leads_anew));
    assert_pending!(second.poll());
    doomed.shutdown_background();
    assert_pending!(second.poll());
    settle().await;
    assert_eq!((ready_now(second).value, ready_now(first).value), ("anew", "anew"));
}
