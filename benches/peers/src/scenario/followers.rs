//! What a follower allocates, and what it holds while it waits.

use crate::{
    contender::{BARE, Contender, Visit},
    contenders::visit_all,
    meter::Meter,
    options::Options,
    report::{Report, Table},
    runtime::{one_thread, settle, spawn_call},
    work::Gate,
};
use tokio::{
    runtime::Handle,
    task::{spawn, yield_now},
};

pub(crate) fn run(options: &Options, meter: Meter) -> Report {
    let followers = options.size(10_000, 20);
    let head = [
        "",
        "allocations until it waits",
        "live bytes while it waits",
        "allocations from the landing on",
    ];
    let mut counting = Counting { followers, meter, table: Table::new("", &head) };
    visit_all(&mut counting);
    let about = format!(
        "A mean of {followers} followers of one flight, each in a task of its own. The task \
         counts as one allocation, with its size. The floor is such tasks on a plain list of wakers."
    );
    Report { title: "Allocations of a follower", about, tables: vec![counting.table], panel: None }
}

struct Counting {
    followers: usize,
    meter: Meter,
    table: Table,
}

impl Visit<Gate> for Counting {
    fn visit<C: Contender<Gate>>(&mut self) {
        let runtime = one_thread();
        let gate = Gate::default();
        let contender = C::new(gate.clone());
        runtime.block_on(grow_queue(self.followers));
        // The leader, and one who makes company: what that costs is the flight's.
        runtime.block_on(join(&contender, 2));
        let before = alive(runtime.handle());
        let waiting = (self.meter)(&mut || runtime.block_on(join(&contender, self.followers)));
        assert_eq!(alive(runtime.handle()) - before, self.followers, "all of them wait");
        let landing = (self.meter)(&mut || {
            gate.open();
            runtime.block_on(end_of_all_tasks());
        });

        let each = |count: f64| count / self.followers as f64;
        let (allocations, live) = (each(waiting.allocations as f64), each(waiting.live as f64));
        self.table.row([
            if C::NAME == BARE { "waker list (the floor)" } else { C::NAME }.to_string(),
            format!("{allocations:.2}"),
            format!("{live:.0}"),
            format!("{:.2}", each(landing.allocations as f64)),
        ]);
    }
}

async fn join<C: Contender<Gate>>(contender: &C, tasks: usize) {
    for _ in 0..tasks {
        drop(spawn_call(contender, 7, drop));
    }
    settle().await;
}

/// The runtime's queue of tasks grows here, not where it is counted.
async fn grow_queue(tasks: usize) {
    (0..tasks + 10).for_each(|_| drop(spawn(yield_now())));
    settle().await;
}

async fn end_of_all_tasks() {
    while alive(&Handle::current()) > 0 {
        yield_now().await;
    }
}

/// Tasks that have not ended.
fn alive(runtime: &Handle) -> usize {
    runtime.metrics().num_alive_tasks()
}
