//! What the dashboard, the alerts and the guides ask Prometheus for, compared with what the crate
//! reports: a metric that is renamed fails a test, and not a dashboard.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

const FILES: [&str; 6] = [
    DASHBOARD,
    "examples/grafana/alerts.yml",
    "examples/grafana/alerts_test.yml",
    "src/guide/watch.md",
    "src/guide/runbook.md",
    "src/guide/fleet.md",
];
const DASHBOARD: &str = "examples/grafana/dashboard.json";

/// Labels that come from Prometheus, or whose values are the user's.
const FREE: [&str; 4] = ["job", "instance", "name", "le"];

/// The metrics that were reported, with their labels and the values of these.
#[derive(Debug, Default)]
pub(crate) struct Reported(BTreeMap<String, BTreeMap<String, BTreeSet<String>>>);

impl Reported {
    pub(crate) fn series<'a>(
        &mut self,
        metric: &str,
        labels: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) {
        let known = self.0.entry(metric.to_owned()).or_default();
        for (label, value) in labels {
            known.entry(label.to_owned()).or_default().insert(value.to_owned());
        }
    }

    /// Checks every use of a metric whose name begins with `prefix`, but not with `besides`.
    #[track_caller]
    pub(crate) fn has_all_that_is_asked_for(&self, prefix: &str, besides: Option<&str>) {
        let concerns = |metric: &str| {
            metric.starts_with(prefix) && besides.is_none_or(|other| !metric.starts_with(other))
        };
        assert!(self.0.keys().all(|metric| concerns(metric)), "{:?}", self.0.keys());
        let mut on_the_dashboard = BTreeSet::new();
        for file in FILES {
            for part in parts(file) {
                let asked: Vec<_> =
                    Selector::all(&part).into_iter().filter(|one| concerns(&one.metric)).collect();
                for selector in &asked {
                    self.check(selector).unwrap_or_else(|error| panic!("{file}: {error}\n{part}"));
                    if file == DASHBOARD {
                        on_the_dashboard.insert(self.base(&selector.metric).unwrap().to_owned());
                    }
                }
                for label in groupings(&part) {
                    let is_there = FREE.contains(&label.as_str())
                        || asked.iter().any(|one| self.has_label(&one.metric, &label));
                    assert!(asked.is_empty() || is_there, "{file}: no label {label}\n{part}");
                }
            }
        }
        let missing: Vec<_> =
            self.0.keys().filter(|metric| !on_the_dashboard.contains(*metric)).collect();
        assert!(missing.is_empty(), "the dashboard does not show {missing:?}");
    }

    fn check(&self, Selector { metric, matchers }: &Selector) -> Result<(), String> {
        let labels = &self.0[self.base(metric).ok_or(format!("{metric} is not reported"))?];
        for (label, value) in matchers {
            if FREE.contains(&label.as_str()) {
                continue;
            }
            let values = labels.get(label).ok_or(format!("{metric} has no label {label}"))?;
            for value in value.split('|') {
                if !values.contains(value) {
                    return Err(format!("{metric} never has {label}=\"{value}\""));
                }
            }
        }
        Ok(())
    }

    fn has_label(&self, metric: &str, label: &str) -> bool {
        self.base(metric).is_some_and(|metric| self.0[metric].contains_key(label))
    }

    /// The name as the crate knows it: an exporter makes three of a histogram's.
    fn base<'a>(&self, metric: &'a str) -> Option<&'a str> {
        let known = |name: &&str| self.0.contains_key(*name);
        let part = |suffix| metric.strip_suffix(suffix).filter(known);
        Some(metric)
            .filter(known)
            .or_else(|| ["_bucket", "_sum", "_count"].into_iter().find_map(part))
    }
}

/// The queries of a file, more or less: a line of JSON, and a paragraph of anything else.
fn parts(file: &str) -> Vec<String> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    let between = if file.ends_with(".json") { "\n" } else { "\n\n" };
    text.split(between).map(|part| part.replace("\\\"", "\"")).collect()
}

/// A metric in a query.
struct Selector {
    metric: String,
    /// Labels and values. `!=` asks for a value that there is, too.
    matchers: Vec<(String, String)>,
}

impl Selector {
    fn all(part: &str) -> Vec<Self> {
        let starts = part.match_indices("singleflight_").map(|(at, _)| at);
        let starts = starts.filter(|at| !part[..*at].ends_with(is_of_a_name));
        starts.map(|at| Self::parse(&part[at..])).filter(|one| !one.metric.ends_with('_')).collect()
    }

    fn parse(text: &str) -> Self {
        let (metric, rest) = text.split_at(text.find(|c| !is_of_a_name(c)).unwrap_or(text.len()));
        let braces = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        let pairs = braces.map_or("", |(inside, _)| inside).split_terminator("\",");
        let matchers = pairs.filter_map(|pair| {
            let (label, value) = pair.split_once('"')?;
            let label = label.trim_end_matches(['=', '~', '!']);
            Some((
                label.trim_start_matches([',', ' ']).to_owned(),
                value.trim_matches('"').to_owned(),
            ))
        });
        Self { metric: metric.to_owned(), matchers: matchers.collect() }
    }
}

/// The labels in `by (…)` and `on (…)`.
fn groupings(part: &str) -> Vec<String> {
    let lists = ["by (", "on ("].into_iter().flat_map(|word| part.split(word).skip(1));
    let inside = lists.filter_map(|rest| Some(rest.split_once(')')?.0));
    inside.flat_map(|list| list.split(", ")).map(str::to_owned).collect()
}

fn is_of_a_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}
