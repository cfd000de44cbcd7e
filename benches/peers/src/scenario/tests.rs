//! Every scenario, small: that it works, not how fast it is.

use super::*;
use crate::{
    contender::{BARE, Contender, Visit},
    contenders::visit_all,
    meter::Counts,
    work::AtOnce,
};

/// Counts nothing.
fn no_meter(code: &mut dyn FnMut()) -> Counts {
    code();
    Counts::default()
}

fn report(scenario: &str) -> report::Report {
    let (_, scenario) = SCENARIOS.iter().find(|(name, _)| *name == scenario).expect("there is one");
    match scenario {
        Timed(run) => run(&Options::smoke()),
        Counted(run) => run(&Options::smoke(), no_meter),
    }
}

#[derive(Default)]
struct Names(Vec<&'static str>);

impl Visit<AtOnce> for Names {
    fn visit<C: Contender<AtOnce>>(&mut self) {
        self.0.push(C::NAME);
    }
}

/// Every table has a row for each contender.
fn runs_with_all(scenario: &str, tables: usize) -> report::Report {
    let mut names = Names::default();
    visit_all(&mut names);
    let report = report(scenario);
    assert_eq!(report.tables.len(), tables);
    for table in &report.tables {
        let rows: Vec<_> = table.rows().iter().map(|row| row[0].as_str()).collect();
        let expected = names.0.iter().filter(|name| **name != BARE);
        assert!(expected.clone().all(|name| rows.contains(name)), "{rows:?}");
        assert_eq!(rows.len(), names.0.len(), "and one for the floor");
    }
    report
}

/// The picture has a bar for each row of one of the tables, of what the row says.
fn is_pictured(report: report::Report) {
    let bars: Vec<_> =
        report.panel.expect("it has one").bars.iter().map(|(_, bar)| bar.to_string()).collect();
    let columns = report
        .tables
        .iter()
        .map(|table| table.rows().iter().map(|row| row[1].clone()).collect::<Vec<_>>());
    assert!(columns.into_iter().any(|column| column == bars), "{bars:?}");
}

#[test]
fn calls() {
    runs_with_all("calls", 1);
}

#[test]
fn followers() {
    runs_with_all("followers", 1);
}

#[test]
fn solo() {
    is_pictured(runs_with_all("solo", 2));
}

#[test]
fn threads() {
    runs_with_all("threads", 1);
}

#[test]
fn fan_out() {
    is_pictured(runs_with_all("fan-out", 4));
}

#[test]
fn parked() {
    is_pictured(runs_with_all("parked", 2));
}

#[test]
fn leave() {
    runs_with_all("leave", 1);
}

#[test]
fn zipf() {
    runs_with_all("zipf", 2);
}

#[test]
fn bodies() {
    let report = report("bodies");
    assert_eq!(report.tables[0].rows().len(), 3);
}
