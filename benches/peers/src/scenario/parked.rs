//! Tasks that wait for work that takes its time.

use crate::{
    contender::{BARE, Contender, Visit},
    contenders::visit_all,
    options::Options,
    picture::{Bars, Panel},
    report::{Report, Table},
    rounds::{Lineup, Rounds},
    runtime::{one_thread, settle, spawn_call},
    spread::Spread,
    work::{Gate, Tick, Work},
};
use cpu_time::ProcessTime;
use std::time::{Duration, Instant};
use tokio::time::sleep;

pub(crate) fn run(options: &Options) -> Report {
    let (tasks, rounds) = (options.size(10_000, 20), options.rounds(7));
    let window = options.size(Duration::from_millis(200), Duration::from_millis(5));
    let mut report = Report {
        title: "CPU while parked",
        about: format!(
            "{tasks} tasks wait for one piece of work, on a current-thread runtime; CPU time in \
             {window:?}, in percent of one core; {rounds} rounds. The floor is one task that does \
             the same work, and no waiters."
        ),
        tables: Vec::new(),
        panel: None,
    };
    let silent = measure(Gate::default(), tasks, window, rounds);
    tell("The inner work is silent: the floor is an idle runtime", silent, &mut report);
    let ticking = measure(Tick(Duration::from_millis(1)), tasks, window, rounds);
    let bars = tell("The inner work is woken every millisecond, and goes on", ticking, &mut report);
    report.panel = Some(Panel {
        title: format!("CPU while {tasks} wait"),
        about: "for work that is woken every ms",
        axis: format!("% of a core, {rounds} rounds"),
        unit: " %",
        floor: "the work alone",
        bars,
    });
    report
}

struct Parked<W> {
    work: W,
    tasks: usize,
    window: Duration,
    lineup: Lineup<'static, 1>,
}

fn measure<W: Work>(work: W, tasks: usize, window: Duration, rounds: usize) -> Rounds<1> {
    let mut parked = Parked { work, tasks, window, lineup: Lineup::new() };
    visit_all(&mut parked);
    parked.lineup.run(rounds)
}

impl<W: Work> Visit<W> for Parked<W> {
    fn visit<C: Contender<W>>(&mut self) {
        let (work, window) = (self.work.clone(), self.window);
        let tasks = if C::COALESCES { self.tasks } else { 1 };
        self.lineup.add(C::NAME, move || {
            [one_thread().block_on(park::<W, C>(work.clone(), tasks, window))]
        });
    }
}

async fn park<W: Work, C: Contender<W>>(work: W, tasks: usize, window: Duration) -> f64 {
    let contender = C::new(work);
    for _ in 0..tasks {
        drop(spawn_call(&contender, 7, drop));
    }
    settle().await;
    let (start, cpu) = (Instant::now(), ProcessTime::now());
    sleep(window).await;
    cpu.elapsed().as_secs_f64() / start.elapsed().as_secs_f64()
}

fn tell(caption: &str, measured: Rounds<1>, report: &mut Report) -> Bars {
    let mut bars = Bars::new();
    let percent = |share: Spread| {
        let Spread { low, median, high } = share;
        Spread { low: low * 100.0, median: median * 100.0, high: high * 100.0 }
    };
    let mut table = Table::new(caption, &["", "% of a core"]);
    for name in measured.names() {
        let name_shown = if name == BARE { "the work alone (the floor)" } else { name };
        let share = percent(measured.spread(name, 0));
        table.row([name_shown.to_string(), share.to_string()]);
        bars.push((name, share));
    }
    report.tables.push(table);
    bars
}
