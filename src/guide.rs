//! Guides. They are part of the documentation only.

#[doc = include_str!("guide/faq.md")]
pub mod faq {}

#[doc = include_str!("guide/watch.md")]
pub mod watch {}

#[doc = include_str!("guide/runbook.md")]
pub mod runbook {}

#[doc = include_str!("guide/order.md")]
pub mod order {}

#[doc = include_str!("guide/frameworks.md")]
pub mod frameworks {}

#[doc = include_str!("guide/fleet.md")]
pub mod fleet {}

#[doc = include_str!("guide/promises.md")]
pub mod promises {}

#[doc = include_str!("guide/migrating.md")]
pub mod migrating {}

#[doc = include_str!("guide/peers.md")]
pub mod peers {}
