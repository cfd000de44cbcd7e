//! The engine of a fleet: what a store such as Redis does for it, for those who bring another.
//!
//! Each operation is atomic, and may be lost: with its connection, with its reply, or with the
//! state behind it. The fleet copes with all of that. It never retries an operation, except
//! [`land`](Engine::land), once.
//!
//! # The state behind an engine
//!
//! | Under | Until | Holds |
//! |---|---|---|
//! | a [`Name`] | the lease ends, or the flight closes | the **open flight**: its leader's token, the epoch at which it began, whether anybody follows; or the mark "unshareable" |
//! | a [`Name`] | a second after the lease | the **waiting tokens**: those that follow the open flight |
//! | a name and a flight | the lease ends, or `keep` after it landed | the **closed flight**: its waiting tokens |
//! | a name and a flight | `keep` | the **payload** of a flight that landed |
//! | a [tag](Name::tag) | its life | the **epoch**: it changes with every write. None is an epoch as well |
//!
//! A flight is named by the [`Token`] of its leader.

use bytes::Bytes;
use std::{error::Error, fmt, pin::Pin, str::FromStr, sync::Arc, time::Duration};

/// A future of an engine.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The result of an operation.
pub type EngineResult<'a, T> = BoxFuture<'a, Result<T, EngineError>>;

/// Where an engine puts what it has to tell. It is called on the engine's own task, and returns at
/// once.
pub type Pushes = Arc<dyn Fn(Push) + Send + Sync>;

/// A store in which the flights of several processes meet.
///
/// All methods may gain defaulted companions in a minor version. `fleet::testing::conformance`
/// checks what is promised here.
pub trait Engine: Send + Sync + 'static {
    /// Delivers what concerns this replica to `pushes` from now on, on every connection that is
    /// made later as well. Called once, before any operation. It may begin to connect, does not
    /// wait for that, and needs no runtime.
    ///
    /// A push for a token is delivered at most once for each cause. It may be lost with the
    /// connection. In that case [`Push::Reconnected`] follows, after this replica can be reached
    /// again.
    fn listen(&self, replica: Replica, pushes: Pushes);

    /// Delivers [`Push::Sealed`] of this group to this replica as well, on every connection that is
    /// made later as well.
    fn watch(&self, group: &str);

    /// Whether the engine can be reached, as far as is known. While this is `false`, the fleet asks
    /// nothing.
    ///
    /// An engine that is down looks after its return itself. The first call inside a tokio runtime
    /// may start the task that does so.
    fn is_up(&self) -> bool;

    /// Leads a flight of `name`, or follows the one that is open.
    ///
    /// No open flight: `token` opens one, at the epoch that holds now, for `lease`. Tokens that
    /// still wait for one whose lease has ended get [`Push::Again`], and wait no more. The name is
    /// marked: [`Entry::Pass`]. An open flight that began at another epoch: [`Entry::Sealed`]. Else
    /// `token` waits for the open flight. If it is the first, the leader gets [`Push::Joined`].
    fn enter<'a>(
        &'a self,
        name: &'a Name,
        token: Token,
        lease: Duration,
    ) -> EngineResult<'a, Entry>;

    /// Closes the open flight if it is still `sealed`, without telling anybody, and
    /// [enters](Self::enter) after that, in one round trip. The tokens that wait for `sealed` go on
    /// waiting for it.
    fn shut_and_enter<'a>(
        &'a self,
        name: &'a Name,
        sealed: Token,
        token: Token,
        lease: Duration,
    ) -> EngineResult<'a, Entry>;

    /// Closes the flight: nobody can follow it from now on. If `tells`, each token that waits gets
    /// [`Push::Closed`].
    ///
    /// A flight that was closed already keeps waiting for its payload, for another `lease`, and
    /// names its tokens again.
    fn close<'a>(
        &'a self,
        name: &'a Name,
        flight: Token,
        lease: Duration,
        tells: bool,
    ) -> EngineResult<'a, Closed>;

    /// Gives the payload of a closed flight to all tokens that wait for it: each gets
    /// [`Push::Landed`]. The payload can be [fetched](Self::fetch) for `keep`. With `mark`, the
    /// name is marked unshareable for that long, unless a flight is open. `false`: the flight is
    /// lost, and nothing was told.
    ///
    /// # Errors
    ///
    /// [`EngineError::Refused`] if the store has no room. A payload of up to 8 KiB reaches the
    /// tokens all the same.
    fn land<'a>(
        &'a self,
        name: &'a Name,
        flight: Token,
        landing: Landing,
    ) -> EngineResult<'a, bool>;

    /// Extends the lease of each flight, open or closed, by one pipeline. In the same order:
    /// `false` where it was lost.
    fn renew<'a>(
        &'a self,
        flights: &'a [(Name, Token)],
        lease: Duration,
    ) -> EngineResult<'a, Vec<bool>>;

    /// Asks for each flight that is waited for, by one pipeline, and lets the token wait for it
    /// again if it is pending.
    fn check<'a>(&'a self, waiting: &'a [Waiting]) -> EngineResult<'a, Vec<Checked>>;

    /// Gives the flight up without a payload. Each token that waits gets [`Push::Again`]. With
    /// [`Token::MARK`] it removes the mark of the name.
    fn release<'a>(&'a self, name: &'a Name, flight: Token) -> EngineResult<'a, ()>;

    /// The payload of a flight that landed, if it is still kept. Ask once for each [`Push::Landed`]
    /// without one, and say [`done`](Self::done) after that.
    fn fetch<'a>(&'a self, name: &'a Name, flight: Token) -> EngineResult<'a, Option<Bytes>>;

    /// `token` waits no more. The last token takes the payload along.
    fn done<'a>(&'a self, waiting: &'a Waiting) -> EngineResult<'a, ()>;

    /// Sets the epoch of all names with this tag, for `life`, and tells all replicas that watch the
    /// group [`Push::Sealed`], this one too.
    fn seal<'a>(
        &'a self,
        tag: &'a Tag,
        group: &'a str,
        epoch: Epoch,
        life: Duration,
    ) -> EngineResult<'a, ()>;

    /// Returns once the engine has answered.
    fn ping(&self) -> EngineResult<'_, ()>;

    /// Whether the engine itself tells the log, with the cause, that it cannot be reached and that
    /// it is back. Then the fleet does not tell it as well. Default: `false`.
    fn logs_outages(&self) -> bool {
        false
    }
}

