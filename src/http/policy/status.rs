//! What a status says about who may have its response.

use http::StatusCode;
use std::ops::{Range, RangeInclusive};

/// One status, or a range of them: what [`HttpPolicy::share_status`](super::HttpPolicy::share_status) and
/// [`veto_status`](super::HttpPolicy::veto_status) take.
///
/// ```
/// use http::StatusCode;
/// use tower_singleflight::HttpPolicy;
///
/// let policy = HttpPolicy::default()
///     .share_status(400..=499)
///     .veto_status(StatusCode::FORBIDDEN)
///     .veto_status(500..600);
/// # let _ = policy;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusRange {
    first: u16,
    /// Exclusive, and wider than a status, so that any range fits.
    end: u32,
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

/// Who may have a response, by its status alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StatusRule {
    /// All, unless its headers are against it.
    Share,
    /// All, if its headers let a cache store it.
    ShareIfStorable,
    /// Its leader.
    Veto,
    /// Its leader: it judges the requester.
    Refuse,
}

impl StatusRule {
    /// What holds where the user says nothing.
    pub(super) fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            206 => Self::Veto,
            // Heuristically cacheable (RFC 9110 §15.1), or asked for by the same conditions.
            200 | 203 | 204 | 300 | 301 | 304 | 308 => Self::Share,
            200..=399 => Self::ShareIfStorable,
            // These speak of the resource.
            404 | 410 | 451 => Self::Share,
            400..=499 | 511 => Self::Refuse,
            _ => Self::Share,
        }
    }
}
