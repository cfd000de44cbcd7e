//! What a lone call allocates.

use crate::{
    contender::{Answer, Contender, Visit},
    contenders::visit_all,
    meter::{Counts, Meter},
    options::Options,
    report::{Report, Table},
    runtime::one_thread,
    work::{AtOnce, Work, YieldOnce},
};
use std::hint::black_box;
use tokio::runtime::Runtime;

pub(crate) fn run(options: &Options, meter: Meter) -> Report {
    let calls = options.size(10_000, 10);
    let runtime = one_thread();
    let at_once = count(AtOnce, &runtime, calls, meter);
    let yields = count(YieldOnce, &runtime, calls, meter);

    let head = ["", "ready at once: allocations", "bytes", "yields once: allocations", "bytes"];
    let mut table = Table::new("", &head);
    for ((name, at_once), (_, yields)) in at_once.iter().zip(&yields) {
        let a_call = |count: u64| format!("{:.2}", count as f64 / calls as f64);
        let cells =
            [at_once, yields].map(|counts| [a_call(counts.allocations), a_call(counts.bytes)]);
        table.row([name.to_string()].into_iter().chain(cells.concat()));
    }
    let about = format!(
        "A mean of {calls} calls one after the other, with one integer key, after {calls} to warm \
         up. The inner work allocates nothing."
    );
    Report { title: "Allocations of a call", about, tables: vec![table], panel: None }
}

struct Counting<'a, W> {
    work: W,
    runtime: &'a Runtime,
    calls: usize,
    meter: Meter,
    counts: Vec<(&'static str, Counts)>,
}

fn count<W: Work>(
    work: W,
    runtime: &Runtime,
    calls: usize,
    meter: Meter,
) -> Vec<(&'static str, Counts)> {
    let mut counting = Counting { work, runtime, calls, meter, counts: Vec::new() };
    visit_all(&mut counting);
    counting.counts
}

impl<W: Work> Visit<W> for Counting<'_, W> {
    fn visit<C: Contender<W>>(&mut self) {
        let mut contender = C::new(self.work.clone());
        let mut calls = || {
            self.runtime.block_on(async {
                for _ in 0..self.calls {
                    black_box(contender.call(7).await.value());
                }
            });
        };
        calls();
        self.counts.push((C::NAME, (self.meter)(&mut calls)));
    }
}
