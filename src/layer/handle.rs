//! The view from outside on what a layer does.

use crate::{layer::shared::LayerShared, stats::Stats};
use std::{borrow::Borrow, fmt, hash::Hash, sync::Arc};

/// Watches and steers every service that a layer made or will make, made by
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

    /// Later calls for `key` do not join the flights in progress: Go's `Forget`. Those who wait for them get
    /// their results.
    ///
    /// With HTTP, `key` is what the layer's closure returned: its flights are forgotten whatever their method
    /// and headers.
    pub fn forget<Q>(&self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.layer.forget_key(key, &|known: &K| known.borrow() == key);
    }

    /// Later calls for the keys for which `forget` says `true` do not join the flights in progress. `forget` is called
    /// once for each flight that calls may join; it may use the handle and the service. A panic in it goes on when all
    /// keys were asked.
    pub fn forget_if(&self, mut forget: impl FnMut(&K) -> bool) {
        self.layer.forget_if(&mut forget);
    }

    /// Later calls do not join any flight in progress. Those who wait get their results.
    pub fn forget_all(&self) {
        self.forget_if(|_| true);
    }

    /// Turns coalescing off (`false`) or on again: the emergency switch. While it is off every call passes, and the
    /// layer's closures are not called. The flights in progress land as usual, and no later call joins them.
    pub fn set_enabled(&self, enabled: bool) {
        self.layer.set_enabled(enabled);
    }

    /// How many flights are in progress, forgotten ones too.
    pub fn in_flight(&self) -> usize {
        self.stats().in_flight
    }

    /// How many callers wait for the flights in progress, leaders too.
    pub fn waiting(&self) -> usize {
        self.stats().waiting
    }

    /// What happened so far.
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
