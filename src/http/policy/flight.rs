//! The switches about flights in progress: time, memory, and the `Cache-Status` header.

#[cfg(feature = "spill")]
use std::path::PathBuf;
use std::time::Duration;

use super::{
    super::{body::SlowReader, response::field::is_token_byte},
    HttpPolicy,
};

/// Which requests may join a flight after its response's head is known.
///
/// In any case, the body must still be held from its first byte, and no write
/// may have sealed the flight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LateJoin {
    /// Requests that arrive while the response is fresh by its `max-age` or
    /// `s-maxage` (RFC 9111 §4.2.1).
    #[default]
    WhenFresh,
    /// All requests.
    Always,
    /// No request. The next one leads a new flight.
    Never,
}

/// The settings that the layer and the bodies read.
#[derive(Clone, Debug)]
pub(crate) struct FlightRules {
    pub(crate) late_joins: LateJoin,
    pub(crate) seal_on_write: bool,
    pub(crate) unshareable_keys: usize,
    pub(crate) unshareable_time: Duration,
    pub(crate) body_limit: u64,
    pub(crate) body_budget: u64,
    pub(crate) keep_start: u64,
    pub(crate) slow_reader: SlowReader,
    pub(crate) hold_back_at_most: Duration,
    #[cfg(feature = "spill")]
    pub(crate) spill: Option<u64>,
    /// The folder of the file. `None`: the folder of the system.
    #[cfg(feature = "spill")]
    pub(crate) spill_to: Option<PathBuf>,
    /// The name of the layer, as it is written in a `Cache-Status` header.
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
            keep_start: 1 << 20,
            slow_reader: SlowReader::default(),
            hold_back_at_most: Duration::from_secs(30),
            #[cfg(feature = "spill")]
            spill: None,
            #[cfg(feature = "spill")]
            spill_to: None,
            cache_status: None,
        }
    }
}

impl FlightRules {
    /// How long a body may be that is known to be shared.
    pub(crate) fn longest_shared(&self) -> u64 {
        #[cfg(feature = "spill")]
        if let Some(spill) = self.spill {
            return self.body_limit.max(spill);
        }
        self.body_limit
    }
}

/// Flights in progress and their bodies.
impl HttpPolicy {
    /// Sets which requests may join after the head is known. Default:
    /// [`LateJoin::WhenFresh`] (RFC 9111 §4.2).
    ///
    /// *Risk of [`LateJoin::Always`]:* a request gets an answer that the origin
    /// began before the request, and the origin did not say that it is still
    /// valid.
    #[must_use]
    pub fn late_joins(mut self, who: LateJoin) -> Self {
        self.flight.late_joins = who;
        self
    }

    /// Whether a request with an unsafe method seals the flights of its key and
    /// of its path, when it is sent and again when it is answered. Default: yes
    /// (RFC 9111 §4.4).
    ///
    /// No more requests join a sealed flight. All methods are unsafe except
    /// `GET`, `HEAD`, `OPTIONS`, `TRACE`, `PROPFIND`, `REPORT`, `SEARCH`,
    /// `QUERY` and `PRI`, which IANA registers as safe (RFC 9110 §9.2.1), and
    /// the methods that you name in [`methods`](Self::methods).
    ///
    /// The layer sees only writes that go through it. A write seals only its own
    /// path, and the key that the closure returns for it.
    ///
    /// *Risk:* without it, a read after a write may get an answer from before the
    /// write.
    #[must_use]
    pub fn seal_on_write(mut self, seal: bool) -> Self {
        self.flight.seal_on_write = seal;
        self
    }

    /// Sets how many keys with a vetoed response are remembered, and for how
    /// long. Default: 4096 keys, 30 s.
    ///
    /// Requests for such a key pass, without waiting for a leader first. A
    /// response that may be shared clears the key. If either value is zero,
    /// nothing is remembered.
    ///
    /// *Risk of more:* memory, and requests for a key that has become shareable
    /// are not coalesced until the first of them has its response. *Of less:*
    /// followers wait in vain.
    #[must_use]
    pub fn unshareable_memory(mut self, keys: usize, time: Duration) -> Self {
        self.flight.unshareable_keys = keys;
        self.flight.unshareable_time = time;
        self
    }

