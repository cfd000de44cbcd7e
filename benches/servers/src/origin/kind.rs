//! What the origin answers, by the first part of the path.

use httpdate::HttpDate;
use std::time::SystemTime;

/// What an answer says, and when it comes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Kind {
    Shared,
    Private,
    /// 403 to the first who asks, and [`Shared`](Self::Shared) to the others.
    Refused,
    /// The head at once, and then a part of the body after the other.
    Stream,
    /// So many bytes, as fast as they are taken.
    Download(usize),
    /// At once, and it says nothing about who may have it.
    Plain,
    /// At once, and fresh for a while.
    Fresh,
}

pub(crate) const MIB: usize = 1 << 20;

impl Kind {
    /// Within what the proxy keeps for a slow reader, and beyond it.
    pub(crate) const DOWNLOADS: [Self; 2] = [Self::Download(8 * MIB), Self::Download(32 * MIB)];
    /// Those that each is asked for once.
    pub(crate) const DISTINCT: [Self; 2] = [Self::Plain, Self::Fresh];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Private => "private",
            Self::Refused => "refused",
            Self::Stream => "stream",
            Self::Download(length) if length > 16 * MIB => "large",
            Self::Download(_) => "small",
            Self::Plain => "plain",
            Self::Fresh => "fresh",
        }
    }

    pub(super) fn of(path: &str) -> Self {
        let name = path.split('/').nth(1);
        let all = [Self::Shared, Self::Private, Self::Refused, Self::Stream];
        let mut all = all.into_iter().chain(Self::DOWNLOADS).chain(Self::DISTINCT);
        all.find(|kind| name == Some(kind.as_str())).unwrap_or(Self::Plain)
    }

    pub(super) fn is_at_once(self) -> bool {
        matches!(self, Self::Stream | Self::Plain | Self::Fresh)
    }

    /// Without what tells the length of the body.
    pub(super) fn head(self, is_first: bool) -> String {
        let (status, cache_control) = match self {
            Self::Refused if is_first => ("403 Forbidden", ""),
            Self::Private => ("200 OK", "cache-control: private\r\n"),
            Self::Plain => ("200 OK", ""),
            _ => ("200 OK", "cache-control: max-age=10\r\n"),
        };
        // Squid shares no answer without it.
        let date = HttpDate::from(SystemTime::now());
        format!("HTTP/1.1 {status}\r\ndate: {date}\r\n{cache_control}")
    }
}
