//! Seals flights when a write happens, so that no later read gets an answer from before the write.

#[cfg(feature = "fleet")]
use crate::http::fleet::FleetSeal;
use crate::http::{layer::Http, path::path_hash, settings::HttpMode};
use crate::{layer::settings::Settings, layer::tables::GroupTables, panics::CaughtPanic};
use http::Request;
use std::{hash::Hash, pin::Pin, sync::Arc};

/// Seals the flights of a write again when it is dropped, or when it is told of the answer.
pub(super) trait WriteSeal: Send {
    /// The write was answered. The answer waits for the future, if there is one.
    fn answered(self: Box<Self>) -> Option<Pin<Box<dyn Future<Output = ()> + Send>>>;
}

/// Seals the flights of a key and of a path, when it is made and again when it is dropped.
///
/// A read that comes after a write must not get an answer from before it (RFC 9111 §4.4). A write
/// takes effect at some time between its start and its answer. This is dropped when the write is
/// answered, fails or is cancelled.
pub(super) struct Seal<K: Eq> {
    group: Arc<GroupTables<K>>,
    hash: u64,
    /// `None` once nothing is left to seal.
    key: Option<K>,
    path: u64,
}

/// Seals the flights of a path, whatever their key, when it is dropped.
struct SealPath<K> {
    group: Arc<GroupTables<K>>,
    path: u64,
}

/// Seals all flights when it is dropped. For a write whose key is not known.
pub(super) struct SealAll<K>(Arc<GroupTables<K>>);

impl<K: Eq> Seal<K> {
    fn new(group: Arc<GroupTables<K>>, hash: u64, key: K, path: u64) -> Self {
        let mut seal = Self { group, hash, key: Some(key), path };
        let mut caught = CaughtPanic::default();
        seal.seal_flights(&mut caught);
        if caught.is_some() {
            // Without its key, the drop does not panic a second time.
            caught.drop_caught(seal.key.take());
        }
        caught.or_resume(seal)
    }

    fn seal_flights(&self, caught: &mut CaughtPanic) {
        if let Some(key) = &self.key {
            caught.run(|| {
                self.group.for_each(|table| table.seal(self.hash, &|other| other == key, self.path))
            });
        }
    }
}

impl<M: HttpMode> Settings<M> {
    /// Seals the flights of the path of a write that has no key, now and when the returned value is
    /// dropped. `None`: not a write.
    pub(super) fn seal_path(&self, head: &Request<()>) -> Option<Box<dyn WriteSeal>> {
        if !self.http().policy.is_write_without_key(head.method()) {
            return None;
        }
        let (group, path) = (self.http().keys.group.clone(), path_hash(head));
        drop(SealPath { group: group.clone(), path });
        Some(Box::new(LocalSeal(SealPath { group, path })))
    }
}

impl<K: Hash + Eq + Send + Sync + 'static> Settings<Http<K>> {
    /// Seals the flights of a write's key and path, now and when the returned value is dropped.
    /// `None`: not a write.
    ///
    /// While the layer is disabled no flight can be joined, and the key closure is not called. All
    /// flights are sealed at the end, because the layer may have been enabled before the write is
    /// answered.
    pub(super) fn seal(&self, head: &Request<()>) -> Option<Box<dyn WriteSeal>> {
        if !self.http().policy.is_write(head.method()) {
            return None;
        }
        let path = path_hash(head);
        if !self.is_enabled() {
            let seal = SealAll(self.http().keys.group.clone());
            #[cfg(feature = "fleet")]
            if let Some(fleet) = &self.http().fleet {
                return Some(Box::new(SealBoth { seal, fleet: fleet.seal_write(None, head) }));
            }
            return Some(Box::new(LocalSeal(seal)));
        }
        let key = self.mode.key(head);
        let hash = self.http().keys.layer.address(&key).hash;
        #[cfg(feature = "fleet")]
        if let Some(fleet) = &self.http().fleet {
            let fleet = fleet.seal_write(Some(&key), head);
            let seal = Seal::new(self.http().keys.group.clone(), hash, key, path);
            return Some(Box::new(SealBoth { seal, fleet }));
        }
        Some(Box::new(LocalSeal(Seal::new(self.http().keys.group.clone(), hash, key, path))))
    }
}

/// Seals flights of this process only.
struct LocalSeal<L>(L);

impl<L: Send> WriteSeal for LocalSeal<L> {
    fn answered(self: Box<Self>) -> Option<Pin<Box<dyn Future<Output = ()> + Send>>> {
        drop(self.0);
        None
    }
}

/// Seals flights of this process, and of the other replicas.
#[cfg(feature = "fleet")]
struct SealBoth<L> {
    /// Dropped first: this process does not wait for the engine.
    seal: L,
    fleet: FleetSeal,
}

#[cfg(feature = "fleet")]
impl<L: Send> WriteSeal for SealBoth<L> {
    fn answered(self: Box<Self>) -> Option<Pin<Box<dyn Future<Output = ()> + Send>>> {
        let Self { seal, fleet } = *self;
        drop(seal);
        Some(Box::pin(fleet.answered()))
    }
}

impl<K: Eq> Drop for Seal<K> {
    fn drop(&mut self) {
        let mut caught = CaughtPanic::default();
        self.seal_flights(&mut caught);
        caught.drop_caught(self.key.take());
        caught.resume();
    }
}

impl<K> Drop for SealPath<K> {
    fn drop(&mut self) {
        self.group.for_each(|table| table.seal(0, &|_| false, self.path));
    }
}

impl<K> Drop for SealAll<K> {
    fn drop(&mut self) {
        self.0.for_each(|table| table.forget_if(&mut |_| true));
    }
}
