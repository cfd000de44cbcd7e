//! The example `proxy` beside nginx, Varnish, Squid and Apache Traffic Server, over real sockets.
//!
//! ```sh
//! sudo apt-get install nginx varnish squid trafficserver
//! cargo run --release -p servers
//! ```
//!
//! Each server runs as a process of its own on loopback, with its configuration in a temporary
//! directory. A server that is not installed is left out, and the program says so. All coalesce:
//! nginx has `proxy_cache_lock`, Squid `collapsed_forwarding`, Traffic Server reads from its cache
//! what it is writing there, and Varnish always does. The servers take turns, in another order each
//! round, so that all see the same machine. `none` is the clients at the origin, with no server
//! between: what the clients and the origin cost.
//!
//! | Scenario | |
//! |---|---|
//! | N requests, `shared` | over N connections, open and idle, one `GET` for the same, new URI is sent, all at once. The origin takes 200 ms and answers 4 KiB that are fresh for 10 s |
//! | N requests, `private` | the same, but each answer is for one client only |
//! | the first is refused | the same, but the first request gets a 403 |
//! | A late arrival | the origin sends a fresh answer of 80 KiB over a second. The second request comes when 300 ms of it are over |
//! | A slow reader | one client reads 8 MiB (`small`) or 32 MiB (`large`) at 8 MiB/s, and another asks for the same 50 ms later, and reads as fast as it can. `proxy` keeps 16 MiB for a slow reader, and then waits for it; `--spill` gives it a file |
//!
//! | Measured | |
//! |---|---|
//! | hits | how many requests reached the origin, exactly |
//! | 403s | how many clients got the refusal |
//! | p50, p99, last | from the release of the burst to the last byte of an answer |
//! | lag | from the first complete answer to the last: what followers wait beyond their leader |
//! | first byte, done | from the second request to the first and the last byte of its body |
//! | alone, beside it | from the request to the last byte: without a slow reader, and with one |
//! | the slow one | the same of the slow reader, which would take 1 s or 4 s by itself |
//!
//! Then traffic without duplicates: 64 connections ask for one thing after the other, no two for
//! the same, and the origin answers at once. The proxy with the layer and without it take turns;
//! what is measured is the ratio of their answers a second, and of the CPU time that they take for
//! an answer. `plain` answers say nothing about who may have them, `fresh` ones `max-age=10`.

mod args;
mod client;
mod distinct;
mod error;
mod numbers;
mod origin;
mod report;
mod run;
mod scenario;
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
