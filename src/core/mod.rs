//! One flight of one key, and its waiters. It knows neither tower nor HTTP.

pub(crate) mod drive;
pub(crate) mod flight;
pub(crate) mod group;
pub(crate) mod key;
pub(crate) mod reentry;
pub(crate) mod rules;
pub(crate) mod seats;
pub(crate) mod shard;
pub(crate) mod slot;
pub(crate) mod slots;
pub(crate) mod task;
pub(crate) mod waiter;