/// What an entering token is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Entry {
    /// Make the call: the token leads.
    Lead,
    /// Wait for a flight.
    Follow {
        /// The flight.
        flight: Token,
        /// What is left of its lease.
        left: Duration,
    },
    /// Make the call alone: the name is marked unshareable.
    Pass {
        /// For how long.
        left: Duration,
    },
    /// A write came between the start of a flight and now. Shut the flight, and enter again.
    Sealed {
        /// The flight.
        flight: Token,
    },
}

/// Who waits for a flight that was closed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Closed {
    /// No token. The flight leaves nothing behind.
    Alone,
    /// These tokens, in no particular order.
    Followed(Vec<Token>),
    /// The lease ended before, or the state was lost: the result must not be published.
    Lost,
}

/// What became of a flight that is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Checked {
    /// It landed: fetch its payload.
    Landed,
    /// It has yet to land. The token waits for it.
    Pending {
        /// What is left of its lease.
        left: Duration,
    },
    /// It is gone without a result.
    Gone,
}

/// The end of a flight, for those who wait.
#[derive(Clone, Debug)]
pub struct Landing {
    /// Sealed: an engine knows nothing of it but its length.
    pub payload: Bytes,
    /// How long the payload and the tokens are kept.
    pub keep: Duration,
    /// How long the name is marked unshareable, if it is.
    pub mark: Option<Duration>,
}

/// A token, and the flight that it waits for.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// The name of the flight.
    pub name: Name,
    /// The flight.
    pub flight: Token,
    /// The token that waits.
    pub token: Token,
}

/// What an engine tells a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Push {
    /// A flight that this replica leads has its first follower.
    Joined {
        /// The flight.
        flight: Token,
    },
    /// The flight that a token waits for was closed: its head is known.
    Closed {
        /// Who waits.
        token: Token,
    },
    /// The flight that a token waits for landed.
    Landed {
        /// Who waits.
        token: Token,
        /// `None`: it is to be fetched.
        payload: Option<Bytes>,
    },
    /// The flight that a token waits for was given up, or its lease has ended and another leads.
    /// Enter again.
    Again {
        /// Who waits.
        token: Token,
    },
    /// A write concerns all keys with a tag.
    Sealed {
        /// The tag.
        tag: Tag,
    },
    /// The engine can be reached again: pushes since the last one may be lost.
    Reconnected,
}

