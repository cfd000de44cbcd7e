//! What one run measured, and its way from the process that ran it to the one that prints it.

use crate::BoxError;
use std::{fmt::Write, str::FromStr, time::Duration};
use tower_singleflight::Stats;

#[derive(Default)]
pub(crate) struct Report {
    pub(crate) hits: u64,
    /// Of the key that has the most.
    pub(crate) most_hits: u64,
    pub(crate) wrong_bodies: u64,
    pub(crate) errors: u64,
    pub(crate) first_error: Option<String>,
    pub(crate) wall: Duration,
    /// When the last request of the burst reached the gateway.
    pub(crate) last_arrival: Duration,
    pub(crate) cpu: Option<Duration>,
    /// What the burst took above the memory that was resident before it, in KiB.
    pub(crate) memory: Option<u64>,
    pub(crate) counted: Option<Counted>,
    /// Of the right answers, in ascending order.
    pub(crate) latencies: Vec<Duration>,
}

/// What the layer counted: [`Stats`], as far as the burst concerns it.
#[derive(Clone, Copy, Default)]
pub(crate) struct Counted {
    pub(crate) led: u64,
    pub(crate) joined: u64,
    pub(crate) passed: u64,
    pub(crate) vetoed: u64,
    pub(crate) cancelled: u64,
    pub(crate) panicked: u64,
    pub(crate) lost: u64,
}

impl From<Stats> for Counted {
    fn from(stats: Stats) -> Self {
        let Stats { led, joined, passed, vetoed, cancelled, panicked, lost, .. } = stats;
        Self { led, joined, passed, vetoed, cancelled, panicked, lost }
    }
}

impl Report {
    /// The latency that `percent` of the right answers did not exceed.
    pub(crate) fn percentile(&self, percent: usize) -> Option<Duration> {
        let rank = (self.latencies.len() * percent).div_ceil(100);
        self.latencies.get(rank.checked_sub(1)?).copied()
    }

    /// Why the run with the layer is a failure.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.most_hits > 1 {
            faults.push(format!(
                "the layer let {} requests for one key through; if the last arrival ({:.2} s) is \
                 as late as the first\n\
                 answer, raise --upstream-ms: what comes after an answer starts anew",
                self.most_hits,
                self.last_arrival.as_secs_f64()
            ));
        }
        if self.wrong_bodies > 0 {
            faults.push(format!("{} clients got a wrong body", self.wrong_bodies));
        }
        if let Some(error) = &self.first_error {
            faults.push(format!("{} clients got an error, the first: {error}", self.errors));
        }
        faults
    }

    /// One number a line.
    pub(crate) fn to_text(&self) -> String {
        let mut text = String::new();
        let mut put =
            |name: &str, value: u64| writeln!(text, "{name} {value}").expect("a string grows");
        put("hits", self.hits);
        put("most_hits", self.most_hits);
        put("wrong_bodies", self.wrong_bodies);
        put("errors", self.errors);
        put("wall", micros(self.wall));
        put("last_arrival", micros(self.last_arrival));
        self.cpu.into_iter().for_each(|cpu| put("cpu", micros(cpu)));
        self.memory.into_iter().for_each(|memory| put("memory_kib", memory));
        if let Some(counted) = self.counted {
            put("led", counted.led);
            put("joined", counted.joined);
            put("passed", counted.passed);
            put("vetoed", counted.vetoed);
            put("cancelled", counted.cancelled);
            put("panicked", counted.panicked);
            put("lost", counted.lost);
        }
        self.latencies.iter().for_each(|latency| put("latency", micros(*latency)));
        if let Some(error) = &self.first_error {
            text += &format!("first_error {}\n", error.replace('\n', " "));
        }
        text
    }

    pub(crate) fn from_text(text: &str) -> Result<Self, BoxError> {
        let mut report = Self::default();
        for line in text.lines() {
            report.read(line).ok_or_else(|| format!("cannot read this line of a run: {line}"))?;
        }
        Ok(report)
    }

    fn read(&mut self, line: &str) -> Option<()> {
        let (name, value) = line.split_once(' ')?;
        if name == "first_error" {
            self.first_error = Some(value.into());
            return Some(());
        }
        let number = u64::from_str(value).ok()?;
        let time = Duration::from_micros(number);
        match name {
            "hits" => self.hits = number,
            "most_hits" => self.most_hits = number,
            "wrong_bodies" => self.wrong_bodies = number,
            "errors" => self.errors = number,
            "wall" => self.wall = time,
            "last_arrival" => self.last_arrival = time,
            "cpu" => self.cpu = Some(time),
            "memory_kib" => self.memory = Some(number),
            "latency" => self.latencies.push(time),
            _ => self.counted.get_or_insert_default().read(name, number)?,
        }
        Some(())
    }
}

impl Counted {
    fn read(&mut self, name: &str, number: u64) -> Option<()> {
        let field = match name {
            "led" => &mut self.led,
            "joined" => &mut self.joined,
            "passed" => &mut self.passed,
            "vetoed" => &mut self.vetoed,
            "cancelled" => &mut self.cancelled,
            "panicked" => &mut self.panicked,
            "lost" => &mut self.lost,
            _ => return None,
        };
        *field = number;
        Some(())
    }
}

fn micros(time: Duration) -> u64 {
    time.as_micros() as u64
}