    /// Sets how many bytes of one body are kept for its slowest reader: the
    /// window of a reader. Default: 16 MiB.
    ///
    /// [`slow_reader`](Self::slow_reader) says what happens to a reader that is
    /// further behind. A response that is known to be larger is not shared, unless
    /// [`share_large_bodies`](Self::share_large_bodies) is set.
    ///
    /// *Risk of more:* memory, up to [`body_budget`](Self::body_budget). *Of
    /// less:* more readers are cut off.
    #[must_use]
    pub fn body_limit(mut self, bytes: u64) -> Self {
        self.flight.body_limit = bytes;
        self
    }

    /// Sets how many bytes all bodies of a layer may hold together. Default:
    /// 256 MiB.
    ///
    /// While the budget is exhausted:
    ///
    /// - No request joins, and nothing is kept for late joins.
    /// - The upstream of a body pauses if a reader of it is more than one frame
    ///   behind.
    /// - Stalled readers cannot hold the budget forever. As soon as a request is
    ///   kept out or a body waits, a reader that is behind and has not moved for
    ///   the pause of [`slow_reader`](Self::slow_reader) ends with an error, even
    ///   if no other reader of its body waits for it. With
    ///   [`SlowReader::Evict`] that happens at once to a reader that is more than
    ///   one frame behind. With [`SlowReader::BackPressure`] and
    ///   [`SlowReader::Unbounded`] it never happens.
    ///
    /// Each body may exceed the budget by two frames. [`SlowReader::Unbounded`]
    /// ignores the budget. Each layer value, and each clone with a policy of its
    /// own, has a budget of its own. So has each service of a layer with
    /// [`separate_groups`](crate::SingleflightLayer::separate_groups).
    ///
    /// *Risk of more:* memory. *Of less:* less sharing under load.
    #[must_use]
    pub fn body_budget(mut self, bytes: u64) -> Self {
        self.flight.body_budget = bytes;
        self
    }

    /// Sets how many bytes of a body's start are kept for late joins while one
    /// reader is alone. Default: 1 MiB.
    ///
    /// So the second viewer of a stream joins the first. It applies where requests
    /// may join late ([`late_joins`](Self::late_joins)). Once a lone reader has had
    /// more than this, its body keeps nothing, and no request joins any more. The
    /// start counts into [`body_budget`](Self::body_budget), and is kept only while
    /// half of that is free. While a body has several readers, as much of its start
    /// is kept as fits [`body_limit`](Self::body_limit).
    ///
    /// *Risk of more:* memory, for each fresh response that streams. *Of less:*
    /// requests that arrive while one client reads lead a flight of their own.
    #[must_use]
    pub fn keep_start(mut self, bytes: u64) -> Self {
        self.flight.keep_start = bytes;
        self
    }

    /// Sets what happens when a reader is [`body_limit`](Self::body_limit)
    /// behind. By default the upstream pauses until the reader has caught up by
    /// half. If the reader takes nothing for 1 s, it ends with an error.
    ///
    /// While the upstream pauses, new requests do not join. They lead a flight of
    /// their own. For readers that go on reading, but slowly, see
    /// [`hold_back_at_most`](Self::hold_back_at_most).
    ///
    /// *Risk of evicting at once:* clients of about the same speed are cut off now
    /// and then. *Of back-pressure:* one stalled reader stalls all others, and a
    /// few of them can keep the budget exhausted. *Of unbounded:* memory as large
    /// as the body.
    #[must_use]
    pub fn slow_reader(mut self, what: SlowReader) -> Self {
        self.flight.slow_reader = what;
        self
    }

