//! Numbers as they stand in the tables.

use std::{fs, thread, time::Duration};

/// A percentile of values that are in order.
pub(crate) fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() - 1) * percent / 100]
}

pub(crate) fn ms(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

/// One number if it was always the same.
pub(crate) fn range(values: &[usize]) -> String {
    match (values.iter().min(), values.iter().max()) {
        (Some(min), Some(max)) if min < max => format!("{min}–{max}"),
        (Some(min), _) => min.to_string(),
        (None, _) => "none".to_owned(),
    }
}

pub(crate) fn load() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().filter(|load| !load.is_empty()).unwrap_or("unknown").to_owned()
}

/// With the mean, unless it was always the same.
pub(crate) fn range_and_mean(values: &[usize]) -> String {
    let range = range(values);
    if range.parse::<usize>().is_ok() {
        return range;
    }
    let mean = values.iter().sum::<usize>() as f64 / values.len() as f64;
    format!("{range}, mean {mean:.2}")
}

/// Begins a section.
pub(crate) fn heading(title: &str) {
    println!("\n## {title}\n");
}

/// Begins a table.
pub(crate) fn columns(names: &[&str]) {
    println!("| {} |\n|{}", names.join(" | "), "---|".repeat(names.len()));
}

pub(crate) fn machine(redis: &str) -> String {
    let cores = thread::available_parallelism().map_or(0, usize::from);
    format!("Redis {redis}, {cores} cores")
}
