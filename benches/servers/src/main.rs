//! The example `proxy` beside nginx and Varnish: bursts of identical requests, over real sockets.
//!
//! ```sh
//! sudo apt-get install nginx varnish
//! cargo run --release -p servers
//! ```
//!
//! Each server runs as a process of its own on loopback, with its configuration in a temporary
//! directory; one that is not installed is left out, and this is said. An origin in this process
//! takes 200 ms for each request and answers 4 KiB. A burst is N connections, open and idle, over
//! each of which one `GET` for the same, new URI is sent, all at once. The servers take turns, in
//! another order each round, so that all see the same machine.
//!
//! | Measured | |
//! |---|---|
//! | hits | how many requests of a burst reached the origin, exactly |
//! | p50, p99, last | from the release of the burst to the last byte of an answer |
//! | lag | from the first complete answer to the last: what followers wait beyond their leader |
//!
//! `shared` answers say `max-age=10`, `private` ones are for one client each. `none` is the clients
//! at the origin, with no server between: what the clients and the origin cost.
//!
//! Then traffic without duplicates: 64 connections ask for one thing after the other, no two for
//! the same, and the origin answers at once. The proxy with the layer and without it take turns;
//! what is measured is the ratio of their answers a second. `plain` answers say nothing about who
//! may have them, `fresh` ones `max-age=10`.

mod args;
mod burst;
mod client;
mod distinct;
mod error;
mod numbers;
mod origin;
mod report;
mod run;
mod server;
mod traffic;

use error::BoxError;
use std::process::ExitCode;

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("servers: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start() -> Result<(), BoxError> {
    match args::parse()? {
        Some(args) => run::run(&args),
        None => {
            print!("{}", args::HELP);
            Ok(())
        }
    }
}
