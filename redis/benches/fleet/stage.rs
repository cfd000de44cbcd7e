//! A Redis, an upstream and some processes, and one burst of requests over them.

use crate::{
    meter::Meter,
    replica::Replica,
    rivals::Contender,
    server::Server,
    upstream::{Caller, Upstream, now},
};
use std::time::Duration;
use tokio::time::sleep;

pub(crate) struct Stage {
    redis: String,
    lease: Duration,
    meter: Meter,
    pub(crate) upstream: Upstream,
    pub(crate) replicas: Vec<Replica>,
    /// So that no two bursts have the same path.
    bursts: usize,
}

/// One burst.
pub(crate) struct Burst {
    pub(crate) upstream_calls: usize,
    /// How long after the upstream's first answer each request ended, in order.
    pub(crate) behind: Vec<Duration>,
    pub(crate) commands: u64,
    /// Of Redis, in microseconds.
    pub(crate) cpu: f64,
}

impl Stage {
    /// Starts so many processes.
    pub(crate) async fn new(server: &Server, processes: usize, lease: Duration) -> Self {
        let upstream = Upstream::start().await;
        let meter = Meter::new(server);
        let mut stage =
            Self { redis: server.url(), lease, meter, upstream, replicas: Vec::new(), bursts: 0 };
        stage.replicas = (0..processes).map(|number| stage.replica(number)).collect();
        for replica in &mut stage.replicas {
            replica.up().await;
        }
        stage
    }

    /// Starts a process, which is not up yet.
    pub(crate) fn replica(&self, number: usize) -> Replica {
        let caller = Caller { address: self.upstream.address, number };
        Replica::start(&self.redis, self.lease, caller)
    }

    /// Makes the first `processes` send so many requests each, and gives the path. The answer has
    /// so many bytes.
    pub(crate) fn send(
        &mut self,
        contender: Contender,
        processes: usize,
        each: usize,
        bytes: usize,
    ) -> String {
        self.bursts += 1;
        let path = format!("/{bytes}/{}", self.bursts);
        for replica in &mut self.replicas[..processes] {
            replica.get(contender, each, &path);
        }
        path
    }

    pub(crate) async fn burst(
        &mut self,
        contender: Contender,
        processes: usize,
        each: usize,
        bytes: usize,
    ) -> Burst {
        let commands = self.meter.calls(contender.commands());
        let cpu = self.meter.cpu();
        let path = self.send(contender, processes, each, bytes);
        let mut ends = Vec::new();
        for replica in &mut self.replicas[..processes] {
            ends.extend(replica.got().await);
        }
        // For what is done after the last answer, and is part of the cost.
        sleep(Duration::from_millis(5)).await;
        let cpu = self.meter.cpu() - cpu;
        let commands = self.meter.calls(contender.commands()) - commands;
        let calls = self.upstream.calls(&path);
        let answered = calls.answered.unwrap();
        assert!(ends.len() == processes * each && answered <= now());
        ends.sort_unstable();
        let behind = ends.into_iter().map(|end| Duration::from_nanos(end.saturating_sub(answered)));
        Burst { upstream_calls: calls.callers.len(), behind: behind.collect(), commands, cpu }
    }
}
