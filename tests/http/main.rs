//! The HTTP layer: what it shares and what it does not, in process and over real sockets.
#![cfg(feature = "http")]

mod body;
mod bounds;
mod completion;
mod cookies;
mod errors;
mod go_on;
mod hold_for;
mod hostile;
mod late;
mod lost;
mod near_misses;
mod net;
mod no_body;
mod odd;
mod own_headers;
mod partition;
mod pass;
mod property;
mod readers;
mod refusals;
#[path = "../support/mod.rs"]
mod shared;
#[cfg(feature = "spill")]
mod spill;
mod stacks;
mod start;
mod storm;
mod support;
mod switches;
mod uploads;
mod vary;
mod versions;
mod veto;
mod with_body;
mod write;
