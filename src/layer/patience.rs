//! How long a follower waits.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep_until};

/// How long a follower waits for a flight. `None` is without limit. The limit is boxed because it
/// is rare.
pub(crate) struct Patience(Option<Box<Limit>>);

/// The timer is made only when a follower has to wait.
enum Limit {
    Until(Instant),
    Timed(Pin<Box<Sleep>>),
}

impl Patience {
    pub(crate) const UNLIMITED: Self = Self(None);

    pub(crate) fn from_now(patience: Option<Duration>) -> Self {
        let deadline = patience.and_then(|patience| Instant::now().checked_add(patience));
        Self(deadline.map(|deadline| Box::new(Limit::Until(deadline))))
    }

    /// Is ready when the patience ends.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(limit) = &mut self.0 else { return Poll::Pending };
        loop {
            match &mut **limit {
                Limit::Until(deadline) => **limit = Limit::Timed(Box::pin(timer(*deadline))),
                Limit::Timed(sleep) => return sleep.as_mut().poll(cx),
            }
        }
    }
}

fn timer(deadline: Instant) -> Sleep {
    let here = tokio::runtime::Handle::try_current();
    assert!(
        here.is_ok(),
        "tower-singleflight: a follower with `wait_at_most` was polled outside a tokio runtime"
    );
    sleep_until(deadline)
}
