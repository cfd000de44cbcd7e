//! Which waiters may have a response, and what they are told about it.

pub(super) mod cache_control;
pub(super) mod cache_status;
pub(super) mod field;
pub(super) mod flight_response;
pub(super) mod vary;
pub(super) mod veto;
