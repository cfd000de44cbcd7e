//! What came out, as tables, and what it means for the targets.

use crate::{
    numbers::Spread,
    origin::Kind,
    scenario::{Column, Scenario},
};
use std::{collections::HashMap, fmt::Write};

/// What the targets compare with the proxy.
const OTHERS: [&str; 4] = ["nginx", "varnish", "squid", "ats"];

/// A number for each column, or why there is none.
pub(crate) type Sample = Result<Vec<f64>, String>;

#[derive(Default)]
pub(crate) struct Report {
    /// In the order of the rounds.
    samples: HashMap<(&'static str, Scenario), Vec<Sample>>,
}

impl Report {
    pub(crate) fn add(&mut self, name: &'static str, scenario: Scenario, sample: Sample) {
        self.samples.entry((name, scenario)).or_default().push(sample);
    }

    /// Medians, with the least and the greatest of all rounds.
    pub(crate) fn table(&self, scenario: Scenario, names: &[&'static str]) -> String {
        let columns = scenario.columns();
        let mut text = format!("**{}**\n\n", scenario.title());
        put(&mut text, format_args!("| | {} |", columns.join(" | ")));
        put(&mut text, format_args!("|{}", "---|".repeat(columns.len() + 1)));
        let measured =
            || names.iter().filter(|name| self.samples.contains_key(&(**name, scenario)));
        for name in measured() {
            let cells: Vec<_> =
                columns.iter().map(|column| self.cell(name, scenario, column)).collect();
            put(&mut text, format_args!("| {name} | {} |", cells.join(" | ")));
        }
        for name in measured() {
            let rounds = &self.samples[&(*name, scenario)];
            let failures: Vec<_> = rounds.iter().filter_map(|round| round.as_ref().err()).collect();
            if let Some(why) = failures.first() {
                let count = format!("{} of {} rounds", failures.len(), rounds.len());
                put(&mut text, format_args!("\n{name} failed in {count}: {why}"));
            }
        }
        text
    }

    fn cell(&self, name: &'static str, scenario: Scenario, column: Column) -> String {
        let values: Vec<_> = self.values(name, scenario, column).into_iter().flatten().collect();
        match (values.is_empty(), column) {
            (true, _) => "–".into(),
            (false, "hits" | "403s") => format!("{:.0}", Spread::of(values)),
            (false, _) => Spread::of(values).to_string(),
        }
    }

    /// The proxy's numbers over another's in the same round, below 1 in its favour: for each target
    /// the worst of them.
    pub(crate) fn verdicts(&self, scenarios: impl Iterator<Item = Scenario> + Clone) -> String {
        let mut text = String::new();
        let mut judge = |target, others: &[&'static str], of: fn(Scenario, Column) -> bool| {
            let ratios = scenarios.clone().flat_map(|scenario| {
                let columns = scenario.columns().iter().filter(move |column| of(scenario, column));
                columns.flat_map(move |column| {
                    others.iter().filter_map(move |other| self.ratio(other, scenario, column))
                })
            });
            let worst = ratios.max_by(|(_, one), (_, other)| one.median.total_cmp(&other.median));
            if let Some((what, ratio)) = worst {
                let verdict = verdict(ratio);
                put(
                    &mut text,
                    format_args!("- {target}: {verdict}. Worst case: {what}, {ratio:.2}"),
                );
            }
        };
        judge("no slower than nginx, but for slow readers", &["nginx"], |scenario, _| {
            !matches!(scenario, Scenario::Slow(_))
        });
        judge("no more hits than any other", &OTHERS, |_, column| column == "hits");
        judge("shared answers lag no more than any other's", &OTHERS, |scenario, column| {
            scenario.kind() == Kind::Shared && column == "lag"
        });
        judge("private answers come sooner than any other's", &OTHERS, |scenario, column| {
            scenario.kind() == Kind::Private && column == "last"
        });
        judge(
            "after a refusal, answers come sooner than any other's",
            &OTHERS,
            |scenario, column| scenario.kind() == Kind::Refused && column == "last",
        );
        judge("a late arrival is served as soon as by any other", &OTHERS, |scenario, column| {
            scenario == Scenario::Late && column == "first byte"
        });
        judge("beside a slow reader, no slower than any other", &OTHERS, |scenario, column| {
            matches!(scenario, Scenario::Slow(_)) && column == "beside it"
        });
        text
    }

    fn ratio(
        &self,
        other: &'static str,
        scenario: Scenario,
        column: Column,
    ) -> Option<(String, Spread)> {
        let ours = self.values("proxy", scenario, column);
        let theirs = self.values(other, scenario, column);
        let ratios =
            ours.into_iter().zip(theirs).filter_map(|(ours, theirs)| Some(ours? / theirs?));
        let ratios: Vec<_> = ratios.collect();
        let what = format!("\"{column}\" of \"{}\", proxy / {other}", scenario.title());
        (!ratios.is_empty()).then(|| (what, Spread::of(ratios)))
    }

    /// One for each round that did not fail.
    fn values(&self, name: &'static str, scenario: Scenario, column: Column) -> Vec<Option<f64>> {
        let nth = scenario.columns().iter().position(|known| *known == column).expect("a column");
        let rounds = self.samples.get(&(name, scenario)).into_iter().flatten();
        rounds.map(|round| round.as_ref().ok().map(|values| values[nth])).collect()
    }
}

fn verdict(ratio: Spread) -> &'static str {
    match ratio {
        _ if ratio.most <= 1.0 => "met in each round",
        _ if ratio.median <= 1.0 => "met in most rounds",
        _ if ratio.least <= 1.0 => "missed in most rounds",
        _ => "missed in each round",
    }
}

fn put(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("a string grows");
}
