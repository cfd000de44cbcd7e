//! Which requests may share a flight, and with which other requests.

pub(super) mod admit;
pub(super) mod body;
pub(super) mod partition;
pub(super) mod record;
