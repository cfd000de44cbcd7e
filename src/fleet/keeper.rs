//! The task that renews the leases of a replica, and notices an engine that does not answer.

use crate::fleet::{breaker::REPLY_WITHIN, node::Node, slots::Told};
use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};
use tokio::{
    runtime::Handle,
    time::{Instant, timeout, timeout_at},
};

/// How often an engine is pinged while a request waits.
const PING_EVERY: Duration = Duration::from_millis(500);
/// How long requests wait for a connection that was lost.
const GRACE: Duration = Duration::from_millis(250);

/// One for each replica, while anything leads or waits.
struct Keeper {
    node: Arc<Node>,
    runtime: Handle,
    pinged: Instant,
    /// Whether any request waited at the latest look.
    was_waited: bool,
    down_since: Option<Instant>,
    /// Whether it ends because nothing is left to look after. Another keeper may have started
    /// since.
    is_dismissed: bool,
}

impl Node {
    /// Makes sure that the task runs.
    pub(crate) fn keep(self: &Arc<Self>, runtime: &Handle) {
        if !self.slots.wants_keeper() {
            self.wake_keeper.notify_one();
            return;
        }
        let keeper = Keeper {
            node: self.clone(),
            runtime: runtime.clone(),
            pinged: Instant::now(),
            was_waited: false,
            down_since: None,
            is_dismissed: false,
        };
        drop(runtime.spawn(keeper.run()));
    }
}

impl Keeper {
    async fn run(mut self) {
        while !self.node.slots.dismisses_keeper() {
            if !std::mem::replace(&mut self.was_waited, self.node.slots.is_waiting()) {
                self.pinged = Instant::now();
            }
            if let Some(next) = self.next_duty() {
                let _ = timeout_at(next, self.node.wake_keeper.notified()).await;
            }
            let now = Instant::now();
            if self.node.slots.is_waiting() {
                self.watch(now).await;
            } else {
                self.down_since = None;
            }
            self.renew().await;
        }
        self.is_dismissed = true;
    }

    fn next_duty(&self) -> Option<Instant> {
        let watch = self.node.slots.is_waiting().then(|| match self.down_since {
            Some(since) => since + GRACE,
            None => (Instant::now() + GRACE).min(self.pinged + PING_EVERY),
        });
        watch.into_iter().chain(self.node.slots.next_due()).min()
    }

    /// Pings the engine for the requests that wait.
    async fn watch(&mut self, now: Instant) {
        if !self.node.engine.is_up() {
            let since = *self.down_since.get_or_insert(now);
            if now.duration_since(since) >= GRACE {
                self.node.slots.lose_waiting();
            }
            return;
        }
        self.down_since = None;
        if self.node.has_reconnected.swap(false, SeqCst) {
            self.check_all().await;
        }
        if now.duration_since(self.pinged) < PING_EVERY {
            return;
        }
        self.pinged = now;
        match timeout(REPLY_WITHIN, self.node.engine.ping()).await {
            Ok(Ok(())) => {}
            // A connection that was lost may come back in time.
            Ok(Err(_)) => {}
            Err(_) => {
                self.node.slots.lose_waiting();
                self.node.trip(&self.runtime);
            }
        }
    }

    /// After a reconnect, the pushes since the last one may be lost.
    async fn check_all(&self) {
        let waiting = self.node.slots.waiting();
        if waiting.is_empty() {
            return;
        }
        let reply = timeout(REPLY_WITHIN, self.node.engine.check(&waiting)).await;
        match reply {
            Ok(Ok(checked)) if checked.len() == waiting.len() => {
                let told = waiting.iter().zip(checked);
                told.for_each(|(waiting, checked)| {
                    self.node.slots.tell(waiting.token, Told::Checked(checked))
                });
            }
            _ => self.node.slots.lose_waiting(),
        }
    }

    /// Renews the leases that are older than a third, in one pipeline.
    async fn renew(&self) {
        for (lease, flights) in self.node.slots.take_due(Instant::now()) {
            if !self.node.engine.is_up() {
                continue;
            }
            let reply = timeout(REPLY_WITHIN, self.node.engine.renew(&flights, lease)).await;
            let Ok(Ok(renewed)) = reply else { continue };
            for ((_, token), is_renewed) in flights.iter().zip(renewed) {
                if !is_renewed {
                    self.node.slots.tell(*token, Told::LeaseLost);
                }
            }
        }
    }
}

impl Drop for Keeper {
    /// The task may be dropped with its runtime. The next request starts another.
    fn drop(&mut self) {
        if !self.is_dismissed {
            self.node.slots.lost_keeper();
        }
    }
}
