//! Which clients may have a response, by its status.

use http::StatusCode;
use std::ops::{Range, RangeInclusive};

/// One status or a range of statuses, for
/// [`HttpPolicy::share_status`](super::HttpPolicy::share_status) and
/// [`veto_status`](super::HttpPolicy::veto_status).
///
/// ```
/// use http::StatusCode;
/// use tower_singleflight::HttpPolicy;
///
/// let policy = HttpPolicy::new()
///     .share_status(400..=499)
///     .veto_status(StatusCode::FORBIDDEN)
///     .veto_status(500..600);
/// # let _ = policy;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusRange {
    pub(super) first: u16,
    /// Exclusive. It is a `u32` because `..=u16::MAX` ends above `u16::MAX`.
    pub(super) end: u32,
}

impl From<StatusCode> for StatusRange {
    fn from(status: StatusCode) -> Self {
        (status.as_u16()..=status.as_u16()).into()
    }
}

impl From<Range<u16>> for StatusRange {
    fn from(range: Range<u16>) -> Self {
        Self { first: range.start, end: range.end.into() }
    }
}

impl From<RangeInclusive<u16>> for StatusRange {
    fn from(range: RangeInclusive<u16>) -> Self {
        Self { first: *range.start(), end: u32::from(*range.end()) + 1 }
    }
}

impl StatusRange {
    pub(super) fn contains(&self, status: StatusCode) -> bool {
        let status = status.as_u16();
        self.first <= status && u32::from(status) < self.end
    }
}

/// Which clients may have a response, by its status alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StatusRule {
    /// All, unless its headers forbid it.
    Share,
    /// All, if its headers allow a cache to store it.
    ShareIfStorable,
    /// Only its leader.
    Veto,
    /// Only its leader, because it judges the client that asked.
    Refuse,
}

impl StatusRule {
    /// Returns the default rule.
    pub(super) fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            206 => Self::Veto,
            // Heuristically cacheable (RFC 9110 §15.1). 304 answers requests with the same
            // conditions.
            200 | 203 | 204 | 300 | 301 | 304 | 308 => Self::Share,
            200..=399 => Self::ShareIfStorable,
            // These judge the resource.
            404 | 410 | 451 => Self::Share,
            400..=499 | 511 => Self::Refuse,
            _ => Self::Share,
        }
    }
}
