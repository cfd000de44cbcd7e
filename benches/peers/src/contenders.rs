//! What is measured: this crate and its peers, each used as its own documentation says.

mod async_singleflight;
mod bare;
mod by_key;
mod coalesce;
mod group;
mod moka;
mod quick_cache;
mod shared;
mod singleflight_async;

use crate::{contender::Visit, work::Work};

pub(crate) fn visit_all<W: Work>(visit: &mut impl Visit<W>) {
    visit.visit::<bare::Bare<W>>();
    visit.visit::<by_key::ByKey<W>>();
    visit.visit::<group::Group<W>>();
    visit.visit::<coalesce::Coalesce<W>>();
    visit.visit::<async_singleflight::AsyncSingleflight<W>>();
    visit.visit::<singleflight_async::SingleflightAsync<W>>();
    visit.visit::<moka::Moka<W>>();
    visit.visit::<quick_cache::QuickCache<W>>();
    visit.visit::<shared::SharedMap<W>>();
}

#[cfg(test)]
mod tests;
