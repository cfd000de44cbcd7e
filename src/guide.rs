//! Guides. They are part of the documentation only.

#[doc = include_str!("guide/start.md")]
pub mod start {}

#[doc = include_str!("guide/keys.md")]
pub mod keys {}

#[doc = include_str!("guide/sharing.md")]
pub mod sharing {}

#[doc = include_str!("guide/bodies.md")]
pub mod bodies {}

#[doc = include_str!("guide/order.md")]
pub mod order {}

#[doc = include_str!("guide/fleet.md")]
pub mod fleet {}

#[doc = include_str!("guide/watch.md")]
pub mod watch {}

#[doc = include_str!("guide/runbook.md")]
pub mod runbook {}

#[doc = include_str!("guide/testing.md")]
pub mod testing {}

#[doc = include_str!("guide/when_not.md")]
pub mod when_not {}

#[doc = include_str!("guide/performance.md")]
pub mod performance {}

#[doc = include_str!("guide/migrating.md")]
pub mod migrating {}

#[doc = include_str!("guide/faq.md")]
pub mod faq {}

#[doc = include_str!("guide/peers.md")]
pub mod peers {}

#[doc = include_str!("guide/promises.md")]
pub mod promises {}
