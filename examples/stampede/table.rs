//! Both runs side by side, in 80 columns.

use crate::{
    args::Args,
    report::{Counted, Report},
};
use std::time::Duration;

pub(crate) fn render(args: &Args, without: &Report, with: &Report) -> String {
    let count = |name, of: fn(&Report) -> u64| {
        row(name, Some(of(without) as f64), Some(of(with) as f64), whole)
    };
    let time = |name, of: &dyn Fn(&Report) -> Option<Duration>| {
        let seconds = |report| of(report).map(|time| time.as_secs_f64());
        row(name, seconds(without), seconds(with), |value| format!("{value:.3} s"))
    };
    let mebibytes = |report: &Report| report.memory.map(|kib| kib as f64 / 1024.0);
    let rows = [
        args.summary(),
        String::new(),
        line("", "without", "with layer", "without / with"),
        "-".repeat(72),
        count("upstream hits", |report| report.hits),
        count("  most for one key", |report| report.most_hits),
        time("latency p50", &|report| report.percentile(50)),
        time("        p99", &|report| report.percentile(99)),
        time("        max", &|report| report.percentile(100)),
        count("errors", |report| report.errors),
        count("wrong bodies", |report| report.wrong_bodies),
        time("wall time", &|report| Some(report.wall)),
        time("CPU time", &|report| report.cpu),
        row("extra memory", mebibytes(without), mebibytes(with), |value| format!("{value:.1} MiB")),
        time("last arrival", &|report| Some(report.last_arrival)),
        String::new(),
        "CPU time and memory are those of clients, gateway and upstream together.".into(),
        with.counted.map(counted).unwrap_or_default(),
    ];
    rows.join("\n")
}

fn row(name: &str, without: Option<f64>, with: Option<f64>, show: fn(f64) -> String) -> String {
    let cell = |value: Option<f64>| value.map_or("n/a".into(), show);
    line(name, &cell(without), &cell(with), &ratio(without, with).unwrap_or_default())
}

fn line(name: &str, without: &str, with: &str, ratio: &str) -> String {
    let line = format!("{name:<20}{without:>16}{with:>18}{ratio:>18}");
    line.trim_end().to_owned()
}

fn ratio(without: Option<f64>, with: Option<f64>) -> Option<String> {
    let (without, with) = without.zip(with)?;
    let ratio = without / with;
    if !ratio.is_finite() {
        return None;
    }
    Some(if ratio < 100.0 { format!("{ratio:.1} x") } else { format!("{} x", whole(ratio)) })
}

fn counted(counted: Counted) -> String {
    let Counted { led, joined, passed, vetoed, cancelled, panicked, lost } = counted;
    format!(
        "The layer counted {} led, {} joined, {} passed, {} vetoed,\n{} cancelled, {} panicked, \
         {} lost.",
        grouped(led),
        grouped(joined),
        grouped(passed),
        grouped(vetoed),
        grouped(cancelled),
        grouped(panicked),
        grouped(lost)
    )
}

pub(crate) fn whole(value: f64) -> String {
    grouped(value.round() as u64)
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
