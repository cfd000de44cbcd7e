//! For tests: an engine in the process, and the checks that every engine has to pass. With the
//! feature `fleet-testing`.

mod conformance;
#[cfg(test)]
mod explore;
mod memory;
mod store;

pub use conformance::conformance;
pub use memory::{Fault, MemoryEngine, Operation};
