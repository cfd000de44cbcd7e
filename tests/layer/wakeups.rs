//! How often waiters are woken and polled.

use crate::support::{Ask, by_key, coalesced, settle, waker};
use std::{
    convert::Infallible,
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, Wake, Waker},
};
use tower::{Layer, Service, service_fn};

const FOLLOWERS: usize = 1_000;
const INNER_WAKES: usize = 10;

/// A future, and how often it was woken and polled. It is polled only when it was woken.
struct Task<F> {
    future: Pin<Box<F>>,
    wakes: Arc<Wakes>,
    polls: usize,
    heard: usize,
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

impl<F: Future> Task<F> {
    fn new(future: F) -> Self {
        Self { future: Box::pin(future), wakes: Arc::default(), polls: 0, heard: 0 }
    }

    fn wakes(&self) -> usize {
        self.wakes.0.load(Relaxed)
    }

    fn poll(&mut self) -> Poll<F::Output> {
        self.polls += 1;
        self.heard = self.wakes();
        let waker = Waker::from(self.wakes.clone());
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    /// As an executor would.
    fn poll_if_woken(&mut self) -> Poll<F::Output> {
        if self.wakes() == self.heard { Poll::Pending } else { self.poll() }
    }
}

/// Wakes the inner call from outside, and counts its polls.
#[derive(Clone, Default)]
struct Bell {
    rings: Arc<AtomicUsize>,
    polls: Arc<AtomicUsize>,
    waker: Arc<Mutex<Option<Waker>>>,
}

impl Bell {
    fn ring(&self) {
        self.rings.fetch_add(1, Relaxed);
        let waker = self.waker.lock().unwrap().take();
        waker.expect("the inner call waits").wake();
    }

    /// Ready at the ring of that number.
    async fn rings(self, number: usize) {
        poll_fn(|cx| {
            self.polls.fetch_add(1, Relaxed);
            *self.waker.lock().unwrap() = Some(cx.waker().clone());
            if self.rings.load(Relaxed) < number { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
    }
}

#[tokio::test]
async fn a_thousand_followers_are_woken_once_each_whatever_the_inner_call_does() {
    let bell = Bell::default();
    let mut service = by_key().layer(service_fn({
        let bell = bell.clone();
        move |ask: Ask| {
            let bell = bell.clone();
            async move {
                bell.rings(INNER_WAKES).await;
                Ok::<_, Infallible>(ask.1)
            }
        }
    }));
    let mut tasks: Vec<_> = (0..=FOLLOWERS).map(|_| Task::new(service.call((1, "told")))).collect();
    for task in &mut tasks {
        assert!(task.poll().is_pending());
    }
    settle().await;
    for _ in 1..INNER_WAKES {
        bell.ring();
        settle().await;
        for task in &mut tasks {
            assert!(task.poll_if_woken().is_pending());
        }
    }
    bell.ring();
    settle().await;
    for task in &mut tasks {
        assert_eq!(task.poll_if_woken(), Poll::Ready(Ok("told")));
    }

    let wakes: usize = tasks.iter().map(Task::wakes).sum();
    assert!(wakes <= FOLLOWERS + 3, "{wakes} wake-ups");
    assert!(tasks[1..].iter().all(|follower| (follower.polls, follower.wakes()) == (2, 1)));
    assert!(tasks[0].polls <= 3, "the leader was polled {} times", tasks[0].polls);
    let polls = bell.polls.load(Relaxed);
    assert!(polls <= INNER_WAKES + 2, "the inner call was polled {polls} times");
}

#[tokio::test]
async fn a_lone_leader_is_woken_by_its_inner_call_alone() {
    let bell = Bell::default();
    let mut service = by_key().layer(service_fn({
        let bell = bell.clone();
        move |_: Ask| {
            let bell = bell.clone();
            async move {
                bell.rings(INNER_WAKES).await;
                Ok::<_, Infallible>(())
            }
        }
    }));
    let mut lone = Task::new(service.call((1, "lone")));
    assert!(lone.poll().is_pending());
    for _ in 1..INNER_WAKES {
        bell.ring();
        assert!(lone.poll_if_woken().is_pending());
    }
    bell.ring();
    assert_eq!(lone.poll_if_woken(), Poll::Ready(Ok(())));
    assert_eq!(
        (lone.polls, lone.wakes(), bell.polls.load(Relaxed)),
        (INNER_WAKES + 1, INNER_WAKES, INNER_WAKES + 1)
    );
}

#[tokio::test]
async fn a_waiter_that_leaves_wakes_nobody() {
    let (upstream, mut service) = coalesced();
    let mut tasks: Vec<_> = (0..10).map(|_| Task::new(service.call((1, "ask")))).collect();
    for task in &mut tasks {
        assert!(task.poll().is_pending());
    }
    settle().await;
    tasks.remove(5);
    tasks.remove(0);
    tasks.pop();
    settle().await;
    assert_eq!(tasks.iter().map(Task::wakes).sum::<usize>(), 0);
    upstream.next().answer("told");
    settle().await;
    assert!(tasks.iter_mut().all(|task| task.poll_if_woken() == Poll::Ready(Ok("told"))));
}

#[tokio::test]
async fn a_waiter_that_came_to_another_task_is_woken_there_and_not_where_it_was() {
    let (upstream, mut service) = coalesced();
    let _leader = service.call((1, "leader"));
    let mut follower = Task::new(service.call((1, "follower")));
    assert!(follower.poll().is_pending());
    let before = std::mem::take(&mut follower.wakes);
    assert!(follower.poll().is_pending());
    settle().await;
    upstream.next().answer("told");
    settle().await;
    assert_eq!((before.0.load(Relaxed), follower.wakes()), (0, 1));
}

#[tokio::test]
async fn a_waker_is_dropped_when_its_waiter_leaves() {
    let (_upstream, mut service) = coalesced();
    let _leader = service.call((1, "leader"));
    let mut follower = Task::new(service.call((1, "follower")));
    assert!(follower.poll().is_pending());
    let Task { future, wakes, .. } = follower;
    assert_eq!(Arc::strong_count(&wakes), 2);
    drop(future);
    assert_eq!(Arc::strong_count(&wakes), 1);
}

#[tokio::test]
async fn a_waker_that_panics_keeps_nobody_asleep() {
    let (upstream, mut service) = coalesced();
    let mut grumpy = service.call((1, "grumpy"));
    let waker = waker(|| panic!("grumpy"));
    assert!(Pin::new(&mut grumpy).poll(&mut Context::from_waker(&waker)).is_pending());
    let mut followers = ["one", "two"].map(|who| Task::new(service.call((1, who))));
    for follower in &mut followers {
        assert!(follower.poll().is_pending());
    }
    settle().await;
    upstream.next().answer("told");
    settle().await;
    for follower in &mut followers {
        assert_eq!(follower.poll_if_woken(), Poll::Ready(Ok("told")));
    }
}
