//! One flight of one key, and its waiters. The core knows neither tower nor HTTP.
//!
//! A call enters the table ([`shard`]). It opens a flight there, or joins one. Either way it gets a
//! [`waiter`], which reaches the flight through its [`slot`]. The flight itself is plain data
//! ([`flight`]). Each action of a waiter is a transition of that data. It runs under the lock of
//! the shard, and returns the work that is left for the time after the lock. While a flight has one
//! waiter, that waiter polls the work in place ([`drive`]). When a second one joins, a [`task`]
//! does.
//!
//! # Panics of user code
//!
//! First the state, last the user's values. A transition makes the state right. Then the other
//! waiters are woken. What belongs to the user (work, keys, values, wakers) is dropped after that,
//! under no lock, and its panic goes to the caller that dropped it. A panic is caught in four
//! places, because another caller would suffer otherwise:
//!
//! - A panic of the work ends its flight, and every waiter panics with the same message. The work's
//!   drop is part of its last poll: if that panics, the flight lands first.
//! - A waker that panics does not leave the other waiters asleep.
//! - A hook, or a closure that is asked about many flights, that panics for one flight is done with
//!   the others first.
//! - Subscribers and recorders (`observe`) never disturb a call.
//!
//! A second panic while one unwinds may abort the process, as anywhere in Rust.

pub(crate) mod drive;
mod entries;
pub(crate) mod flight;
pub(crate) mod group;
pub(crate) mod hold;
pub(crate) mod key;
pub(crate) mod reentry;
pub(crate) mod rules;
pub(crate) mod seats;
pub(crate) mod shard;
pub(crate) mod slot;
pub(crate) mod slots;
pub(crate) mod task;
pub(crate) mod waiter;
