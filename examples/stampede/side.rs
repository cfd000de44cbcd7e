//! One run of the main job: fresh servers, fresh clients, one burst.

use crate::{
    BoxError,
    args::{Args, Side},
    clients::{Answer, Clients, Clock},
    gateway,
    report::Report,
    upstream::{self, Hits, Pages},
    usage,
};
use std::{sync::Arc, time::Duration};
use tokio::{
    runtime::Runtime,
    time::{MissedTickBehavior, interval},
};

pub(crate) fn run(side: Side, args: &Args) -> Result<Report, BoxError> {
    Runtime::new()?.block_on(async {
        let pages = upstream::pages(args.keys);
        burst(side, &args.warm_up(), pages.clone(), false).await?;
        burst(side, args, pages, true).await
    })
}

async fn burst(side: Side, args: &Args, pages: Pages, show: bool) -> Result<Report, BoxError> {
    let clock = Arc::new(Clock::default());
    let (upstream, hits) = upstream::start(args, pages.clone()).await?;
    let gateway = gateway::start(side, upstream, args.pool(), clock.clone()).await?;
    let clients = Clients::connect(gateway.addr, args, pages).await?;
    let watcher =
        show.then(|| tokio::spawn(watch(side, args.requests, clock.clone(), hits.clone())));

    let memory_before = usage::memory();
    let cpu_before = usage::cpu_time();
    let answers = clients.release(args.requests, clock.clone()).await?;
    let mut report = Report {
        wall: clock.since_release(),
        cpu: usage::cpu_time().zip(cpu_before).map(|(after, before)| after.saturating_sub(before)),
        memory: usage::peak_memory()
            .zip(memory_before)
            .map(|(peak, before)| peak.saturating_sub(before)),
        last_arrival: clock.last_arrival(),
        hits: hits.total(),
        most_hits: hits.most_for_one_key(),
        counted: gateway.layer.map(|layer| layer.stats().into()),
        ..Report::default()
    };
    if let Some(watcher) = watcher {
        watcher.abort();
        progress(side, args.requests, &clock, &hits);
    }
    report.add(answers);
    Ok(report)
}

async fn watch(side: Side, requests: usize, clock: Arc<Clock>, hits: Arc<Hits>) {
    let mut ticks = interval(Duration::from_millis(500));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        progress(side, requests, &clock, &hits);
    }
}

fn progress(side: Side, requests: usize, clock: &Clock, hits: &Hits) {
    eprintln!(
        "{side:>7} the layer {:6.1} s   {:>6} / {requests} answered   {:>6} upstream hits",
        clock.since_release().as_secs_f64(),
        clock.answered(),
        hits.total(),
    );
}

impl Report {
    fn add(&mut self, answers: Vec<Answer>) {
        for answer in answers {
            match answer {
                Answer::Right(latency) => self.latencies.push(latency),
                Answer::WrongBody => self.wrong_bodies += 1,
                Answer::Error(text) => {
                    self.errors += 1;
                    self.first_error.get_or_insert(text);
                }
            }
        }
        self.latencies.sort_unstable();
    }
}
