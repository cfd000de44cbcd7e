//! What the layers counted.

use crate::report::grouped;
use tower_singleflight::{PassReason, Stats, VetoReason};

/// Of one layer, or of several together.
pub(crate) struct Counted(pub(crate) Vec<Stats>);

const PASSES_OF_SERVICES: [PassReason; 2] = [PassReason::Filter, PassReason::Disabled];
const PASSES_OF_HTTP: [PassReason; 5] = [
    PassReason::Method,
    PassReason::Header,
    PassReason::NoStore,
    PassReason::Unshareable,
    PassReason::Disabled,
];
const VETOES: [VetoReason; 6] = [
    VetoReason::Status,
    VetoReason::SetCookie,
    VetoReason::CacheControl,
    VetoReason::Vary,
    VetoReason::ContentType,
    VetoReason::BodyTooLarge,
];

impl Counted {
    /// In one line.
    pub(crate) fn tell(&self) -> String {
        let mut told =
            self.ends().map(|(name, count)| format!("{} {name}", grouped(count))).to_vec();
        let passed = PassReason::ALL.iter().map(|reason| (reason.as_str(), self.passed(*reason)));
        let vetoed = VetoReason::ALL.iter().map(|reason| (reason.as_str(), self.vetoed(*reason)));
        told.extend(listed("passed", passed));
        told.extend(listed("vetoed", vetoed));
        told.join(", ")
    }

    /// What a service in a layer should meet, and did not.
    pub(crate) fn missing_of_services(&self) -> Vec<String> {
        let ends = self.ends().map(|(name, count)| (name.to_owned(), count));
        let passed =
            PASSES_OF_SERVICES.map(|reason| (format!("passed by {reason}"), self.passed(reason)));
        missing(ends.into_iter().chain(passed))
    }

    /// The same for a gateway, whose works do not panic.
    pub(crate) fn missing_of_http(&self, sees_what_is_rare: bool) -> Vec<String> {
        let ends = self.ends().into_iter().filter(|(name, _)| *name != "panicked");
        let ends = ends.map(|(name, count)| (name.to_owned(), count));
        let passed =
            PASSES_OF_HTTP.map(|reason| (format!("passed by {reason}"), self.passed(reason)));
        let vetoes = VETOES
            .into_iter()
            .filter(|reason| sees_what_is_rare || *reason != VetoReason::BodyTooLarge);
        let vetoed = vetoes.map(|reason| (format!("vetoed by {reason}"), self.vetoed(reason)));
        missing(ends.chain(passed).chain(vetoed))
    }

    fn ends(&self) -> [(&'static str, u64); 8] {
        [
            ("led", self.sum(|stats| stats.led)),
            ("joined", self.sum(|stats| stats.joined)),
            ("cancelled", self.sum(|stats| stats.cancelled)),
            ("panicked", self.sum(|stats| stats.panicked)),
            ("lost", self.sum(|stats| stats.lost)),
            ("refused", self.sum(|stats| stats.refused)),
            ("timed out", self.sum(|stats| stats.timed_out)),
            ("near misses", self.sum(Stats::near_misses)),
        ]
    }

    fn passed(&self, reason: PassReason) -> u64 {
        self.sum(|stats| stats.passed_by(reason))
    }

    fn vetoed(&self, reason: VetoReason) -> u64 {
        self.sum(|stats| stats.vetoed_by(reason))
    }

    fn sum(&self, of: impl Fn(&Stats) -> u64) -> u64 {
        self.0.iter().map(of).sum()
    }
}

/// `None` if there are none.
fn listed(what: &str, reasons: impl Iterator<Item = (&'static str, u64)>) -> Option<String> {
    let reasons: Vec<_> = reasons.filter(|(_, count)| *count > 0).collect();
    let all = reasons.iter().map(|(_, count)| count).sum();
    let each: Vec<_> =
        reasons.iter().map(|(name, count)| format!("{name} {}", grouped(*count))).collect();
    (!each.is_empty()).then(|| format!("{} {what} ({})", grouped(all), each.join(", ")))
}

fn missing(events: impl Iterator<Item = (String, u64)>) -> Vec<String> {
    events.filter(|(_, count)| *count == 0).map(|(name, _)| name).collect()
}
