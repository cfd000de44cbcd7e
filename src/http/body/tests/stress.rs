//! Real threads.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hasher},
    thread,
};

use futures_util::future::join_all;
use http_body_util::BodyExt;
use tokio::{task::yield_now, time::timeout};

use super::*;

const FRAMES: usize = 300;
const PATIENCE: Duration = Duration::from_secs(60);
const READERS: usize = 8;

fn random(below: u64) -> u64 {
    RandomState::new().build_hasher().finish() % below
}

/// A body whose frames are there at once, or after a wake-up of itself, or after one of another
/// thread.
struct Erratic {
    left: usize,
}

impl Body for Erratic {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match random(4) {
            0 => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            1 => {
                let waker = cx.waker().clone();
                tokio::spawn(async move { waker.wake() });
                Poll::Pending
            }
            _ if self.left == 0 => Poll::Ready(None),
            _ => {
                self.left -= 1;
                let data = vec![self.left as u8; 1 + self.left % 7];
                Poll::Ready(Some(Ok(Frame::data(data.into()))))
            }
        }
    }
}

fn expected(frames: usize) -> Vec<u8> {
    let frames = (0..frames).rev();
    frames.flat_map(|left| vec![left as u8; 1 + left % 7]).collect()
}

/// Reads all, with a change of task, a clone that takes over, and pauses now and then.
async fn read(mut body: SharedBody) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        match random(8) {
            0 => yield_now().await,
            1 => body = body.clone(),
            2 => drop(timeout(Duration::ZERO, body.clone().frame()).await),
            3 => thread::yield_now(),
            _ => {}
        }
        match body.frame().await {
            Some(frame) => all.extend(frame.expect("no error").into_data().unwrap()),
            None => return all,
        }
    }
}

async fn storm(slow: SlowReader, limit: usize) {
    for _ in 0..20 {
        let config = config(limit, slow);
        let budget = config.budget.clone();
        let body = SharedBody::new(Erratic { left: FRAMES }, config);
        let readers = vec![body; READERS];
        let all = join_all(readers.into_iter().map(|body| tokio::spawn(read(body))));
        let all = timeout(PATIENCE, all).await.expect("a reader hangs");
        for content in all {
            assert_eq!(content.expect("a reader panicked"), expected(FRAMES));
        }
        assert_eq!(budget.held(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn eight_readers_get_the_same_from_an_erratic_upstream() {
    storm(SlowReader::Unbounded, KIB).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn eight_readers_get_the_same_through_a_narrow_window() {
    storm(SlowReader::BackPressure, 8).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn eight_readers_get_the_same_while_they_wait_for_each_other() {
    storm(SlowReader::PauseThenEvict(PATIENCE), 8).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn eight_readers_get_to_the_end_of_many_short_bodies() {
    for round in 0..2_000 {
        let left = round % 3;
        let unbounded = config(KIB, SlowReader::Unbounded);
        let body = SharedBody::new(Erratic { left }, unbounded);
        let all = vec![body; READERS].into_iter();
        let all = join_all(all.map(|body| tokio::spawn(body.collect())));
        for content in timeout(PATIENCE, all).await.expect("a reader hangs") {
            let content = content.expect("a reader panicked").expect("no error");
            assert_eq!(content.to_bytes(), expected(left));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_that_are_evicted_in_a_storm_get_a_prefix_and_an_error() {
    for _ in 0..20 {
        let config = config(4, SlowReader::Evict);
        let budget = config.budget.clone();
        let body = SharedBody::new(Erratic { left: FRAMES }, config);
        let readers = vec![body; READERS].into_iter().map(|mut body| {
            tokio::spawn(async move {
                let mut all = Vec::new();
                loop {
                    match body.frame().await {
                        Some(Ok(frame)) => all.extend(frame.into_data().unwrap()),
                        Some(Err(_)) => return (all, false),
                        None => return (all, true),
                    }
                }
            })
        });
        let all = timeout(PATIENCE, join_all(readers));
        let all = all.await.expect("a reader hangs");
        let mut complete = 0;
        for result in all {
            let (content, clean) = result.expect("a reader panicked");
            assert!(expected(FRAMES).starts_with(&content));
            assert_eq!(clean, content == expected(FRAMES));
            complete += usize::from(clean);
        }
        assert!(complete > 0, "all were evicted");
        assert_eq!(budget.held(), 0);
    }
}
