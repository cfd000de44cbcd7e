//! What traffic without duplicates came to, as text.

use crate::{distinct::CONNECTIONS, numbers::Spread, origin::Kind};
use std::fmt::Write;

/// Of what the proxy does without the layer.
const WANTED: f64 = 0.95;

/// What one proxy did in a round.
#[derive(Clone, Copy, Default)]
pub(crate) struct Turn {
    /// In answers a second.
    pub(crate) rate: f64,
    /// CPU time of the proxy for an answer, in microseconds, if the system tells.
    pub(crate) cpu: Option<f64>,
}

/// The turns of each round, with the layer and without it.
#[derive(Default)]
pub(crate) struct Traffic(Vec<(Kind, [Turn; 2])>);

impl Traffic {
    pub(crate) fn add(&mut self, kind: Kind, turns: [Turn; 2]) {
        self.0.push((kind, turns));
    }

    /// The ratios of each round: of the rates, above 1 is in the layer's favour; of the CPU time,
    /// which other programs on the machine do not touch as much, below 1.
    pub(crate) fn tell(&self) -> String {
        let mut text = format!(
            "Traffic without duplicates, {CONNECTIONS} connections; hits as many as answers\n\n"
        );
        for kind in Kind::DISTINCT {
            let turns = || self.0.iter().filter(|(of, _)| *of == kind).map(|(_, turns)| turns);
            let ratio = Spread::of(turns().map(|[with, without]| with.rate / without.rate));
            let verdict = if ratio.median >= WANTED { "met" } else { "missed" };
            let name = kind.as_str();
            writeln!(
                text,
                "- `{name}`: answers a second ÷ those of `--no-coalesce` = {ratio:.2}; at least \
                {WANTED} is wanted: {verdict}"
            )
            .expect("a string grows");
            let cpu = |nth: usize| turns().filter_map(move |turns| turns[nth].cpu);
            let ratios: Vec<_> = cpu(0).zip(cpu(1)).map(|(with, without)| with / without).collect();
            if !ratios.is_empty() {
                let ([with, without], ratio) =
                    ([0, 1].map(|n| Spread::of(cpu(n))), Spread::of(ratios));
                writeln!(
                    text,
                    "- `{name}`: CPU time of the proxy {with} µs an answer, {without} µs without \
                    the layer, ratio {ratio:.2}"
                )
                .expect("a string grows");
            }
        }
        text
    }
}
