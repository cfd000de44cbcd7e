//! Which waiters may have a response, and what their clients are told about it.

pub(super) mod cache_control;
pub(super) mod cache_status;
pub(super) mod class;
pub(super) mod facts;
pub(super) mod field;
pub(super) mod flight_response;
pub(super) mod mark;
pub(super) mod recipients;
pub(super) mod vary;
pub(super) mod vary_headers;
