//! Tells the other replicas of writes and of forgotten keys.

use crate::{
    fleet::{engine::Tag, node::Forgetting},
    http::fleet::LayerFleet,
    panics::CaughtPanic,
};
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

/// A seal on its way to the other replicas, and the panic of a key that was dropped for it here.
type Sealed = (Option<JoinHandle<()>>, CaughtPanic);

/// Seals the flights of a write on all replicas: when it is made, and when the write is answered or
/// given up.
pub(in crate::http) struct FleetSeal {
    /// Seals. `None` once that was done for the second time.
    seal: Option<Box<dyn Fn() -> Sealed + Send>>,
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
        let (tags, layer) = (self.tags_of_write(key, head), self.clone());
        let seal = Box::new(move || {
            let sealed = layer.seal_replica(&tags);
            (layer.seal_later(tags.clone(), None), sealed)
        });
        let (_, sealed) = seal();
        let within = self.fleet().config.enter_within;
        sealed.or_resume(FleetSeal { seal: Some(seal), within })
    }
}

impl<K> LayerFleet<K> {
    /// Seals on the other replicas, in a task. It goes on if the handle is dropped. `until`: what
    /// is dropped when the others know.
    pub(super) fn seal_later(
        &self,
        tags: Vec<Tag>,
        until: Option<Forgetting>,
    ) -> Option<JoinHandle<()>> {
        let (fleet, group) = (self.fleet().clone(), self.group().to_owned());
        let untold: Vec<_> = tags.into_iter().map(|tag| fleet.node.untold(tag)).collect();
        let life = LIFE + 2 * fleet.config.lease;
        Some(fleet.node.runtime()?.spawn(async move {
            let _until = until;
            let mut seals = JoinSet::new();
            for untold in untold {
                if seals.len() == AT_ONCE {
                    drop(seals.join_next().await);
                }
                let group = group.clone();
                seals.spawn(async move { untold.tell(&group, life, LATE).await });
            }
            while seals.join_next().await.is_some() {}
        }))
    }
}

impl FleetSeal {
    /// The write was answered. Waits until the others know of it, for as long as a request waits
    /// for the engine.
    pub(in crate::http) async fn answered(mut self) {
        if let Some(sealed) = self.seal_again() {
            drop(timeout(self.within, sealed).await);
        }
    }

    /// A panic in the `Drop` of a key has reached the panic hook: the write has its answer.
    fn seal_again(&mut self) -> Option<JoinHandle<()>> {
        let (told, sealed) = self.seal.take()?();
        sealed.forget();
        told
    }
}

impl Drop for FleetSeal {
    fn drop(&mut self) {
        drop(self.seal_again());
    }
}
