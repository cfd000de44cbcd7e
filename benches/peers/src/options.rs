//! The arguments of the benchmarks.

use lexopt::{Arg, Parser, ValueExt};
use std::path::{Path, PathBuf};
use tower::BoxError;

/// What to run, and how often.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) scenario: Option<String>,
    rounds: Option<usize>,
    effort: Effort,
    /// Where the picture goes.
    pub(crate) picture: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Effort {
    Full,
    /// A tenth of the rounds.
    Quick,
    /// Everything once, with few calls: for tests.
    Smoke,
}

const USAGE: &str =
    "usage: cargo bench -p peers -- [SCENARIO] [--rounds N] [--quick] [--picture FILE]";

/// Cargo starts a benchmark in the folder of its package; a file is meant from here.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

impl Options {
    /// For a test: everything runs, and no number means anything.
    pub(crate) fn smoke() -> Self {
        Self { scenario: None, rounds: None, effort: Effort::Smoke, picture: None }
    }

    /// Those of the command line, which may name one of `scenarios`. Without cargo's `--bench`,
    /// that is when cargo tests, everything is small.
    ///
    /// # Errors
    ///
    /// When an argument is unknown; the error tells the usage.
    pub(crate) fn from_args(scenarios: &[&str]) -> Result<Self, BoxError> {
        let mut options = Self::smoke();
        let mut args = Parser::from_env();
        while let Some(arg) = args.next()? {
            match arg {
                Arg::Long("bench") if options.effort == Effort::Smoke => {
                    options.effort = Effort::Full
                }
                Arg::Long("bench") => {}
                Arg::Long("quick") => options.effort = Effort::Quick,
                Arg::Long("rounds") => options.rounds = Some(args.value()?.parse()?),
                Arg::Long("picture") => options.picture = Some(Path::new(ROOT).join(args.value()?)),
                Arg::Value(name) => options.scenario = Some(known(name.string()?, scenarios)?),
                _ => return Err(format!("{}\n{}", arg.unexpected(), usage(scenarios)).into()),
            }
        }
        Ok(options)
    }

    pub(crate) fn wants(&self, scenario: &str) -> bool {
        self.scenario.as_deref().is_none_or(|wanted| wanted == scenario)
    }

    pub(crate) fn rounds(&self, full: usize) -> usize {
        let rounds = match self.effort {
            Effort::Full => full,
            Effort::Quick => (full / 10).max(5),
            Effort::Smoke => 1,
        };
        self.rounds.unwrap_or(rounds).max(1)
    }

    /// `full`, but for a test.
    pub(crate) fn size<T>(&self, full: T, smoke: T) -> T {
        if self.effort == Effort::Smoke { smoke } else { full }
    }
}

fn known(name: String, scenarios: &[&str]) -> Result<String, lexopt::Error> {
    if scenarios.contains(&name.as_str()) {
        return Ok(name);
    }
    Err(format!("there is no scenario {name:?}\n{}", usage(scenarios)).into())
}

fn usage(scenarios: &[&str]) -> String {
    format!("{USAGE}\nscenarios: {}", scenarios.join(", "))
}
