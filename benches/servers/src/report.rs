//! What came out, as tables, and what it means for the targets.

use crate::{
    burst::SIZES,
    numbers::{Spread, millis, percentile},
    origin::Kind,
};
use std::{collections::HashMap, fmt::Write, time::Duration};

/// One burst. Times are in milliseconds.
#[derive(Clone, Copy)]
pub(crate) struct Sample {
    hits: usize,
    p50: f64,
    p99: f64,
    last: f64,
    lag: f64,
}

pub(crate) struct Report {
    names: Vec<&'static str>,
    /// By server, kind and size, in the order of the rounds.
    samples: HashMap<(&'static str, &'static str, usize), Vec<Sample>>,
}

/// A number of a burst, the less the better.
type Measure = (&'static str, fn(&Sample) -> f64);

/// With whom, in which bursts, in what.
type Comparison = (&'static str, Kind, usize, Measure);

const MEASURES: [Measure; 5] = [
    ("hits", |sample| sample.hits as f64),
    ("p50", |sample| sample.p50),
    ("p99", |sample| sample.p99),
    ("last", |sample| sample.last),
    ("lag", |sample| sample.lag),
];
const LAST: Measure = MEASURES[3];
const LAG: Measure = MEASURES[4];

impl Sample {
    /// `latencies` are in ascending order.
    pub(crate) fn new(hits: usize, latencies: &[Duration]) -> Self {
        let (first, last) = (percentile(latencies, 0), percentile(latencies, 100));
        let [p50, p99] = [50, 99].map(|percent| millis(percentile(latencies, percent)));
        Self { hits, p50, p99, last: millis(last), lag: millis(last - first) }
    }
}

impl Report {
    pub(crate) fn new(names: Vec<&'static str>) -> Self {
        Self { names, samples: HashMap::new() }
    }

    pub(crate) fn add(&mut self, name: &'static str, kind: Kind, size: usize, sample: Sample) {
        self.samples.entry((name, kind.as_str(), size)).or_default().push(sample);
    }

    /// Medians, with the least and the greatest of all rounds.
    pub(crate) fn tables(&self) -> String {
        let mut text = String::new();
        for (kind, size) in settings() {
            writeln!(text, "{size} requests, `{}`; times in ms\n", kind.as_str())
                .expect("a string grows");
            text += "| | hits | p50 | p99 | last | lag |\n|---|---|---|---|---|---|\n";
            for name in &self.names {
                let cells = MEASURES.map(|measure| self.spread(name, kind, size, measure));
                let [hits, p50, p99, last, lag] = cells;
                writeln!(text, "| {name} | {hits:.0} | {p50} | {p99} | {last} | {lag} |")
                    .expect("a string grows");
            }
            text.push('\n');
        }
        text
    }

    /// The proxy's numbers over another's in the same round: below 1 is in its favour.
    pub(crate) fn verdicts(&self) -> String {
        let everything = settings()
            .flat_map(|(kind, size)| MEASURES.map(|measure| ("nginx", kind, size, measure)));
        let lags = SIZES.map(|size| ("varnish", Kind::Shared, size, LAG));
        let private =
            SIZES.map(|size| ["nginx", "varnish"].map(|other| (other, Kind::Private, size, LAST)));
        let mut text = String::new();
        Self::judge(
            &mut text,
            "behind nginx in nothing; the worst:",
            worst(self.ratios(everything)),
        );
        Self::judge(&mut text, "lag no worse than Varnish's:", self.ratios(lags));
        Self::judge(&mut text, "`private` faster than both:", self.ratios(private.concat()));
        text
    }

    fn judge(text: &mut String, target: &str, ratios: impl IntoIterator<Item = (String, Spread)>) {
        for (what, ratio) in ratios {
            let verdict = match ratio {
                _ if ratio.most <= 1.0 => "met in each round",
                _ if ratio.median <= 1.0 => "met in most rounds",
                _ if ratio.least <= 1.0 => "missed in most rounds",
                _ => "missed in each round",
            };
            writeln!(text, "- {target} {what} = {ratio:.2}: {verdict}").expect("a string grows");
        }
    }

    /// Of those that there are.
    fn ratios(&self, of: impl IntoIterator<Item = Comparison>) -> Vec<(String, Spread)> {
        let name = |(other, kind, size, (what, _)): Comparison| {
            format!("{what} of {size} `{}`, proxy / {other}", kind.as_str())
        };
        of.into_iter()
            .filter_map(|compared| Some((name(compared), self.ratio(compared)?)))
            .collect()
    }

    fn ratio(&self, (other, kind, size, (_, of)): Comparison) -> Option<Spread> {
        let ours = self.samples.get(&("proxy", kind.as_str(), size))?;
        let theirs = self.samples.get(&(other, kind.as_str(), size))?;
        Some(Spread::of(ours.iter().zip(theirs).map(|(ours, theirs)| of(ours) / of(theirs))))
    }

    fn spread(&self, name: &'static str, kind: Kind, size: usize, (_, of): Measure) -> Spread {
        Spread::of(self.samples[&(name, kind.as_str(), size)].iter().map(of))
    }
}

fn settings() -> impl Iterator<Item = (Kind, usize)> {
    Kind::BURSTS.into_iter().flat_map(|kind| SIZES.map(|size| (kind, size)))
}

fn worst(ratios: Vec<(String, Spread)>) -> Option<(String, Spread)> {
    ratios.into_iter().max_by(|(_, one), (_, other)| one.median.total_cmp(&other.median))
}
