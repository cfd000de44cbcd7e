//! A call that is alone.

use crate::{
    clock,
    contender::{Answer, BARE, BY_KEY, Contender, Visit},
    contenders::visit_all,
    options::Options,
    picture::{Bars, Panel},
    report::{Report, Table},
    rounds::{Lineup, Rounds},
    runtime::one_thread,
    work::{AtOnce, Work, YieldOnce},
};
use std::hint::black_box;
use tokio::runtime::Runtime;

/// In a second.
const NANOS: f64 = 1e9;

pub(crate) fn run(options: &Options) -> Report {
    let (calls, rounds) = (options.size(1_000, 10), options.rounds(400));
    let runtime = one_thread();
    let mut report = Report {
        title: "Solo",
        about: format!(
            "{calls} calls one after the other, with one key, in a task of a current-thread \
            runtime; CPU time of its thread; {rounds} rounds. The caches have no capacity, which \
            is cheaper for both than a fresh key for each call, or removing it."
        ),
        tables: Vec::new(),
        panel: None,
    };
    let at_once = measure(AtOnce, &runtime, calls, rounds);
    let bars = tell("The inner work is ready at once", at_once, &mut report);
    report.panel = Some(Panel {
        title: "A call that is alone".to_string(),
        about: "the inner work is ready at once",
        axis: format!("ns a call, {rounds} rounds"),
        unit: " ns",
        floor: BARE,
        bars,
    });
    let yields = measure(YieldOnce, &runtime, calls, rounds);
    tell("The inner work yields once", yields, &mut report);
    report
}

struct Solo<'a, W> {
    work: W,
    runtime: &'a Runtime,
    calls: usize,
    lineup: Lineup<'a, 1>,
}

fn measure<W: Work>(work: W, runtime: &Runtime, calls: usize, rounds: usize) -> Rounds<1> {
    let mut solo = Solo { work, runtime, calls, lineup: Lineup::new() };
    visit_all(&mut solo);
    solo.lineup.run(rounds)
}

impl<W: Work> Visit<W> for Solo<'_, W> {
    fn visit<C: Contender<W>>(&mut self) {
        let (runtime, calls) = (self.runtime, self.calls);
        let contender = C::new(self.work.clone());
        self.lineup.add(C::NAME, move || {
            let mut contender = contender.clone();
            let task = runtime.spawn(async move {
                let start = clock::now();
                for _ in 0..calls {
                    black_box(contender.call(black_box(7)).await.value());
                }
                clock::since(start) * NANOS / calls as f64
            });
            [runtime.block_on(task).expect("no call fails")]
        });
    }
}

fn tell(caption: &str, rounds: Rounds<1>, report: &mut Report) -> Bars {
    let mut bars = Bars::new();
    let mut table = Table::new(caption, &["", "ns a call", "÷ bare", "`by_key` ÷ this"]);
    for name in rounds.names() {
        let nanos = rounds.spread(name, 0);
        let (of_bare, of_it) =
            (rounds.ratio((name, 0), (BARE, 0)), rounds.ratio((BY_KEY, 0), (name, 0)));
        table.row([name.to_string(), nanos.to_string(), of_bare.to_string(), of_it.to_string()]);
        bars.push((name, nanos));
    }
    report.tables.push(table);
    bars
}
