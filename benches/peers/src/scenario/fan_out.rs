//! One piece of work, and many tasks that wait for it.

mod race;

use crate::{
    contender::{BARE, BY_KEY, Contender, Visit},
    contenders::visit_all,
    options::Options,
    picture::{Bars, Panel},
    report::{Report, Table},
    rounds::{Lineup, Rounds},
    runtime::{one_thread, settle, spawn_call},
    work::Gate,
};
use race::Race;
use tokio::runtime::Runtime;

const LAST: usize = 0;
const LEADER: usize = 1;
const STARTED: usize = 2;

/// How many tasks, in how many rounds, and how many times in one turn.
const SIZES: [(usize, usize, usize); 4] =
    [(10, 200, 100), (1_000, 200, 2), (10_000, 60, 1), (100_000, 15, 1)];

/// The size that is in the picture.
const PICTURED: usize = 10_000;

pub(crate) fn run(options: &Options) -> Report {
    let runtime = one_thread();
    let mut report = Report {
        title: "Fan-out",
        about: "From the end of the inner work until the last of N tasks that wait for it has its \
            result, and until the leader has it: the task that called first. On one thread, so \
            that the order is that of the wake-ups. The floor is N tasks on a plain list of \
            wakers, woken under no lock."
            .to_string(),
        tables: Vec::new(),
        panel: None,
    };
    for (size, rounds, times) in SIZES {
        let (tasks, rounds) = (options.size(size, size.min(100)), options.rounds(rounds));
        let mut fan_out = FanOut { runtime: &runtime, tasks, times, lineup: Lineup::new() };
        visit_all(&mut fan_out);
        let bars = tell(tasks, rounds, fan_out.lineup.run(rounds), &mut report);
        if size == PICTURED {
            report.panel = Some(Panel {
                title: format!("Fan-out to {tasks}"),
                about: "until the last has its result",
                axis: format!("times the floor, {rounds} rounds"),
                unit: "×",
                floor: "a plain waker list",
                bars,
            });
        }
    }
    report
}

struct FanOut<'a> {
    runtime: &'a Runtime,
    tasks: usize,
    times: usize,
    lineup: Lineup<'a, 3>,
}

impl Visit<Gate> for FanOut<'_> {
    fn visit<C: Contender<Gate>>(&mut self) {
        let (runtime, tasks, times) = (self.runtime, self.tasks, self.times);
        self.lineup.add(C::NAME, move || {
            let mut sum = [0.0; 3];
            for _ in 0..times {
                let one = runtime.block_on(fan_out::<C>(tasks));
                sum.iter_mut().zip(one).for_each(|(sum, one)| *sum += one);
            }
            sum.map(|sum| sum / times as f64)
        });
    }
}

async fn fan_out<C: Contender<Gate>>(tasks: usize) -> [f64; 3] {
    let gate = Gate::default();
    let contender = C::new(gate.clone());
    let race = Race::new(tasks);
    for task in 0..tasks {
        let race = race.clone();
        drop(spawn_call(&contender, 7, move |_| race.finish(task)));
    }
    settle().await;
    let started = gate.started() as f64;
    race.start();
    gate.open();
    let (last, leader) = race.result().await;
    [last, leader, started]
}

fn tell(tasks: usize, rounds: usize, measured: Rounds<3>, report: &mut Report) -> Bars {
    let mut bars = Bars::new();
    let head =
        ["", "last ÷ the floor's", "`by_key` ÷ this", "leader ÷ its own last", "inner calls"];
    let mut table = Table::new(format!("N = {tasks}, {rounds} rounds"), &head);
    for name in measured.names() {
        let of_floor = measured.ratio((name, LAST), (BARE, LAST));
        bars.push((name, of_floor));
        table.row([
            if name == BARE { "waker list (the floor)" } else { name }.to_string(),
            of_floor.to_string(),
            measured.ratio((BY_KEY, LAST), (name, LAST)).to_string(),
            measured.ratio((name, LEADER), (name, LAST)).to_string(),
            if name == BARE {
                "–".to_string()
            } else {
                format!("{:.0}", measured.spread(name, STARTED).high)
            },
        ]);
    }
    report.tables.push(table);
    bars
}
