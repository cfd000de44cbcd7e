//! The layer for any [`Service`](tower_service::Service): its settings, the services that it makes, and their calls.

pub(crate) mod future;
pub(crate) mod handle;
pub mod mode;
pub(crate) mod scope;
pub(crate) mod service;
pub(crate) mod settings;
pub(crate) mod site;
