//! The numbers that a group or a layer counts.

pub(crate) use crate::sync::cores;

use std::fmt;

macro_rules! reasons {
    ($(#[$meta:meta])* pub enum $name:ident {
        $($(#[$doc:meta])* $variant:ident = $text:literal,)*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$doc])* $variant,)*
        }

        impl $name {
            /// All reasons.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Returns the reason as one word, for logs and labels.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

#[cfg(feature = "fleet")]
pub(crate) use reasons;

reasons! {
    /// Why a call passed: it went straight to the inner service, at once or after it left a flight.
    pub enum PassReason {
        /// The layer's `filter` returned `false`.
        Filter = "filter",
        /// The call was made inside the flight that it would have joined.
        Reentrant = "reentrant",
        /// The call's patience (`wait_at_most`) ended, and it was made inside the newer flight that
        /// it would have joined.
        Patience = "patience",
        /// Coalescing is turned off by `Handle::set_enabled(false)`.
        Disabled = "disabled",
        /// HTTP: requests with this method do not share. By default `GET` and `HEAD` do.
        Method = "method",
        /// HTTP: the request has a body.
        Body = "body",
        /// HTTP, `with_body`: the closure returned `None`.
        NoKey = "no-key",
        /// HTTP: a header of the request asks for an answer to this request only, such as `Range`.
        Header = "header",
        /// HTTP: the request says `no-store`.
        NoStore = "no-store",
        /// HTTP: the request's `Cache-Control` is malformed.
        Malformed = "malformed",
        /// HTTP: a recent response for this key was vetoed.
        Unshareable = "unshareable",
        /// HTTP: the bodies of the group hold more than `HttpPolicy::body_budget` allows.
        BodyBudget = "body-budget",
        /// HTTP: the request asks for another protocol.
        Upgrade = "upgrade",
    }
}

reasons! {
    /// HTTP: why followers did not get their leader's response, and sent their own requests.
    pub enum VetoReason {
        /// Its status may not be cached by default, such as 302. Or it is the last refusal in a row
        /// (`HttpPolicy::refusals`), such as 401.
        Status = "status",
        /// It sets a cookie.
        SetCookie = "set-cookie",
        /// Its `Cache-Control` says `private`, `no-store` or `no-cache`, or is malformed.
        CacheControl = "cache-control",
        /// Its `Vary` is `*`, is malformed, or names a header outside the partition.
        Vary = "vary",
        /// Bodies with its content type never end, such as `text/event-stream`.
        ContentType = "content-type",
        /// Its body is known to be larger than the limit, or its `Content-Length` is malformed.
        BodyTooLarge = "body-too-large",
    }
}

reasons! {
    /// Why a call led a flight although a flight for its key was in progress.
    pub enum NearMiss {
        /// HTTP: the requests differ in something that the policy compares besides the key: a
        /// header, the host, the query.
        Partition = "partition",
        /// HTTP: the head of the response was known already, and its body still streamed.
        HeadKnown = "head-known",
        /// The flight was older than `join_within` allows.
        TooOld = "too-old",
        /// The flight had as many waiters as `max_waiters` allows.
        Full = "full",
        /// The flight was forgotten, or a write sealed it.
        Sealed = "sealed",
    }
}

/// The counters of a layer or a group: totals since it was made, and two gauges. Made by
/// [`Handle::stats`](crate::Handle::stats) and [`Group::stats`](crate::Group::stats).
///
/// `Display` prints one line. Except for the first three numbers, it leaves out zeros.
///
/// ```
/// # let handle = tower_singleflight::SingleflightLayer::by_key(|id: &u32| *id).handle();
/// // led 10, joined 90, passed 3 (method 2, body 1), in flight 1, waiting 4
/// println!("{}", handle.stats());
/// # assert_eq!(handle.stats().to_string(), "led 0, joined 0, passed 0, in flight 0, waiting 0");
/// ```
///
/// The counters are relaxed: a snapshot that is taken while calls run may include one half of an
/// event and not the other.
///
/// The features `metrics` and `tracing` report the same and more: see [the
/// guide](crate::guide::watch).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Calls that led a flight.
    pub led: u64,
    /// Calls that joined a flight: Go's `dups`.
    ///
    /// A call that joined counts here and not in `led`, even if it then leads a lost flight again,
    /// leads the next flight after a refusal or an error, loses its patience, or gets a response
    /// that is not for it.
    pub joined: u64,
    /// Calls that passed: the sum over all reasons, see [`passed_by`](Stats::passed_by).
    pub passed: u64,
    /// Followers that did not get their leader's response: the sum over all reasons, see
    /// [`vetoed_by`](Stats::vetoed_by).
    pub vetoed: u64,
    /// Flights whose work was dropped because all waiters had left.
    pub cancelled: u64,
    /// Flights whose work panicked.
    pub panicked: u64,
    /// Flights that were lost with their runtime or task before they had a result.
    pub lost: u64,
    /// Results that went to the leader only, while the followers made one more call together:
    /// refusals over HTTP, and errors with
    /// [`followers_retry`](crate::SingleflightLayer::followers_retry).
    pub refused: u64,
    /// Followers that waited as long as `wait_at_most` allows, and then led or joined a newer
    /// flight. Each of them counts in `led` or `joined` a second time.
    pub timed_out: u64,
    /// Flights in progress, including forgotten ones.
    pub in_flight: usize,
    /// Waiters of the flights in progress, including leaders.
    pub waiting: usize,
    pub(crate) passed_by: [u64; PassReason::ALL.len()],
    pub(crate) vetoed_by: [u64; VetoReason::ALL.len()],
    pub(crate) near_misses_by: [u64; NearMiss::ALL.len()],
}

impl Stats {
    /// Returns how many calls led although a flight for their key was in progress: the sum over all
    /// reasons, see [`near_misses_by`](Stats::near_misses_by). This number explains a line such as
    /// "led 10, joined 0".
    ///
    /// Near misses are found in a way that costs a call almost nothing. In a group with hundreds of
    /// flights in progress, some of them are not counted. A call that is counted was always a near
    /// miss.
    pub fn near_misses(&self) -> u64 {
        self.near_misses_by.iter().sum()
    }

    /// Returns how many calls led for this reason although a flight for their key was in progress.
    pub fn near_misses_by(&self, reason: NearMiss) -> u64 {
        self.near_misses_by[reason as usize]
    }

    /// Returns how many calls passed for this reason.
    pub fn passed_by(&self, reason: PassReason) -> u64 {
        self.passed_by[reason as usize]
    }

    /// Returns how many followers did not get their leader's response for this reason.
    pub fn vetoed_by(&self, reason: VetoReason) -> u64 {
        self.vetoed_by[reason as usize]
    }
}

/// Prints one line.
impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "led {}, joined {}", self.led, self.joined)?;
        display_total(
            f,
            "passed",
            self.passed,
            PassReason::ALL.iter().map(|r| (r.as_str(), self.passed_by(*r))),
            true,
        )?;
        display_total(
            f,
            "vetoed",
            self.vetoed,
            VetoReason::ALL.iter().map(|r| (r.as_str(), self.vetoed_by(*r))),
            false,
        )?;
        for (what, count) in [
            ("refused", self.refused),
            ("timed out", self.timed_out),
            ("cancelled", self.cancelled),
            ("panicked", self.panicked),
            ("lost", self.lost),
        ] {
            display_total(f, what, count, [], false)?;
        }
        let near_misses = NearMiss::ALL.iter().map(|r| (r.as_str(), self.near_misses_by(*r)));
        display_total(f, "near misses", self.near_misses(), near_misses, false)?;
        write!(f, ", in flight {}, waiting {}", self.in_flight, self.waiting)
    }
}

/// Prints a total and its parts in brackets. Leaves out parts that are zero.
fn display_total(
    f: &mut fmt::Formatter<'_>,
    what: &str,
    total: u64,
    parts: impl IntoIterator<Item = (&'static str, u64)>,
    always: bool,
) -> fmt::Result {
    if total == 0 && !always {
        return Ok(());
    }
    write!(f, ", {what} {total}")?;
    let mut opening = " (";
    for (part, count) in parts.into_iter().filter(|(_, count)| *count > 0) {
        write!(f, "{opening}{part} {count}")?;
        opening = ", ";
    }
    f.write_str(if opening == ", " { ")" } else { "" })
}
