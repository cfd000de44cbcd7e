//! The command line.

use crate::error::BoxError;
use lexopt::{Arg, Parser, ValueExt};

pub(crate) const HELP: &str = "\
The example `proxy` beside nginx, Varnish, Squid and Apache Traffic Server,
where they are installed.

Usage: cargo run --release -p servers -- [OPTIONS]

  --rounds N     each round has each scenario once for each server, and 8 s of
                 traffic without duplicates for the proxy [default: 3]
  --quick        one round, without the longest scenarios
  --only SERVER  one of none, proxy, \"proxy --spill\", nginx, varnish, squid, ats
  --distinct     only traffic without duplicates, through the proxy with the
                 layer and without it
  -h, --help     this text
";

pub(crate) struct Args {
    pub(crate) rounds: usize,
    pub(crate) only: Option<String>,
    pub(crate) distinct: bool,
    pub(crate) quick: bool,
}

impl Args {
    /// Whether a server of this name is to run.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only == name)
    }
}

/// `None` if help is all that was asked for.
pub(crate) fn parse() -> Result<Option<Args>, BoxError> {
    let mut args = Args { rounds: 3, only: None, distinct: false, quick: false };
    let mut parser = Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("rounds") => args.rounds = parser.value()?.parse()?,
            Arg::Long("only") => args.only = Some(parser.value()?.parse()?),
            Arg::Long("distinct") => args.distinct = true,
            Arg::Long("quick") => (args.rounds, args.quick) = (1, true),
            Arg::Short('h') | Arg::Long("help") => return Ok(None),
            other => return Err(other.unexpected().into()),
        }
    }
    if args.rounds == 0 { Err("--rounds must be at least 1".into()) } else { Ok(Some(args)) }
}
