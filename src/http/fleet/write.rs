//! Tells the other replicas of writes and of forgotten keys.

use crate::fleet::{Fleet, engine::Tag, node::Forgetting};
use crate::http::fleet::LayerFleet;
use http::Request;
use std::{hash::Hash, sync::Arc, time::Duration};
use tokio::{
    task::{JoinHandle, JoinSet},
    time::timeout,
};

/// How long an epoch lives beside the leases of the flights that began before it: the longest time
/// for which a flight may be joined, and ten seconds more.
const LIFE: Duration = Duration::from_secs(60 + 10);

/// How long a detached seal may take.
const LATE: Duration = Duration::from_secs(1);

/// How many seals of one call are under way at once.
const AT_ONCE: usize = 64;

/// Seals the flights of a write on all replicas: when it is made, and when the write is answered or
/// given up.
pub(in crate::http) struct FleetSeal {
    /// Sends the second seal. `None` once that was done.
    send: Option<Box<dyn Fn() -> Option<JoinHandle<()>> + Send>>,
    fleet: Fleet,
}

impl<K: Hash + Eq + Send + Sync + 'static> LayerFleet<K> {
    /// Seals the flights that a write concerns, now and when it is answered. `key`: the key of the
    /// write, if it is known.
    pub(in crate::http) fn seal_write(
        self: &Arc<Self>,
        key: Option<&K>,
        head: &Request<()>,
    ) -> FleetSeal {
        let tags = self.tags_of_write(key, head);
        // All layers of this replica: a clone with another policy has flights of its own.
        tags.iter().for_each(|tag| self.fleet().node.sealed(tag));
        let layer = self.clone();
        let send = Box::new(move || layer.seal_later(tags.clone(), None));
        drop(send());
        FleetSeal { send: Some(send), fleet: self.fleet().clone() }
    }
}

impl<K> LayerFleet<K> {
    /// Seals in a task. It goes on if the handle is dropped. `until`: what is dropped when the
    /// others know.
    pub(super) fn seal_later(
        &self,
        tags: Vec<Tag>,
        until: Option<Forgetting>,
    ) -> Option<JoinHandle<()>> {
        let (fleet, group) = (self.fleet().clone(), self.group().to_owned());
        let Some(runtime) = fleet.node.runtime() else {
            fleet.node.counters.seals_lost.add(tags.len() as u64);
            return None;
        };
        let life = LIFE + 2 * fleet.config.lease;
        Some(runtime.spawn(async move {
            let _until = until;
            let mut seals = JoinSet::new();
            for tag in tags {
                if seals.len() == AT_ONCE {
                    drop(seals.join_next().await);
                }
                let (node, group) = (fleet.node.clone(), group.clone());
                seals.spawn(async move { node.seal(tag, &group, life, LATE).await });
            }
            while seals.join_next().await.is_some() {}
        }))
    }
}

impl FleetSeal {
    /// The write was answered. Waits until the others know of it, for as long as a request waits
    /// for the engine: not at all while none is asked.
    pub(in crate::http) async fn answered(mut self) {
        let sealed = self.send.take().and_then(|send| send());
        if let Some(sealed) = sealed.filter(|_| self.fleet.node.is_up()) {
            drop(timeout(self.fleet.config.enter_within, sealed).await);
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
