//! A measure of many rounds.

use std::fmt;

/// The median, and the 10th and the 90th percentile.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub(crate) low: f64,
    pub(crate) median: f64,
    pub(crate) high: f64,
}

impl Spread {
    /// # Panics
    ///
    /// Without values.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |share: f64| values[(share * (values.len() - 1) as f64).round() as usize];
        Self { low: at(0.1), median: at(0.5), high: at(0.9) }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { low, median, high } = self;
        write!(f, "{} ({}–{})", digits(*median), digits(*low), digits(*high))
    }
}

/// Three digits that matter, but no more than three behind the point.
pub(crate) fn digits(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_the_median_and_what_four_in_five_rounds_lie_between() {
        let spread = Spread::of((0..=100).rev().map(f64::from));
        assert_eq!((spread.low, spread.median, spread.high), (10.0, 50.0, 90.0));
    }

    #[test]
    fn one_round_has_no_spread() {
        assert_eq!(Spread::of([1.5]).to_string(), "1.50 (1.50–1.50)");
    }
}