/// One process in a fleet: 8 random bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Replica([u8; 8]);

/// One request to lead or follow, and the flight that it leads: the replica and a counter. No token
/// is used twice.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token([u8; 16]);

/// The state of the writes to a key: 8 random bytes, other ones with each write.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch([u8; 8]);

/// Whom a write concerns: a MAC of a group and a path (or a key). All names with one tag belong
/// together, in one slot of a cluster.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tag([u8; 16]);

/// What a flight is for: a MAC of its group, key and partition, and the policy.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Name {
    tag: Tag,
    part: NamePart,
}

/// The part of a [`Name`] beside its tag: 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct NamePart([u8; 32]);

impl Replica {
    /// A replica with this number.
    pub fn new(number: [u8; 8]) -> Self {
        Self(number)
    }
}

impl Token {
    /// Stands for the mark "unshareable" where a name has no flight. No replica has it: a
    /// [`Replica`] is not all zeros.
    pub const MARK: Self = Self([0; 16]);

    /// The token with this number of a replica.
    pub fn new(replica: Replica, number: u64) -> Self {
        let mut token = [0; 16];
        token[..8].copy_from_slice(&replica.0);
        token[8..].copy_from_slice(&number.to_be_bytes());
        Self(token)
    }

    /// The replica that the token is of.
    pub fn replica(&self) -> Replica {
        let mut replica = [0; 8];
        replica.copy_from_slice(&self.0[..8]);
        Replica(replica)
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl Epoch {
    /// An epoch of these bytes, which must be random.
    pub fn new(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }
}

impl Tag {
    /// A tag of these bytes.
    pub fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl Name {
    /// A name of these bytes.
    pub fn new(tag: Tag, part: [u8; 32]) -> Self {
        Self { tag, part: NamePart(part) }
    }

    /// Whom a write concerns.
    pub fn tag(&self) -> &Tag {
        &self.tag
    }

    /// Tells names with one tag apart.
    pub fn part(&self) -> &NamePart {
        &self.part
    }
}

/// `Display` and `Debug` write lower-case hexadecimal digits, which `FromStr` reads.
macro_rules! hexadecimal {
    ($($name:ident: $bytes:literal),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = EngineError;

            fn from_str(text: &str) -> Result<Self, EngineError> {
                let mut bytes = [0; $bytes];
                read_hexadecimal(text.as_bytes(), &mut bytes).ok_or(EngineError::Garbled)?;
                Ok(Self(bytes))
            }
        }
    )*};
}

hexadecimal!(Replica: 8, Token: 16, Epoch: 8, Tag: 16);

/// 43 characters of base64url (RFC 4648 §5), without padding.
impl fmt::Display for NamePart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ALPHABET: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        self.0.chunks(3).try_for_each(|group| {
            let bits = group
                .iter()
                .chain([&0; 2])
                .take(3)
                .fold(0, |bits, byte| bits << 8 | usize::from(*byte));
            let characters = [18, 12, 6, 0].map(|shift| ALPHABET[bits >> shift & 63] as char);
            characters[..=group.len()].iter().try_for_each(|character| write!(f, "{character}"))
        })
    }
}

impl fmt::Debug for NamePart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn read_hexadecimal(text: &[u8], bytes: &mut [u8]) -> Option<()> {
    if text.len() != 2 * bytes.len() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(())
}

fn digit(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        _ => None,
    }
}

/// Why an operation has no result. The fleet goes on alone in all cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EngineError {
    /// The engine cannot be reached, or the connection was lost: the operation was done or not.
    Down,
    /// The engine refused it: it is full, or does not allow it.
    Refused,
    /// The reply makes no sense.
    Garbled,
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Down => "the engine of the fleet cannot be reached",
            Self::Refused => "the engine of the fleet refused an operation",
            Self::Garbled => "the engine of the fleet gave a reply that makes no sense",
        })
    }
}

impl Error for EngineError {}
