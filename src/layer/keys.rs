//! Which requests a service coalesces, and the tables of their flights.

use crate::layer::{shared::LayerShared, tables::GroupTables};
use std::{fmt, sync::Arc};

/// A closure that returns the key of a request.
pub(crate) type Extract<Head, K> = Arc<dyn Fn(&Head) -> K + Send + Sync>;

type Filter<Head> = Arc<dyn Fn(&Head) -> bool + Send + Sync>;

/// The filter of a layer, and the tables of its flights.
///
/// This is inside of the mode, because a mode has `Head` and `K` as plain type parameters. So a
/// layer and a service need no `Mode` bound on their types.
pub struct Keys<Head, K> {
    filter: Option<Filter<Head>>,
    pub(crate) layer: Arc<LayerShared<K>>,
    pub(crate) group: Arc<GroupTables<K>>,
}

impl<Head: 'static, K: 'static> Keys<Head, K> {
    pub(crate) fn new() -> Self {
        let layer = LayerShared::new();
        let group = layer.common_group();
        Self { filter: None, layer: Arc::new(layer), group }
    }

    /// Returns the same filter with a group of their own.
    pub(crate) fn in_separate_group(&self) -> Self {
        Self { group: self.layer.separate_group(), ..self.clone() }
    }

    /// Adds a filter. A request must be accepted by all filters.
    pub(crate) fn add_filter(&mut self, filter: impl Fn(&Head) -> bool + Send + Sync + 'static) {
        self.filter = Some(match self.filter.take() {
            Some(earlier) => Arc::new(move |head| earlier(head) && filter(head)),
            None => Arc::new(filter),
        });
    }

    /// Returns `false` if a filter turns the request away.
    pub(crate) fn accepts(&self, head: &Head) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter(head))
    }
}

impl<Head, K> Clone for Keys<Head, K> {
    fn clone(&self) -> Self {
        Self { filter: self.filter.clone(), layer: self.layer.clone(), group: self.group.clone() }
    }
}

impl<Head, K> fmt::Debug for Keys<Head, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("layer", &self.layer).finish_non_exhaustive()
    }
}
