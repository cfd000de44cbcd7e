//! What the servers are put through.

mod burst;
mod late;
mod slow;

use crate::{
    error::BoxError,
    origin::{Kind, Origin},
};
use std::net::SocketAddr;

/// How many connections: every burst that many share has one of these sizes.
pub(crate) const SIZES: [usize; 2] = [100, 500];

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Scenario {
    /// So many ask for the same, all at once.
    Burst(Kind, usize),
    /// One asks while the answer to another is streaming.
    Late,
    /// One reads slowly but steadily, and another as fast as it can.
    Slow(Kind),
}

use Scenario::{Burst, Late, Slow};

/// The less the better, each. Those that are no number of something are in milliseconds.
pub(crate) type Column = &'static str;

impl Scenario {
    const ALL: [Self; 8] = [
        Burst(Kind::Shared, SIZES[0]),
        Burst(Kind::Shared, SIZES[1]),
        Burst(Kind::Private, SIZES[0]),
        Burst(Kind::Private, SIZES[1]),
        Burst(Kind::Refused, SIZES[0]),
        Late,
        Slow(Kind::DOWNLOADS[0]),
        Slow(Kind::DOWNLOADS[1]),
    ];

    /// Without the longest, if it is to be quick.
    pub(crate) fn all(quick: bool) -> impl Iterator<Item = Self> + Clone {
        let is_long = |scenario: &Self| {
            matches!(scenario, Burst(_, size) if *size == SIZES[1])
                || *scenario == Slow(Kind::DOWNLOADS[1])
        };
        Self::ALL.into_iter().filter(move |scenario| !(quick && is_long(scenario)))
    }

    pub(crate) fn title(self) -> String {
        match self {
            Burst(Kind::Refused, size) => format!("{size} requests, the first of them is refused"),
            Burst(kind, size) => format!("{size} requests, `{}`", kind.as_str()),
            Late => "A late arrival".into(),
            Slow(kind) => format!("A slow reader of a `{}` body", kind.as_str()),
        }
    }

    pub(crate) fn columns(self) -> &'static [Column] {
        match self {
            Burst(Kind::Refused, _) => &["hits", "403s", "p50", "last"],
            Burst(..) => &["hits", "p50", "p99", "last", "lag"],
            Late => &["hits", "first byte", "done"],
            Slow(_) => &["hits", "alone", "beside it", "the slow one"],
        }
    }

    /// The first part of a path that it asks for.
    pub(crate) fn kind(self) -> Kind {
        match self {
            Burst(kind, _) | Slow(kind) => kind,
            Late => Kind::Stream,
        }
    }

    /// A number for each column.
    pub(crate) async fn measure(
        self,
        server: SocketAddr,
        origin: &Origin,
        path: &str,
    ) -> Result<Vec<f64>, BoxError> {
        let times = match self {
            Burst(kind, size) => burst::measure(server, kind, size, path).await?,
            Late => late::measure(server, path).await?.to_vec(),
            Slow(Kind::Download(length)) => slow::measure(server, length, path).await?.to_vec(),
            Slow(_) => unreachable!("a slow reader downloads"),
        };
        Ok([vec![origin.hits(path) as f64], times].concat())
    }
}
