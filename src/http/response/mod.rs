//! Which waiters may have a response, and what they are told about it.

pub(super) mod answer;
pub(super) mod cache_control;
pub(super) mod cache_status;
pub(super) mod field;
pub(super) mod vary;
pub(super) mod veto;
