//! The recipes that need no client: they print what their first lines say.

use crate::program::within;
use std::process::Stdio;
use tokio::process::Command;

async fn output(exe: &str) -> String {
    let program = Command::new(exe).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let output = within(program.wait_with_output()).await.unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

/// The block of text in a recipe's first lines.
pub(crate) fn told(source: &str) -> String {
    let lines = source
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .map(|line| line.strip_prefix(' ').unwrap_or(line));
    let lines =
        lines.skip_while(|line| *line != "```text").skip(1).take_while(|line| *line != "```");
    lines.map(|line| format!("{line}\n")).collect()
}

#[tokio::test]
async fn the_client() {
    assert_eq!(
        output(env!("CARGO_BIN_EXE_client")).await,
        told(include_str!("../../src/bin/client.rs"))
    );
}

#[tokio::test]
async fn grpc() {
    assert_eq!(
        output(env!("CARGO_BIN_EXE_grpc")).await,
        told(include_str!("../../src/bin/grpc.rs"))
    );
}

#[tokio::test]
async fn the_group() {
    assert_eq!(
        output(env!("CARGO_BIN_EXE_group")).await,
        told(include_str!("../../src/bin/group.rs"))
    );
}

#[tokio::test]
async fn reqwest() {
    let program = include_str!("../../src/bin/reqwest_client.rs");
    assert_eq!(output(env!("CARGO_BIN_EXE_reqwest_client")).await, told(program));
}
