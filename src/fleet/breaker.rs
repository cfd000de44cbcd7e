//! Stops asking an engine that does not answer.

use crate::fleet::node::Node;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::{
    runtime::Handle,
    time::{sleep, timeout},
};

/// How many entries in a row without a reply open it.
const TRIPS_AFTER: u32 = 5;
/// How long it stays open before a ping decides.
const STAYS_OPEN: Duration = Duration::from_secs(1);
/// How long a ping may take, and each other operation but an entry.
pub(crate) const REPLY_WITHIN: Duration = Duration::from_millis(250);

/// Counts the entries without a reply. While it is open, the engine is asked nothing but one ping a
/// second.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    failures: AtomicU32,
    is_open: AtomicBool,
}

/// Closes the breaker when its task ends, or is dropped with its runtime. After that, one more
/// failure opens it again.
struct Closing(Arc<Node>);

impl Breaker {
    pub(crate) fn is_open(&self) -> bool {
        self.is_open.load(SeqCst)
    }

    pub(crate) fn replied(&self) {
        self.failures.store(0, SeqCst);
    }
}

impl Node {
    /// An entry had a reply in time.
    pub(crate) fn had_reply(&self) {
        self.breaker.replied();
        self.notice_reply();
    }

    /// An entry had no reply in time.
    pub(crate) fn had_no_reply(self: &Arc<Self>, runtime: &Handle) {
        if self.breaker.failures.fetch_add(1, SeqCst) + 1 >= TRIPS_AFTER {
            self.trip(runtime);
        }
    }

    /// Opens the breaker until a ping is answered.
    pub(crate) fn trip(self: &Arc<Self>, runtime: &Handle) {
        if self.breaker.is_open.swap(true, SeqCst) {
            return;
        }
        self.notice();
        let (closing, connection) = (Closing(self.clone()), self.connection());
        drop(runtime.spawn(async move {
            let node = &closing.0;
            loop {
                sleep(STAYS_OPEN).await;
                if !node.engine.is_up() {
                    break;
                }
                if node.connection() == connection {
                    node.notice_slow();
                }
                if let Ok(Ok(())) = timeout(REPLY_WITHIN, node.engine.ping()).await {
                    break;
                }
            }
        }));
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.breaker.failures.store(TRIPS_AFTER - 1, SeqCst);
        self.0.breaker.is_open.store(false, SeqCst);
        self.0.notice();
    }
}
