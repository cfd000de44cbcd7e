//! One flight of one key, and those who wait for it. It knows neither tower nor HTTP.

pub(crate) mod flight;
pub(crate) mod group;
pub(crate) mod lone;
pub(crate) mod reentry;
pub(crate) mod seats;
pub(crate) mod slots;
pub(crate) mod table;
pub(crate) mod task;
pub(crate) mod waiter;
