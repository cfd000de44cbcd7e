//! The situations in which the contenders are measured.

mod bodies;
mod calls;
mod fan_out;
mod followers;
mod leave;
mod parked;
mod solo;
mod threads;
mod zipf;

use crate::{meter::Meter, options::Options, picture, report, setting};
use std::fs;
use tower::BoxError;

/// A scenario, by how it is measured.
#[derive(Clone, Copy)]
enum Scenario {
    Timed(fn(&Options) -> report::Report),
    Counted(fn(&Options, Meter) -> report::Report),
}

use Scenario::{Counted, Timed};

const SCENARIOS: [(&str, Scenario); 9] = [
    ("calls", Counted(calls::run)),
    ("followers", Counted(followers::run)),
    ("solo", Timed(solo::run)),
    ("threads", Timed(threads::run)),
    ("fan-out", Timed(fan_out::run)),
    ("parked", Timed(parked::run)),
    ("leave", Timed(leave::run)),
    ("zipf", Timed(zipf::run)),
    ("bodies", Timed(bodies::run)),
];

pub(crate) const NAMES: [&str; SCENARIOS.len()] = {
    let mut names = [""; SCENARIOS.len()];
    let mut n = 0;
    while n < names.len() {
        names[n] = SCENARIOS[n].0;
        n += 1;
    }
    names
};

/// Runs what is wanted of the scenarios that are counted, if there is a meter, or timed, if there
/// is none; and prints what comes of it. What is timed is drawn as well, if the options say where
/// to.
///
/// # Errors
///
/// When there is nothing to draw, or it cannot be written.
pub(crate) fn run(options: &Options, meter: Option<Meter>) -> Result<(), BoxError> {
    let wanted = SCENARIOS.iter().filter(|(name, _)| options.wants(name));
    let mut reports = Vec::new();
    for (name, scenario) in wanted {
        let report = match (scenario, meter) {
            (Timed(run), None) => run(options),
            (Counted(run), Some(meter)) => run(options, meter),
            _ => continue,
        };
        if reports.is_empty() {
            println!("{}", setting::describe());
        }
        println!("{report}");
        eprintln!("{name}: done");
        reports.push(report);
    }
    if let (Some(file), None) = (&options.picture, meter) {
        let panels: Vec<_> = reports.into_iter().filter_map(|report| report.panel).collect();
        if panels.is_empty() {
            return Err("the picture shows nothing of this scenario".into());
        }
        fs::write(file, picture::draw(&panels, &setting::brief()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
