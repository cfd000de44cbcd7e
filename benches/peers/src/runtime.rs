//! The runtimes that the contenders run in.

use crate::contender::{Answer, Contender};
use crate::work::Work;
use futures_util::FutureExt;
use tokio::{
    runtime::{Builder, Runtime},
    task::{JoinHandle, spawn, yield_now},
};

pub(crate) fn one_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

pub(crate) fn two_threads() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// A call in a task of its own, with what is to be done about its answer.
pub(crate) fn spawn_call<W: Work, C: Contender<W>>(
    contender: &C,
    key: u64,
    done: impl FnOnce(u64) + Send + 'static,
) -> JoinHandle<()> {
    // Mapped: an `async` block around it would hold the call's future twice.
    spawn(contender.clone().once(key).map(move |answer| done(answer.value())))
}

/// Lets every task that was spawned before on this one thread be polled, and what they spawn as
/// well. The queue is first in, first out, so one task at its end tells.
pub(crate) async fn settle() {
    let last = spawn(async {
        for _ in 0..8 {
            yield_now().await;
        }
    });
    last.await.expect("it only yields");
}
