//! Fault injection, for as long as you like.
//!
//! ```sh
//! cargo run --release -p soak -- --seconds 60
//! cargo run --release -p soak -- --help
//! ```
//!
//! Random callers ask random keys of a `Group`, of services in layers made by `by_key`, and, over
//! real sockets, of HTTP gateways in front of an origin that breaks every promise. They wait, come
//! late, drop, abort, stall and forget; the works panic and fail; keys, answers, extractors and
//! filters panic; runtimes go down under flights; threads are kept busy. Beside them, requests with
//! bodies go to layers whose policies are drawn, and the replicas of a fleet (feature `fleet`)
//! share an engine that fails in every way. With `--redis`, three more replicas share a
//! `redis-server` that is killed, stopped, emptied and cut off.
//!
//! | What must never happen | How it would be seen |
//! |---|---|
//! | somebody is stranded | each call has a deadline; one that is over it is printed with its story |
//! | a wrong answer | each answer has in it what it was made for, and for whom; bodies are compared byte by byte |
//! | an answer of a flight that was over, forgotten, full or too old, or from before a write | each answer carries the facts of its flight |
//! | an answer that was for one client goes to two | they are numbered |
//! | a body that was cut short ends as if it were whole | its length is in its head |
//! | a panic or a lost flight reaches somebody whom it does not concern | what panics says for whom |
//! | a work that was to be finished is not | it says so when it is dropped |
//! | a flight, waiter, key, work, answer, task or descriptor is left | they are counted after each round |
//! | memory grows | the bytes allocated after each round: the first and the last quarter are compared |
//! | replicas with one engine make more calls than there are replicas | each of a burst is counted |
//! | something stays in Redis | each key has its end; the keys and the memory are counted when all is over |
//! | a kind of event never comes up, so that nothing was tested | they are counted too |
//!
//! A run is made of rounds, on a current-thread and a multi-thread runtime in turn, each with a
//! seed of its own. The groups, layers and gateways live as long as the run. `--sabotage` does what
//! must never happen, and `tests/soak.rs` sees that it is found.

mod alive;
mod answer;
mod args;
mod caller;
mod calls;
mod census;
mod counted;
mod doomed;
mod facts;
#[cfg(feature = "fleet")]
mod fleet;
mod groups;
mod house;
mod http;
mod injected;
mod key;
mod memory;
mod part;
mod pressure;
mod report;
mod run;
mod sabotage;
mod services;
mod uploads;
mod verdict;
mod work;
mod world;

use std::{error::Error, process::ExitCode};

type BoxError = Box<dyn Error + Send + Sync>;

fn main() -> ExitCode {
    match start() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("soak: {error}");
            ExitCode::from(2)
        }
    }
}

fn start() -> Result<ExitCode, BoxError> {
    match args::parse()? {
        Some(args) => run::run(&args),
        None => {
            print!("{}", args::HELP);
            Ok(ExitCode::SUCCESS)
        }
    }
}
