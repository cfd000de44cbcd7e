//! The switches about flights in progress: time, memory, and what is said.

use std::time::Duration;

use super::{
    super::{body::SlowReader, response::field::is_token_byte},
    HttpPolicy,
};

/// Who may join a flight after its response's head is known.
///
/// Whoever joins then must also find the whole body from its first byte held,
/// and no write since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LateJoin {
    /// Whoever comes while the response says that it is fresh, by `max-age` or
    /// `s-maxage` (RFC 9111 §4.2.1).
    #[default]
    WhenFresh,
    /// Whoever comes.
    Always,
    /// Nobody: the next one leads a new flight.
    Never,
}

/// What the layer and the body read; the rest of this module is how users set it.
#[derive(Clone, Debug)]
pub(crate) struct FlightRules {
    pub(crate) late_joins: LateJoin,
    pub(crate) seal_on_write: bool,
    pub(crate) unshareable_keys: usize,
    pub(crate) unshareable_time: Duration,
    pub(crate) body_limit: u64,
    pub(crate) body_budget: u64,
    pub(crate) slow_reader: SlowReader,
    pub(crate) hold_back_at_most: Duration,
    /// Ready to stand in a `Cache-Status` header.
    pub(crate) cache_status: Option<String>,
}

impl Default for FlightRules {
    fn default() -> Self {
        Self {
            late_joins: LateJoin::default(),
            seal_on_write: true,
            unshareable_keys: 4096,
            unshareable_time: Duration::from_secs(30),
            body_limit: 16 << 20,
            body_budget: 256 << 20,
            slow_reader: SlowReader::default(),
            hold_back_at_most: Duration::from_secs(30),
            cache_status: None,
        }
    }
}

/// Flights in progress and their bodies.
impl HttpPolicy {
    /// Who joins after the head. Default: [`LateJoin::WhenFresh`]
    /// (RFC 9111 §4.2).
    ///
    /// *Risk of [`LateJoin::Always`]:* an answer begun before a request is
    /// given to it, without any word from the origin that it still holds.
    #[must_use]
    pub fn late_joins(mut self, who: LateJoin) -> Self {
        self.flight.late_joins = who;
        self
    }

    /// Whether a request with an unsafe method seals the flights of its key
    /// and of its path, when sent and again when answered. Default: yes (RFC 9111 §4.4).
    ///
    /// Unsafe is all but what IANA registers as safe (RFC 9110 §9.2.1):
    /// `GET`, `HEAD`, `OPTIONS`, `TRACE`, `PROPFIND`, `REPORT`, `SEARCH`,
    /// `QUERY`, `PRI`, and what [`methods`](Self::methods) names. A sealed
    /// flight takes nobody more. Only writes that come through this layer are seen,
    /// and only what they change under their own path, or under the key that
    /// the closure returns for them.
    ///
    /// *Risk:* without it, a read after a write may get the answer from before.
    #[must_use]
    pub fn seal_on_write(mut self, seal: bool) -> Self {
        self.flight.seal_on_write = seal;
        self
    }

    /// How many keys whose response was vetoed are remembered, and for how
    /// long. Default: 4096 keys, 30 s.
    ///
    /// Requests for such a key pass without waiting for a leader first; a
    /// response that may be shared ends it. Zero of either remembers nothing.
    ///
    /// *Risk:* of more, memory, and a key that has become shareable is asked
    /// for one by one until its time is up; of less, waiting in vain.
    #[must_use]
    pub fn unshareable_memory(mut self, keys: usize, time: Duration) -> Self {
        self.flight.unshareable_keys = keys;
        self.flight.unshareable_time = time;
        self
    }

    /// How many bytes of one body are kept for the reader that lags the most.
    /// Default: 16 MiB.
    ///
    /// What happens beyond is [`slow_reader`](Self::slow_reader)'s to say. A
    /// response known to be larger is not shared at all, except by
    /// [`share_large_bodies`](Self::share_large_bodies).
    ///
    /// *Risk:* of more, memory, up to [`body_budget`](Self::body_budget); of
    /// less, readers that are cut off.
    #[must_use]
    pub fn body_limit(mut self, bytes: u64) -> Self {
        self.flight.body_limit = bytes;
        self
    }

