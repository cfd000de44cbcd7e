//! The command line.

use crate::{BoxError, table::grouped};
use lexopt::{Arg, Parser, ValueExt};
use std::{fmt, path::PathBuf, time::Duration};

pub(crate) const HELP: &str = "\
A stampede of identical requests on an axum gateway, without and with the layer.

Usage: cargo run --release --example stampede -- [OPTIONS]

  --requests N        requests in the burst, all of them in flight at the same
                      time                                     [default: 10000]
  --keys N            spread them over N different URIs            [default: 1]
  --connections N     client connections, HTTP/2 without TLS (h2c); each carries
                      its share of the requests as concurrent streams, 200 at
                      most                                       [default: 100]
  --http1             HTTP/1.1 instead, which carries one request at a time: one
                      connection per request, and two file descriptors each
  --upstream-ms N     how long the upstream works on a request   [default: 2000]
  --upstream-limit N  how many requests it works on at once, like the connection
                      pool of a database; the others queue       [default: 1000]
  --svg PATH          where the picture goes      [default: target/stampede.svg]
  --only SIDE         run one side, `without` or `with` the layer, and print its
                      numbers and the latency of each request, in microseconds
  -h, --help          this text

The burst is released when all clients are connected and idle. Latency runs
from that moment, for every request, until the last byte of its body is there.

Without the layer the run takes about requests / upstream-limit * upstream-ms.

The layer coalesces concurrent requests, it is no cache: a request that reaches
the gateway after the answer went out starts anew. So --upstream-ms must be
longer than the burst needs to get into the gateway, which is printed as `last
arrival`: on two cores 0.1 to 0.2 s for 10,000 requests, and above 1 s while
builds compete for the same cores. Hence a slow upstream by default, and one
that serves many.

Exit code: 0 if, with the layer, one request per key reached the upstream and
every client got the right answer; 1 if not; 2 if the program could not run.
";

/// What axum lets a client have open on one HTTP/2 connection.
const STREAMS: usize = 200;
const MOST_REQUESTS: usize = 100_000;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Without,
    With,
}

impl Side {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Without => "without",
            Self::With => "with",
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Clone)]
pub(crate) struct Args {
    pub(crate) requests: usize,
    pub(crate) keys: usize,
    pub(crate) connections: usize,
    pub(crate) http1: bool,
    pub(crate) upstream_time: Duration,
    pub(crate) upstream_limit: usize,
    pub(crate) svg: PathBuf,
    pub(crate) only: Option<Side>,
}

pub(crate) enum Parsed {
    Run(Args),
    Help,
}

pub(crate) fn parse() -> Result<Parsed, BoxError> {
    let mut args = Args {
        requests: 10_000,
        keys: 1,
        connections: 100,
        http1: false,
        upstream_time: Duration::from_millis(2000),
        upstream_limit: 1000,
        svg: "target/stampede.svg".into(),
        only: None,
    };
    let mut parser = Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("requests") => args.requests = parser.value()?.parse()?,
            Arg::Long("keys") => args.keys = parser.value()?.parse()?,
            Arg::Long("connections") => args.connections = parser.value()?.parse()?,
            Arg::Long("http1") => args.http1 = true,
            Arg::Long("upstream-ms") => {
                args.upstream_time = Duration::from_millis(parser.value()?.parse()?)
            }
            Arg::Long("upstream-limit") => args.upstream_limit = parser.value()?.parse()?,
            Arg::Long("svg") => args.svg = parser.value()?.into(),
            Arg::Long("only") => args.only = Some(parser.value()?.parse_with(side)?),
            Arg::Short('h') | Arg::Long("help") => return Ok(Parsed::Help),
            other => return Err(other.unexpected().into()),
        }
    }
    if args.http1 {
        args.connections = args.requests;
    }
    args.check()?;
    Ok(Parsed::Run(args))
}

fn side(text: &str) -> Result<Side, &'static str> {
    [Side::Without, Side::With]
        .into_iter()
        .find(|side| side.as_str() == text)
        .ok_or("it is `without` or `with`")
}

impl Args {
    fn check(&self) -> Result<(), String> {
        let between = |name, value: usize, most: usize| match value {
            0 => Err(format!("--{name} must be at least 1")),
            _ if value > most => Err(format!("--{name} can be at most {most} here")),
            _ => Ok(()),
        };
        between("requests", self.requests, MOST_REQUESTS)?;
        between("keys", self.keys, self.requests)?;
        between("connections", self.connections, self.requests)?;
        between("upstream-limit", self.upstream_limit, MOST_REQUESTS)?;
        if self.requests.div_ceil(self.connections) > STREAMS {
            let least = self.requests.div_ceil(STREAMS);
            return Err(format!(
                "{} requests at once need at least --connections {least}: a connection carries \
                 {STREAMS}",
                self.requests
            ));
        }
        Ok(())
    }

    /// How many connections the gateway has to the upstream at most: a few more than it serves at
    /// once, so that there is always one waiting.
    pub(crate) fn pool(&self) -> usize {
        (self.upstream_limit + 32).min(self.requests)
    }

    /// Both ends of every connection are in one process.
    pub(crate) fn open_files(&self) -> u64 {
        (2 * self.connections + 2 * self.pool() + 100) as u64
    }

    /// By then the slowest answer has come, or never will.
    pub(crate) fn patience(&self) -> Duration {
        let rounds = self.requests.div_ceil(self.upstream_limit);
        self.upstream_time.saturating_mul(rounds as u32) + Duration::from_secs(60)
    }

    pub(crate) fn warm_up(&self) -> Self {
        let connections = self.connections.min(10);
        let requests = if self.http1 { connections } else { self.requests.min(10 * connections) };
        Self {
            requests,
            connections,
            keys: 1,
            upstream_time: Duration::from_millis(50),
            ..self.clone()
        }
    }

    pub(crate) fn summary(&self) -> String {
        format!(
            "{} at once, {}, {} ({});\nthe upstream takes {} ms a request and serves {} at once.",
            count(self.requests, "request"),
            count(self.keys, "key"),
            count(self.connections, "connection"),
            if self.http1 { "HTTP/1.1" } else { "HTTP/2" },
            self.upstream_time.as_millis(),
            grouped(self.upstream_limit as u64),
        )
    }
}

fn count(number: usize, thing: &str) -> String {
    format!("{} {thing}{}", grouped(number as u64), if number == 1 { "" } else { "s" })
}
