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
    io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines},
    process,
    task::JoinSet,
    time::{sleep, timeout},
};

/// The program itself, in front of an origin.
pub(crate) struct Program {
    pub(crate) addr: SocketAddr,
    child: process::Child,
    lines: Lines<BufReader<process::ChildStdout>>,
}

impl Program {
    pub(crate) async fn start(origin: &Origin) -> Self {
        Self::start_with(origin, &[]).await
    }

    async fn start_with(origin: &Origin, args: &[&str]) -> Self {
        let mut command = process::Command::new(example("proxy"));
        command
            .args(["--listen", "127.0.0.1:0", "--upstream", &format!("http://{}", origin.addr)])
            .args(args);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.next_line().await.unwrap().unwrap();
        let addr = line.strip_prefix("listening on ").unwrap().parse().unwrap();
        Self { addr, child, lines }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    fn signal(&self, name: &str) {
        assert!(
            Command::new("kill").arg(name).arg(self.id().to_string()).status().unwrap().success()
        );
    }

    /// What it says on stderr until it ends, which it does well.
    async fn last_words(mut self) -> String {
        let mut words = String::new();
        let stderr = self.child.stderr.as_mut().unwrap().read_to_string(&mut words);
        timeout(Duration::from_secs(5), stderr).await.expect("it ends").unwrap();
        assert_eq!(self.child.wait().await.unwrap().code(), Some(0));
        words
    }
}

#[tokio::test]
async fn the_program_says_where_it_listens_and_stops_on_sigterm() {
    let origin = Origin::new(|_| Reply::ok("hello")).await;
    let mut proxy = Program::start(&origin).await;
    assert_eq!(Client::get(proxy.addr, "/").await.unwrap().text(), "hello");
    proxy.signal("-TERM");
    let status = timeout(Duration::from_secs(5), proxy.child.wait()).await.unwrap().unwrap();
    assert_eq!((status.code(), proxy.lines.next_line().await.unwrap()), (Some(0), None));
}

#[tokio::test]
async fn the_program_says_what_it_did_when_it_stops() {
    let layer = "layer: led 1, joined 4, passed 1 (method 1), in flight 0, waiting 0";
    for (args, signal, calls, layer) in [
        (&[][..], "-INT", 2, layer),
        (&[], "-TERM", 2, layer),
        (&["--no-coalesce"], "-INT", 6, "layer: left out"),
    ] {
        let origin = Origin::new(|request| match request.start.starts_with("GET") {
            true => Reply::default().hold().send("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nhot"),
            false => Reply::ok(""),
        });
        let origin = origin.await;
        let proxy = Program::start_with(&origin, args).await;
        Client::once(proxy.addr, "PUT / HTTP/1.1\r\nhost: example\r\ncontent-length: 0\r\n\r\n")
            .await
            .unwrap();
        let addr = proxy.addr;
        let clients: JoinSet<_> = (0..5).map(|_| Client::get(addr, "/")).collect();
        origin.hit(calls).await;
        sleep(Duration::from_millis(300)).await;
        proxy.signal(signal);
        timeout(Duration::from_secs(5), async {
            while Client::try_connect(addr).await {
                sleep(Duration::from_millis(5)).await
            }
        })
        .await
        .expect("it accepts no more");
        origin.release();
        for answer in clients.join_all().await {
            assert_eq!(answer.unwrap().text(), "hot", "it is answered all the same");
        }
        let words = proxy.last_words().await;
        assert_eq!(words, format!("requests 6, upstream calls {calls}\n{layer}\n"));
    }
}

#[tokio::test]
async fn the_program_shares_posts_if_it_is_told_to() {
    let origin = Origin::new(|_| {
        Reply::default().hold().send("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nhot")
    })
    .await;
    let proxy = Program::start_with(&origin, &["--key-from-body", "5"]).await;
    let addr = proxy.addr;
    let post = |path: &str, body: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nhost: example\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let texts = [post("/a", "short"), post("/a", "short"), post("/b", "longer")];
    let clients: JoinSet<_> =
        texts.into_iter().map(|text| async move { Client::once(addr, &text).await }).collect();
    origin.hit(2).await;
    sleep(Duration::from_millis(300)).await;
    origin.release();
    assert!(clients.join_all().await.into_iter().all(|answer| answer.unwrap().text() == "hot"));
    proxy.signal("-TERM");
    let words = proxy.last_words().await;
    assert!(
        words.starts_with(
            "requests 3, upstream calls 2\nlayer: led 1, joined 1, passed 1 (body 1), "
        ),
        "{words}"
    );
}

#[tokio::test]
async fn the_program_refuses_what_it_does_not_know() {
    for args in [
        &["--nonsense"][..],
        &[],
        &["--listen", "127.0.0.1:0", "--upstream", "https://example.com"],
    ] {
        let output = process::Command::new(example("proxy")).args(args).output().await.unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
    }
}
