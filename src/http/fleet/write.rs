//! Tells the other replicas of writes and of forgotten keys.

use crate::fleet::engine::Tag;
use crate::{http::fleet::LayerFleet, layer::hashed_bytes::hashed_bytes};
use http::Request;
use std::{hash::Hash, sync::Arc, time::Duration};
use tokio::{runtime::Handle, task::JoinHandle, time::timeout};

/// How long an epoch lives beside the leases of the flights that began before it: the longest time
/// for which a flight may be joined, and ten seconds more.
const LIFE: Duration = Duration::from_secs(60 + 10);

/// How long a detached seal may take.
const LATE: Duration = Duration::from_secs(1);

/// Seals the flights of a write on all replicas: when it is made, and when the write is answered or
/// given up.
pub(in crate::http) struct FleetSeal {
    /// Sends the second seal. `None` once that was done.
    send: Option<Box<dyn Fn() -> Option<JoinHandle<()>> + Send>>,
    within: Duration,
}

impl<K: Hash + Eq + Send + Sync + 'static> LayerFleet<K> {
    /// Seals the flights that a write concerns, now and when it is answered. `key`: the key of the
    /// write, if it is known.
    pub(in crate::http) fn seal_write(
        self: &Arc<Self>,
        key: Option<&K>,
        head: &Request<()>,
    ) -> FleetSeal {
        let mut tags = vec![self.tag_of_write(key, head)];
        tags.extend(key.map(|key| self.forget_tag(&hashed_bytes(key))));
        tags.iter().for_each(|tag| self.seal_here(tag));
        let layer = self.clone();
        let send = Box::new(move || layer.seal_later(tags.clone()));
        drop(send());
        FleetSeal { send: Some(send), within: self.fleet().config.enter_within }
    }
}

impl<K> LayerFleet<K> {
    /// Seals in a task. It goes on if the handle is dropped.
    pub(super) fn seal_later(&self, tags: Vec<Tag>) -> Option<JoinHandle<()>> {
        let (fleet, group) = (self.fleet().clone(), self.group().to_owned());
        let Ok(runtime) = Handle::try_current() else {
            fleet.node.counters.seals_lost.add(tags.len() as u64);
            return None;
        };
        let life = LIFE + 2 * fleet.config.lease;
        Some(runtime.spawn(async move {
            for tag in tags {
                fleet.node.seal(tag, &group, life, LATE).await;
            }
        }))
    }
}

impl FleetSeal {
    /// The write was answered. Waits until the others know of it, for as long as a request waits
    /// for the engine.
    pub(in crate::http) async fn answered(mut self) {
        let sealed = self.send.take().and_then(|send| send());
        if let Some(sealed) = sealed {
            drop(timeout(self.within, sealed).await);
        }
    }
}

impl Drop for FleetSeal {
    fn drop(&mut self) {
        if let Some(send) = self.send.take() {
            drop(send());
        }
    }
}
