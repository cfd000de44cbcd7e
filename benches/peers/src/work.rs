//! The inner work: what one call costs that nobody shares.

mod at_once;
mod backend;
mod gate;
mod nap;
mod tally;
mod tick;
mod yield_once;

pub(crate) use at_once::AtOnce;
pub(crate) use backend::{Answered, Backend, Work};
pub(crate) use gate::Gate;
pub(crate) use nap::Nap;
pub(crate) use tally::Tally;
pub(crate) use tick::Tick;
pub(crate) use yield_once::YieldOnce;
