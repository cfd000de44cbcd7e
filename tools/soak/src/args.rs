//! The command line.

use crate::{BoxError, sabotage::Sabotage};
use lexopt::{Arg, Parser, ValueExt};
use std::time::Duration;

pub(crate) const HELP: &str = "\
Random calls, faults and aborts, for as long as you like; whatever must never
happen is looked for all the while.

Usage: cargo run --release -p soak -- [OPTIONS]

  --seconds N    how long                                         [default: 60]
  --seed N       draws the same calls again, though threads and sockets may
                 order them otherwise; a failure names the seed of its round,
                 which is then the first                        [default: random]
  --callers N    of each kind, at most so many at once            [default: 100]
  --deadline N   how many seconds one call may take. Far above what it does take,
                 which is about one                               [default: 30]
  --redis        three replicas beside it, over a redis-server that is killed, stopped
                 and emptied; it is started here, and found on the PATH
  --sabotage S   does on purpose what must never happen, to see that it is found
  -h, --help     this text

Exit code: 0 if nothing was found; 1 if something was; 2 if the program could
not run.
";

#[derive(Clone)]
pub(crate) struct Args {
    pub(crate) time: Duration,
    pub(crate) seed: u64,
    pub(crate) callers: usize,
    pub(crate) deadline: Duration,
    pub(crate) redis: bool,
    pub(crate) sabotage: Option<Sabotage>,
}

/// `None` if help is all that was asked for.
pub(crate) fn parse() -> Result<Option<Args>, BoxError> {
    let (mut seconds, mut deadline) = (60, 30);
    let seed = fastrand::u64(..1 << 32);
    let mut args = Args {
        time: Duration::ZERO,
        seed,
        callers: 100,
        deadline: Duration::ZERO,
        redis: false,
        sabotage: None,
    };
    let mut parser = Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("seconds") => seconds = parser.value()?.parse()?,
            Arg::Long("seed") => args.seed = parser.value()?.parse()?,
            Arg::Long("callers") => args.callers = parser.value()?.parse()?,
            Arg::Long("deadline") => deadline = parser.value()?.parse()?,
            Arg::Long("redis") => args.redis = true,
            Arg::Long("sabotage") => {
                args.sabotage = Some(parser.value()?.parse_with(Sabotage::named)?)
            }
            Arg::Short('h') | Arg::Long("help") => return Ok(None),
            other => return Err(other.unexpected().into()),
        }
    }
    if args.callers == 0 {
        return Err("without --callers there is nothing to see".into());
    }
    if args.redis && !cfg!(feature = "fleet") {
        return Err("--redis needs the feature fleet".into());
    }
    args.time = Duration::from_secs(seconds);
    args.deadline = Duration::from_secs(deadline);
    Ok(Some(args))
}

impl Args {
    /// Short enough that a short run has several.
    pub(crate) fn round_time(&self) -> Duration {
        (self.time / 20).min(Duration::from_secs(2))
    }

    /// Whether there is time enough for everything that may happen to happen.
    pub(crate) fn sees_everything(&self) -> bool {
        self.time >= Duration::from_secs(15) && self.sabotage.is_none()
    }

    /// The same for what happens once in ten seconds on a busy machine.
    pub(crate) fn sees_what_is_rare(&self) -> bool {
        self.time >= Duration::from_secs(120) && self.sabotage.is_none()
    }
}
