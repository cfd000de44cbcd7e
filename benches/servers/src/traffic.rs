//! What traffic without duplicates came to, as text.

use crate::{distinct::CONNECTIONS, numbers::Spread, origin::Kind};
use std::fmt::Write;

/// Of what the proxy does without the layer.
const WANTED: f64 = 0.95;

/// The rates of each round, with the layer and without it, in answers a second.
#[derive(Default)]
pub(crate) struct Traffic(Vec<(Kind, [f64; 2])>);

impl Traffic {
    pub(crate) fn add(&mut self, kind: Kind, rates: [f64; 2]) {
        self.0.push((kind, rates));
    }

    /// The ratios of each round: above 1 is in the layer's favour.
    pub(crate) fn tell(&self) -> String {
        let mut text = format!(
            "Traffic without duplicates, {CONNECTIONS} connections; hits as many as answers\n\n"
        );
        for kind in Kind::DISTINCT {
            let of_kind = self.0.iter().filter(|(of, _)| *of == kind);
            let ratio = Spread::of(of_kind.map(|(_, [with, without])| with / without));
            let verdict = if ratio.median >= WANTED { "met" } else { "missed" };
            let name = kind.as_str();
            writeln!(
                text,
                "- at least {WANTED} of `--no-coalesce`: answers a second, `{name}` = {ratio:.2}: {verdict}"
            )
            .expect("a string grows");
        }
        text
    }
}
