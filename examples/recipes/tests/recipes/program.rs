//! A recipe in a process of its own.

use crate::{client, hold::Hold};
use std::{collections::HashMap, net::SocketAddr, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::{sleep, timeout},
};

/// What hangs says where.
pub(crate) async fn within<T>(what: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(60), what).await.expect("it comes to an end")
}

/// A server.
pub(crate) struct Program {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    pub(crate) address: SocketAddr,
}

impl Program {
    /// Returns when it listens.
    pub(crate) async fn start(exe: &str, args: &[&str]) -> Self {
        Self::run(Command::new(exe).arg("127.0.0.1:0").args(args)).await
    }

    /// Its expensive calls wait in `hold`.
    pub(crate) async fn held(exe: &str, hold: &Hold) -> Self {
        Self::run(Command::new(exe).env("RECIPES_HOLD", hold.address.to_string())).await
    }

    async fn run(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = within(lines.next_line()).await.unwrap().expect("it says where it listens");
        let address = line.strip_prefix("listening on ").unwrap().parse().unwrap();
        Self { child, lines, address }
    }

    /// What it counted.
    pub(crate) async fn stats(&self) -> HashMap<String, usize> {
        let stats = client::get(self.address, "/stats").await.text;
        let line = |line: &str| {
            line.split_once(' ').map(|(name, count)| (name.to_owned(), count.parse().unwrap()))
        };
        stats.lines().map(|stat| line(stat).unwrap()).collect()
    }

    /// These of what it counted.
    pub(crate) async fn counted<const N: usize>(&self, names: [&str; N]) -> [usize; N] {
        let stats = self.stats().await;
        names.map(|name| stats[name])
    }

    /// Asks until it has counted so many: no event tells when requests have arrived.
    pub(crate) async fn until(&self, name: &str, count: usize) {
        within(async {
            while self.stats().await[name] != count {
                sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
    }

    /// Stops it as an operator does, and returns its log.
    pub(crate) async fn stop(mut self) -> String {
        let kill = Command::new("kill")
            .arg("-TERM")
            .arg(self.child.id().unwrap().to_string())
            .status()
            .await;
        assert!(kill.unwrap().success());
        let mut log = String::new();
        within(self.child.stderr.take().unwrap().read_to_string(&mut log)).await.unwrap();
        let status = within(self.child.wait()).await.unwrap();
        assert_eq!(
            (status.code(), self.lines.next_line().await.unwrap()),
            (Some(0), None),
            "{log}"
        );
        log
    }
}
