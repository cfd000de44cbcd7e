//! The handle of a layer.

use crate::{layer::shared::LayerShared, stats::Stats};
use std::{borrow::Borrow, fmt, hash::Hash, sync::Arc};

/// Watches and steers every service that a layer makes. Made by
/// [`SingleflightLayer::handle`](crate::SingleflightLayer::handle). Cheap to clone.
///
/// ```
/// use tower_singleflight::SingleflightLayer;
///
/// let layer = SingleflightLayer::by_key(|name: &String| name.clone());
/// let handle = layer.handle();
/// // … and after a write:
/// handle.forget("alice");
/// assert_eq!(handle.in_flight(), 0);
/// ```
pub struct Handle<K> {
    layer: Arc<LayerShared<K>>,
}

impl<K: Hash + Eq + Send + Sync + 'static> Handle<K> {
    pub(crate) fn new(layer: Arc<LayerShared<K>>) -> Self {
        Self { layer }
    }

    /// Forgets `key`, as Go's `Forget` does: later calls for it do not join the flights in
    /// progress. The waiters of those flights still get their results.
    ///
    /// With HTTP, `key` is the value that the layer's closure returned. All flights for it are
    /// forgotten, whatever their method and headers.
    ///
    /// With a [fleet](crate::SingleflightLayer#method.fleet), the other replicas are told, and
    /// nobody waits for that: typically they forget the key within a millisecond. They find it by
    /// what it gives to a hasher:
    ///
    /// - Keys that their `Hash` does not tell apart are forgotten together there.
    /// - A replica does not find the key if its build or its kind of machine hashes it in another
    ///   way. So far, strings and single numbers are hashed alike everywhere, but `std` does not
    ///   promise that for two versions of the compiler. Slices of numbers differ with the byte
    ///   order, and pointers with the process.
    pub fn forget<Q>(&self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.layer.forget_key(key, &|known: &K| known.borrow() == key);
    }

    /// Forgets all keys for which `forget` returns `true`.
    ///
    /// `forget` is called once for each flight that calls can join. It may use the handle and the
    /// service. If it panics, the panic is passed on after all keys were visited.
    ///
    /// With a [fleet](crate::SingleflightLayer#method.fleet), the other replicas forget the same
    /// keys, as with [`forget`](Self::forget). `forget` is not asked about keys that have flights
    /// on other replicas alone.
    pub fn forget_if(&self, mut forget: impl FnMut(&K) -> bool) {
        self.layer.forget_if(&mut forget);
    }

    /// Forgets all keys: later calls do not join any flight in progress. The waiters of those
    /// flights still get their results.
    ///
    /// With a [fleet](crate::SingleflightLayer#method.fleet), the other replicas forget all keys of
    /// the layer too, as with [`forget`](Self::forget).
    pub fn forget_all(&self) {
        self.layer.forget_all();
    }

    /// Turns coalescing off (`false`) or on again: the emergency switch.
    ///
    /// While it is off, every call passes, and the layer's closures are not called. The flights in
    /// progress land as usual, and no later call joins them.
    pub fn set_enabled(&self, enabled: bool) {
        self.layer.set_enabled(enabled);
    }

    /// Returns how many flights are in progress, including forgotten ones.
    pub fn in_flight(&self) -> usize {
        self.stats().in_flight
    }

    /// Returns how many callers wait for the flights in progress, including leaders.
    pub fn waiting(&self) -> usize {
        self.stats().waiting
    }

    /// Returns the counters of all services of the layer.
    pub fn stats(&self) -> Stats {
        self.layer.observer().stats()
    }
}

impl<K> Clone for Handle<K> {
    fn clone(&self) -> Self {
        Self { layer: self.layer.clone() }
    }
}

impl<K> fmt::Debug for Handle<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("layer", &self.layer).finish()
    }
}
