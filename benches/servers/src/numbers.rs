//! Many bursts in few numbers.

use std::{fmt, time::Duration};

/// The value that `percent` do not exceed, of values in ascending order.
pub(crate) fn percentile(values: &[Duration], percent: usize) -> Duration {
    values[(values.len() * percent).div_ceil(100).max(1) - 1]
}

/// The median of a few values, the least and the greatest.
#[derive(Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<_> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 0 {
            f64::midpoint(values[middle - 1], values[middle])
        } else {
            values[middle]
        };
        Self { median, least: values[0], most: values[values.len() - 1] }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = f.precision().unwrap_or(1);
        let Self { median, least, most } = self;
        write!(f, "{median:.places$} ({least:.places$}–{most:.places$})")
    }
}

pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