    /// Sets how long slow readers may hold back the other readers of one body.
    /// Default: 30 s.
    ///
    /// This is the sum of all times that the upstream pauses because a window is
    /// full. When it is used up, the readers that are more than half a window
    /// behind end with an error, and the count starts again at zero for the
    /// others. With zero, the upstream does not pause for a full window.
    ///
    /// This applies to [`SlowReader::PauseThenEvict`] only, and cuts a longer
    /// pause short. Pauses that end because a reader stopped, and pauses for
    /// [`body_budget`](Self::body_budget), do not count.
    ///
    /// *Risk of more:* one slow client delays the others for that long. *Of less:*
    /// clients are cut off although they go on reading.
    #[must_use]
    pub fn hold_back_at_most(mut self, time: Duration) -> Self {
        self.flight.hold_back_at_most = time;
        self
    }

    /// Moves the lag of slow readers to a temporary file, of this many bytes for
    /// all bodies of a group together. Default: no file.
    ///
    /// What a reader is behind beyond [`body_limit`](Self::body_limit) is then
    /// written to disk, and read back when the reader comes to it. So slow readers
    /// hold no other reader back, and are not cut off. A body that is known to be
    /// larger than `body_limit` is shared as well, up to this size. So one upstream
    /// call serves a large download to clients of any speed.
    ///
    /// - A reader that is within the window never waits for the disk. All reads and
    ///   writes run in the blocking pool of tokio.
    /// - A body may hold 4 MiB beyond its window while the disk writes. If the disk
    ///   is slower than the upstream, the upstream pauses until the disk has caught
    ///   up. Each reader that reads from the file holds up to 256 KiB more. They are
    ///   not counted in [`body_budget`](Self::body_budget).
    /// - While [`body_budget`](Self::body_budget) is exhausted, bodies write what
    ///   their readers are behind, even within the window.
    /// - When the file is full, when a write fails, or when it takes longer than the
    ///   pause of [`slow_reader`](Self::slow_reader), and outside of a tokio
    ///   runtime, the rule of `slow_reader` applies as without a file. After a
    ///   failed write it does so for the rest of that body. Only a reader whose lag
    ///   is in the file and cannot be read back ends with an error for it.
    /// - The file has no name, is opened when a body first needs it, and is closed
    ///   when no reader needs it any more. Space that every reader has passed is
    ///   used again. Space is given out in units of 64 KiB.
    ///
    /// A clone of the layer with a policy of its own has a file of its own.
    ///
    /// *Risk:* response bodies reach the disk, where they can outlive a crash of
    /// the machine. A reader that never reads holds its part of the file until it
    /// is dropped, or until the file is full. Set a timeout for writes on the
    /// server's connections.
    #[cfg(feature = "spill")]
    #[must_use]
    pub fn spill(mut self, bytes: u64) -> Self {
        self.flight.spill = Some(bytes);
        self
    }

    /// Sets the folder for the file of [`spill`](Self::spill). Default: the
    /// system's folder for temporary files.
    ///
    /// The folder is first used when a body needs the file. On many systems `/tmp`
    /// is in memory: name a folder on a disk there.
    #[cfg(feature = "spill")]
    #[must_use]
    pub fn spill_to(mut self, folder: impl Into<PathBuf>) -> Self {
        self.flight.spill_to = Some(folder.into());
        self
    }

    /// Adds a `Cache-Status` header to every response, with this name for the
    /// layer (RFC 9211). By default there is none.
    ///
    /// The name may have any printable ASCII characters. It is quoted if it is
    /// not a token.
    ///
    /// *Risk:* clients learn that others ask for the same at the same time.
    ///
    /// # Panics
    ///
    /// Panics if the name is empty or has other characters.
    #[must_use]
    pub fn cache_status(mut self, name: &str) -> Self {
        self.flight.cache_status = Some(structured_item(name));
        self
    }
}

/// Writes a name as a token if possible, and else as a string (RFC 8941 §3.3.4, §3.3.3).
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
