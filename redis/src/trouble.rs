//! Why Redis cannot be used, in words for the log.

use redis::{ErrorKind, RedisError, ServerError};
use std::fmt;

/// Why there is no connection.
#[derive(Clone, Debug)]
pub(crate) struct Trouble {
    pub(crate) kind: Kind,
    detail: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing listens, or the connection was lost.
    Away,
    /// No reply in time.
    Silent,
    Password,
    Replica,
    Cluster,
    Sentinel,
    NoResp3,
    /// Any other error that the server gave.
    Refused,
}

impl Trouble {
    pub(crate) fn new(kind: Kind, detail: impl fmt::Display) -> Self {
        Self { kind, detail: detail.to_string() }
    }

    /// What an error means that came instead of a connection, or ended one.
    pub(crate) fn of_error(error: &RedisError) -> Self {
        let text = error.to_string();
        let kind = match error.kind() {
            ErrorKind::RESP3NotSupported => Kind::NoResp3,
            ErrorKind::AuthenticationFailed => Kind::Password,
            _ if error.is_timeout() => Kind::Silent,
            _ => match error.code() {
                Some(code) => Kind::of_reply(code, error.detail().unwrap_or_default())
                    .unwrap_or(Kind::Refused),
                None => Kind::Away,
            },
        };
        Self::new(kind, text)
    }

    /// What an error means that came as the reply to one command. `None`: it concerns this command
    /// alone.
    pub(crate) fn of_reply(error: &ServerError) -> Option<Self> {
        let detail = error.details().unwrap_or_default();
        let kind = Kind::of_reply(error.code(), detail)?;
        Some(Self::new(kind, format_args!("{} {detail}", error.code())))
    }
}

impl Kind {
    fn of_reply(code: &str, detail: &str) -> Option<Self> {
        // Before 7.0, an error within a script comes as `ERR`, with the error itself in the text.
        let said = |word: &str| code == word || detail.contains(&format!("-{word} "));
        Some(match code {
            "NOAUTH" | "WRONGPASS" => Self::Password,
            "NOPROTO" => Self::NoResp3,
            "ERR" if detail.starts_with("unknown command") && detail.contains("HELLO") => {
                Self::NoResp3
            }
            "LOADING" | "MASTERDOWN" => Self::Away,
            _ if said("READONLY") => Self::Replica,
            _ if ["MOVED", "ASK", "CLUSTERDOWN", "CROSSSLOT"].into_iter().any(said) => {
                Self::Cluster
            }
            _ => return None,
        })
    }
}

/// Goes on after the address of the server.
impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, detail } = self;
        match kind {
            Kind::Away => write!(f, "cannot be reached ({detail})"),
            Kind::Silent => write!(f, "does not answer ({detail})"),
            Kind::Password => {
                write!(f, "asks for a password, or refuses the one in the URL ({detail})")
            }
            Kind::Replica => {
                write!(f, "is a read-only replica: use the address of the primary ({detail})")
            }
            Kind::Cluster => {
                write!(f, "is a node of a cluster: a single primary is needed ({detail})")
            }
            Kind::Sentinel => write!(f, "is a Sentinel: use the address of the primary ({detail})"),
            Kind::NoResp3 => {
                write!(f, "speaks no RESP3: Redis 6.2, Valkey 7.2 or newer is needed ({detail})")
            }
            Kind::Refused => write!(f, "refuses a command that is needed ({detail})"),
        }
    }
}
