//! Late joins: a newcomer gets a response whose head is known, while its body still streams.

mod hold;
mod listed_body;
mod rules;
mod stream;
mod table;

pub(super) use listed_body::{ListedBody, UnlistOnDrop};
pub(super) use stream::{FleetListing, LateBody, LateStream};
pub(super) use table::LateTable;
