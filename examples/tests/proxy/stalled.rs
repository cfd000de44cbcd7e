//! What a client that stops reading costs the others, and the program.
#![cfg(unix)]

use crate::{
    binary::Program,
    support::{Client, Message, Origin, Reply},
};
use std::time::{Duration, Instant};

const LEN: usize = 48 << 20;
const LIMIT: usize = 16 << 20;
const PAUSE: Duration = Duration::from_secs(1);
/// A debug build on a busy machine is slow in fits and starts.
const JITTER: Duration = Duration::from_secs(1);

const HEAD: &str =
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncache-control: max-age=60\r\n\r\n";

fn chunked() -> Vec<u8> {
    const CHUNK: usize = 1 << 16;
    let mut body = Vec::with_capacity(LEN + LEN / 1024);
    for _ in 0..LEN / CHUNK {
        body.extend_from_slice(format!("{CHUNK:x}\r\n").as_bytes());
        body.resize(body.len() + CHUNK, b'x');
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"0\r\n\r\n");
    body
}

/// A client that has the head of its response, and nothing of the body yet.
async fn asked(proxy: &Program, path: &str) -> (Client, Message) {
    let mut client = Client::connect(proxy.addr).await;
    let head = client.ask_for_head(&format!("GET {path} HTTP/1.1\r\nhost: example\r\n\r\n")).await;
    (client, head)
}

async fn read((mut client, mut message): (Client, Message)) -> Duration {
    let start = Instant::now();
    client.receive_body(&mut message).await.unwrap();
    assert_eq!(message.body.len(), LEN);
    start.elapsed()
}

/// The most memory that the process ever had, in bytes.
#[cfg(target_os = "linux")]
fn peak(proxy: &Program) -> Option<usize> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", proxy.id())).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .expect("the peak of the resident set");
    Some(line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() << 10)
}

#[cfg(not(target_os = "linux"))]
fn peak(_: &Program) -> Option<usize> {
    eprintln!("SKIPPED: the memory of the program is only looked at on Linux");
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stalls_costs_the_others_the_pause_and_the_program_the_window() {
    let body = chunked();
    let origin = Origin::new(move |request| match request.start.starts_with("GET /alone ") {
        true => Reply::raw(HEAD).send(body.clone()),
        false => Reply::raw(HEAD).hold().send(body.clone()),
    })
    .await;
    let proxy = Program::start(&origin).await;
    let mut alone = Duration::ZERO;
    for _ in 0..3 {
        alone = alone.max(read(asked(&proxy, "/alone").await).await);
    }
    let before = peak(&proxy);

    // Both have the head before there is any body, so both have it all before them.
    let (mut stalled, mut cut_off) = asked(&proxy, "/shared").await;
    let reader = asked(&proxy, "/shared").await;
    assert_eq!(origin.hits(), 4, "they share one response");
    origin.release();
    let time = read(reader).await;
    let at_most = alone.mul_f64(1.2) + PAUSE + JITTER;
    assert!(time <= at_most, "{time:?} with a client that stalls, {alone:?} alone");

    if let Some((before, after)) = before.zip(peak(&proxy)) {
        let grown = after.saturating_sub(before);
        eprintln!(
            "{time:?} with a client that stalls, {alone:?} alone; grown by {} KiB",
            grown >> 10
        );
        assert!(grown <= LIMIT + LIMIT / 5, "it grew by {} KiB", grown >> 10);
        assert!(grown > LIMIT / 4, "the stalled client held up something: {} KiB", grown >> 10);
    }
    stalled.receive_body(&mut cut_off).await.expect_err("it was cut off, and that is no clean end");
}