    /// How many bytes all bodies of a group may hold together. Default:
    /// 256 MiB.
    ///
    /// When it is spent nobody joins, nothing is kept for late joins, and the
    /// upstream of a body with a reader more than one frame behind pauses until
    /// it is no longer spent. Clients that stopped reading cannot keep it
    /// spent: as soon as somebody is kept out, or waits, a reader behind that
    /// has not moved for the pause of [`slow_reader`](Self::slow_reader) ends
    /// with an error, also if nobody waits for it. With [`SlowReader::Evict`]
    /// that is one that lags by more than a frame, at once; with
    /// [`SlowReader::BackPressure`] and [`SlowReader::Unbounded`] it is nobody.
    /// Each body may be two frames over; `Unbounded` heeds no budget. A clone of
    /// the layer that is given a policy of its own has a budget of its own.
    ///
    /// *Risk:* of more, memory; of less, less sharing under load.
    #[must_use]
    pub fn body_budget(mut self, bytes: u64) -> Self {
        self.flight.body_budget = bytes;
        self
    }

    /// What happens when a reader lags by [`body_limit`](Self::body_limit).
    /// Default: the upstream pauses until the reader has caught up by half; if
    /// it takes nothing for 1 s, it ends with an error.
    ///
    /// While the upstream pauses, newcomers do not join: they lead a flight of
    /// their own. For readers that go on reading, but slowly, see
    /// [`hold_back_at_most`](Self::hold_back_at_most).
    ///
    /// *Risk of evicting at once:* clients of about one speed lose each other's
    /// race now and then. *Of back-pressure:* one stalled reader stalls all, and
    /// a few can keep the budget spent. *Of unbounded:* memory as large as the
    /// body.
    #[must_use]
    pub fn slow_reader(mut self, what: SlowReader) -> Self {
        self.flight.slow_reader = what;
        self
    }

    /// How long slow readers may hold back the others of one body: the sum of
    /// all pauses of its upstream for a full window. Default: 30 s.
    ///
    /// When it is used up, the readers that are more than half a window behind
    /// end with an error. The time of those who are left begins anew: they have
    /// held nobody back. With zero, a full window is not waited for.
    ///
    /// This is for [`SlowReader::PauseThenEvict`] alone. It cuts short a pause
    /// that is longer. A pause that ends because a reader stopped, and pauses
    /// for [`body_budget`](Self::body_budget), do not count.
    ///
    /// *Risk:* of more, one slow client delays the others for that long; of
    /// less, readers are cut off although they read on.
    #[must_use]
    pub fn hold_back_at_most(mut self, time: Duration) -> Self {
        self.flight.hold_back_at_most = time;
        self
    }

    /// Adds `Cache-Status` to every response, under this name for the layer
    /// (RFC 9211). Default: no.
    ///
    /// Any printable ASCII will do; what is no token is quoted.
    ///
    /// *Risk:* clients learn that others ask for the same at the same time.
    ///
    /// # Panics
    ///
    /// If the name is empty or has other characters.
    #[must_use]
    pub fn cache_status(mut self, name: &str) -> Self {
        self.flight.cache_status = Some(structured_item(name));
        self
    }
}

/// A token if it can be one, else a string (RFC 8941 §3.3.4, §3.3.3).
fn structured_item(name: &str) -> String {
    let printable = name.bytes().all(|b| matches!(b, b' '..=b'~'));
    assert!(printable && !name.is_empty(), "a Cache-Status name must be printable ASCII");
    if is_structured_token(name) {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
    }
}

fn is_structured_token(name: &str) -> bool {
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '*');
    starts && name.bytes().all(|b| is_token_byte(&b) || b == b':' || b == b'/')
}
