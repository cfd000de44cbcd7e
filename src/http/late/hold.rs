//! Keeps a response for newcomers after its body has ended.

use crate::http::late::{LateStream, LateTable};
use crate::{
    core::key::Address,
    sync::{current_runtime, sleep_until},
};
use std::sync::{Arc, Weak};

impl<K: Send + Sync + 'static> LateTable<K> {
    /// Unlists a stream whose body ends now: at once, or when it need not be held any more.
    pub(super) fn hold_or_unlist(self: &Arc<Self>, address: Address, stream: &Arc<LateStream>) {
        if !self.hold(address, stream) {
            self.unlist(address, stream);
        }
    }

    /// Holds a stream, if it may be held and there is a runtime for the timer. Call it under no
    /// lock.
    fn hold(self: &Arc<Self>, address: Address, stream: &Arc<LateStream>) -> bool {
        let Some(runtime) = current_runtime().filter(|_| stream.may_be_held()) else {
            return false;
        };
        let Some(until) = stream.hold() else { return false };
        let end =
            UnlistHeld { late: Arc::downgrade(self), address, stream: Arc::downgrade(stream) };
        runtime.spawn(async move {
            let _end = end;
            sleep_until(until).await;
        });
        true
    }
}

/// Unlists a held stream when it is dropped: at the end of the time, or with its runtime. It keeps
/// neither alive.
struct UnlistHeld<K> {
    late: Weak<LateTable<K>>,
    address: Address,
    stream: Weak<LateStream>,
}

impl<K> Drop for UnlistHeld<K> {
    fn drop(&mut self) {
        if let Some((late, stream)) = self.late.upgrade().zip(self.stream.upgrade()) {
            late.unlist(self.address, &stream);
        }
    }
}
