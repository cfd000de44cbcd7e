#![cfg(unix)]

use crate::{
    example::example,
    support::{Client, Origin, Reply},
};
use std::{
    net::SocketAddr,
    process::{Command, Stdio},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process,
    time::timeout,
};

/// The program itself, in front of an origin.
pub(crate) struct Program {
    pub(crate) addr: SocketAddr,
    child: process::Child,
    lines: Lines<BufReader<process::ChildStdout>>,
}

impl Program {
    pub(crate) async fn start(origin: &Origin) -> Self {
        let mut command = process::Command::new(example("proxy"));
        command.args(["--listen", "127.0.0.1:0", "--upstream", &format!("http://{}", origin.addr)]);
        let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.next_line().await.unwrap().unwrap();
        let addr = line.strip_prefix("listening on ").unwrap().parse().unwrap();
        Self { addr, child, lines }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id().expect("it runs")
    }
}

#[tokio::test]
async fn the_program_says_where_it_listens_and_stops_on_sigterm() {
    let origin = Origin::new(|_| Reply::ok("hello")).await;
    let mut proxy = Program::start(&origin).await;
    assert_eq!(Client::get(proxy.addr, "/").await.unwrap().text(), "hello");
    let kill = Command::new("kill").arg("-TERM").arg(proxy.id().to_string()).status();
    assert!(kill.unwrap().success());
    let status = timeout(Duration::from_secs(5), proxy.child.wait()).await.unwrap().unwrap();
    assert_eq!((status.code(), proxy.lines.next_line().await.unwrap()), (Some(0), None));
}

#[tokio::test]
async fn the_program_refuses_what_it_does_not_know() {
    for args in [&["--nonsense"][..], &[], &["--listen", "127.0.0.1:0", "--upstream", "https://example.com"]] {
        let output = process::Command::new(example("proxy")).args(args).output().await.unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
    }
}
