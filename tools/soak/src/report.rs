//! What happened, and what must not have.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::Mutex,
    time::{Duration, Instant},
};

/// Of the failures of one part, that many are printed.
const PRINTED: usize = 6;

pub(crate) struct Report {
    began: Instant,
    events: Mutex<BTreeMap<&'static str, u64>>,
    failures: Mutex<BTreeMap<String, usize>>,
}

impl Report {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), events: Mutex::default(), failures: Mutex::default() }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// `event` begins with the name of its part.
    pub(crate) fn count(&self, event: &'static str) {
        *self.events.lock().unwrap().entry(event).or_default() += 1;
    }

    pub(crate) fn counted(&self, event: &str) -> u64 {
        self.events.lock().unwrap().get(event).copied().unwrap_or_default()
    }

    pub(crate) fn fail(&self, part: &str, what: &str) {
        let mut failures = self.failures.lock().unwrap();
        let of_part = failures.entry(part.into()).or_default();
        *of_part += 1;
        if *of_part <= PRINTED {
            println!("FAILED: {part}: {what}");
        }
    }

    pub(crate) fn failures(&self) -> usize {
        self.failures.lock().unwrap().values().sum()
    }

    /// All calls of a part, each of which ended in one of these ways.
    pub(crate) fn calls(&self, part: &str) -> u64 {
        let events = self.events.lock().unwrap();
        let ends = events
            .iter()
            .filter(|(name, _)| name.strip_prefix(part).is_some_and(|rest| rest.starts_with(": ")));
        ends.map(|(_, count)| count).sum()
    }

    /// One paragraph a part.
    pub(crate) fn summary(&self) -> String {
        let events = self.events.lock().unwrap();
        let (mut text, mut part) = (String::new(), "");
        for (name, count) in events.iter() {
            let (of, what) = name.split_once(": ").unwrap_or((name, ""));
            if of != part {
                writeln!(text, "{of}").expect("a string grows");
                part = of;
            }
            writeln!(text, "  {:>14}  {what}", grouped(*count)).expect("a string grows");
        }
        text
    }
}

/// With a comma before each three digits.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (nth, digit) in digits.chars().enumerate() {
        if nth > 0 && (digits.len() - nth) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
