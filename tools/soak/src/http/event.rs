//! The ends that a visit may come to, by the names under which they are counted.

pub(super) const WHOLE: &str = "http: read to the end";
pub(super) const HEAD: &str = "http: got the head that it asked for";
pub(super) const LEFT_BEFORE_HEAD: &str = "http: left before the head";
pub(super) const LEFT_IN_BODY: &str = "http: left in the body";
pub(super) const CUT_SHORT: &str = "http: got a body that the origin cut short";
/// Rare.
pub(crate) const CUT_OFF: &str = "http: was cut off, for it lagged behind";
pub(super) const NO_ANSWER: &str = "http: got 502 for an origin that gave no answer";
pub(super) const NO_GATEWAY: &str = "http: got no head from a gateway that went down";
pub(super) const FELL_WITH_GATEWAY: &str = "http: got a body that broke off with its gateway";

/// Seen by a client that was about to connect. Not an end of a visit, so it has a part of its own.
pub(crate) const SPILLED: &str = "spill: a file was open";

/// Rare, and nothing that has to be met.
pub(super) const NO_HEAD: &str = "http: got no head, for its body broke off at once";
pub(super) const HEAD_ALONE: &str = "http: got the head of another's 429, whose body was too large";

pub(crate) const ALL: [&str; 8] = [
    WHOLE,
    HEAD,
    LEFT_BEFORE_HEAD,
    LEFT_IN_BODY,
    CUT_SHORT,
    NO_ANSWER,
    NO_GATEWAY,
    FELL_WITH_GATEWAY,
];
