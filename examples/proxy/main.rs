//! A reverse proxy that sends identical concurrent requests to its upstream once.
//!
//! ```sh
//! cargo run --release --example proxy -- --listen 127.0.0.1:3000 --upstream http://127.0.0.1:8000
//! ```
//!
//! It says `listening on ADDR` when it is ready. On SIGTERM or ctrl-c it accepts no more, answers
//! the requests in progress, and says on stderr what it did:
//!
//! ```text
//! requests 20, upstream calls 1
//! layer: led 1, joined 19, passed 0, in flight 0, waiting 0
//! ```
//!
//! `--help` tells what can be turned; `--no-coalesce` leaves the layer out, to compare.
//!
//! `--key-from-body 65536` also shares `POST`s whose bodies are equal and not longer than 64 KiB.
//! It is only for an upstream whose `POST`s are reads, as with GraphQL queries or searches: equal
//! `POST`s that come at once are done once.
//!
//! Clients speak HTTP/1.1 or HTTP/2 with prior knowledge (h2c) on one port; the upstream gets
//! HTTP/1.1. The layer is set up in `gateway/mod.rs`; what a proxy owes to RFC 9110 besides is in
//! the files next to it.

mod args;
mod gateway;

use args::Args;
use std::{error::Error, process::ExitCode};

#[tokio::main]
async fn main() -> ExitCode {
    match args::parse() {
        Ok(Some(args)) => run(args).await,
        Ok(None) => {
            println!("{}", args::USAGE);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}\n\n{}", args::USAGE);
            ExitCode::from(2)
        }
    }
}

async fn run(args: Args) -> ExitCode {
    match serve(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(Args { listen, options }: Args) -> Result<(), Box<dyn Error>> {
    let listener = gateway::listen(&listen)
        .await
        .map_err(|error| format!("cannot listen on {listen}: {error}"))?;
    let stop = stop()?;
    println!("listening on {}", listener.local_addr()?);
    eprintln!("{}", gateway::run(listener, options, stop).await);
    Ok(())
}

#[cfg(unix)]
fn stop() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

#[cfg(not(unix))]
fn stop() -> std::io::Result<impl Future<Output = ()>> {
    Ok(async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    })
}
