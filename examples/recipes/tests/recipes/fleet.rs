//! They start `redis-server`. Without it, they are skipped, and say so.

use crate::{program::within, told::told};
use std::{env, net::SocketAddr, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
    time::sleep,
};

/// `None`: there is no `redis-server`.
fn start() -> Option<Child> {
    if let Err(error) =
        std::process::Command::new("redis-server").arg("--version").stdout(Stdio::null()).status()
    {
        assert!(env::var_os("CI").is_none(), "there is no redis-server: {error}");
        eprintln!("\n\nSKIPPED: no redis-server\n\n");
        return None;
    }
    let mut program = Command::new(env!("CARGO_BIN_EXE_fleet"));
    Some(program.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap())
}

fn address(word: &str) -> Option<SocketAddr> {
    word.trim_end_matches(',').parse().ok()
}

fn seconds(word: &str) -> Option<f64> {
    word.contains('.').then(|| word.parse().ok())?
}

/// The text without what differs from run to run.
fn masked(text: &str) -> Vec<Vec<&str>> {
    let mask = |word| match (address(word), seconds(word)) {
        (None, None) => word,
        _ => "…",
    };
    text.lines().map(|line| line.split(' ').map(mask).collect()).collect()
}

#[tokio::test]
async fn the_fleet_makes_one_call_and_survives_its_leader_and_redis() {
    let Some(program) = start() else { return };
    let output = within(program.wait_with_output()).await.unwrap();
    assert!(output.status.success());
    let output = String::from_utf8(output.stdout).unwrap();
    assert_eq!(masked(&output), masked(&told(include_str!("../../src/bin/fleet.rs"))), "{output}");
    let times: Vec<_> = output.split_whitespace().filter_map(seconds).collect();
    let [together, took_over, alone, again] = times[..] else { panic!("{output}") };
    // The upstream takes a second. The lease is 3 s.
    assert!(together < 2.5 && took_over < 4.5 && alone < 2.5 && again < 2.5, "{output}");
}

#[tokio::test]
async fn what_the_fleet_started_ends_with_it_even_if_it_is_killed() {
    let Some(mut program) = start() else { return };
    let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
    let line = within(lines.next_line()).await.unwrap().unwrap();
    let addresses: Vec<_> = line.split(' ').filter_map(address).collect();
    assert_eq!(addresses.len(), 4, "{line}");
    // The burst begins when all are there.
    while within(lines.next_line()).await.unwrap().unwrap().is_empty() {}
    for address in &addresses {
        TcpStream::connect(address).await.unwrap();
    }
    program.kill().await.unwrap();
    for address in addresses {
        within(async {
            while TcpStream::connect(address).await.is_ok() {
                sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }
}
