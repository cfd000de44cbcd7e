//! Followers that are dropped before their flight lands.

use crate::{
    clock,
    contender::{BARE, BY_KEY, Contender, Visit},
    contenders::visit_all,
    options::Options,
    report::{Report, Table},
    rounds::Lineup,
    runtime::{one_thread, settle},
    work::Gate,
};
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Wake, Waker},
};
use tokio::runtime::Runtime;

const FEW: usize = 0;
const MANY: usize = 1;

pub(crate) fn run(options: &Options) -> Report {
    let (few, many) = options.size((300, 30_000), (3, 30));
    let rounds = options.rounds(11);
    let runtime = one_thread();
    let mut leave = Leave { runtime: &runtime, few, many, lineup: Lineup::new() };
    visit_all(&mut leave);
    let measured = leave.lineup.run(rounds);
    let head = [
        "".to_string(),
        format!("a follower of {many} ÷ one of {few}"),
        format!("a follower of {many} ÷ the floor's"),
        "`by_key` ÷ this".to_string(),
    ];
    let mut table = Table::new("", &head.each_ref().map(String::as_str));
    for name in measured.names() {
        table.row([
            if name == BARE { "futures that are only dropped (the floor)" } else { name }
                .to_string(),
            measured.ratio((name, MANY), (name, FEW)).to_string(),
            measured.ratio((name, MANY), (BARE, MANY)).to_string(),
            measured.ratio((BY_KEY, MANY), (name, MANY)).to_string(),
        ]);
    }
    let about = format!(
        "{many} followers, polled once each, are dropped in the order in which they came, while \
         their flight goes on: in flights of {many}, and of {few}; {rounds} rounds. Boxed futures, \
         polled by hand, so that it is their drop that is measured, and no task's. The floor \
         leaves its wakers where they are."
    );
    Report { title: "Leaving", about, tables: vec![table], panel: None }
}

struct Leave<'a> {
    runtime: &'a Runtime,
    few: usize,
    many: usize,
    lineup: Lineup<'a, 2>,
}

impl Visit<Gate> for Leave<'_> {
    fn visit<C: Contender<Gate>>(&mut self) {
        let (runtime, few, many) = (self.runtime, self.few, self.many);
        self.lineup.add(C::NAME, move || {
            let in_small_flights: f64 =
                (0..many / few).map(|_| runtime.block_on(leave::<C>(few))).sum();
            [in_small_flights, runtime.block_on(leave::<C>(many))]
        });
    }
}

/// The seconds that `followers` take to leave their flight.
async fn leave<C: Contender<Gate>>(followers: usize) -> f64 {
    let contender = C::new(Gate::default());
    let leader = parked(&contender);
    let mut followers: Vec<_> = (0..followers).map(|_| parked(&contender)).collect();
    settle().await;
    let start = clock::now();
    followers.drain(..).for_each(drop);
    let elapsed = clock::since(start);
    drop(leader);
    settle().await;
    elapsed
}

struct Silent;

impl Wake for Silent {
    fn wake(self: Arc<Self>) {}
}

/// A call that has been polled, with a waker of its own, as a task has.
fn parked<C: Contender<Gate>>(contender: &C) -> Pin<Box<impl Future + Send + use<C>>> {
    let waker = Waker::from(Arc::new(Silent));
    let mut call = Box::pin(contender.clone().once(7));
    assert!(call.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    call
}
