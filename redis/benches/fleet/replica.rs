//! A replica, as its parent sees it: this program once more, as a process of its own.

use crate::{
    rivals::Contender,
    upstream::{Caller, now},
};
use std::{
    env,
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};
use tokio::{
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    time::timeout,
};

/// What the benchmark waits for at most.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Replica {
    process: Child,
    lines: UnboundedReceiver<String>,
}

impl Replica {
    /// Starts a process that calls the upstream by `caller`.
    pub(crate) fn start(redis: &str, lease: Duration, caller: Caller) -> Self {
        let mut process = Command::new(env::current_exe().unwrap())
            .args(["replica", redis, &lease.as_millis().to_string()])
            .args([caller.address.to_string(), caller.number.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = unbounded_channel();
        let output = process.stdout.take().unwrap();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Self { process, lines }
    }

    /// Waits until it is connected.
    pub(crate) async fn up(&mut self) {
        assert_eq!(self.line().await, "up");
    }

    /// Makes it send so many requests at once.
    pub(crate) fn get(&mut self, contender: Contender, requests: usize, path: &str) {
        let stdin = self.process.stdin.as_mut().unwrap();
        writeln!(stdin, "{} {requests} {path}", contender as usize).unwrap();
    }

    /// When each of the requests ended. All have to succeed.
    pub(crate) async fn got(&mut self) -> Vec<u64> {
        let line = self.line().await;
        let mut numbers = line.split(' ').map(|word| word.parse::<u64>().unwrap());
        let (failed, first) = (numbers.next().unwrap(), numbers.next().unwrap());
        assert_eq!(failed, 0, "requests failed");
        assert!(first <= now());
        numbers.map(|later| first + later * 1000).collect()
    }

    async fn line(&mut self) -> String {
        timeout(PATIENCE, self.lines.recv())
            .await
            .expect("a replica hangs")
            .expect("a replica has ended")
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
