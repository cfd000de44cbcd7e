//! What a fleet saves and costs over a real Redis: `cargo bench -p tower-singleflight-redis`.
//!
//! Replicas are processes: this program once more. They share the machine with Redis, with the
//! upstream and with each other, so latencies are those of a machine that does everything at once.
//! Counts are exact.

mod bursts;
mod client;
mod killed;
mod meter;
mod picture;
mod process;
mod replica;
mod report;
mod rivals;
#[allow(dead_code, unused_imports, unused_macros)]
#[path = "../../tests/it/server.rs"]
mod server;
mod sizes;
mod stage;
mod steady;
mod upstream;

use meter::Meter;
use report::{load, machine};
use server::Server;
use stage::Stage;
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::exit,
    time::Duration,
};
use upstream::Caller;

const USAGE: &str = "usage: cargo bench -p tower-singleflight-redis -- [--quick] [--picture FILE]";

/// Cargo starts a benchmark in the folder of its package; a file is meant from here.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

#[derive(Default)]
struct Options {
    quick: bool,
    picture: Option<PathBuf>,
}

fn main() {
    let mut arguments = env::args().skip(1);
    let mut options = Options::default();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "replica" => return replica(&arguments.collect::<Vec<_>>()),
            // By cargo.
            "--bench" => {}
            "--quick" => options.quick = true,
            "--picture" if arguments.len() > 0 => {
                options.picture = arguments.next().map(|file| Path::new(ROOT).join(file));
            }
            _ => {
                eprintln!("{argument}: unknown, or without its value\n{USAGE}");
                exit(2);
            }
        }
    }
    if let Some(server) = Server::start(&[]) {
        tokio::runtime::Runtime::new().unwrap().block_on(run(&server, &options));
    }
}

/// In a process of its own.
fn replica(arguments: &[String]) {
    let [redis, lease, upstream, number] = arguments else { panic!("{arguments:?}") };
    let lease = Duration::from_millis(lease.parse().unwrap());
    let caller = Caller { address: upstream.parse().unwrap(), number: number.parse().unwrap() };
    process::main(redis, lease, caller);
}

async fn run(server: &Server, options: &Options) {
    let quick = options.quick;
    let machine = machine(&Meter::new(server).version());
    println!("{machine}, load at the start {}.", load());

    let mut stage = Stage::new(server, bursts::PROCESSES, Duration::from_secs(3)).await;
    let rows = bursts::run(&mut stage, if quick { 5 } else { 30 }).await;
    sizes::run(&mut stage, if quick { 4 } else { 20 }).await;
    drop(stage);
    killed::run(server, quick).await;
    steady::lone(server, Duration::from_millis(if quick { 500 } else { 2000 })).await;
    steady::stopped(server, Duration::from_secs(if quick { 2 } else { 5 })).await;
    steady::waiting(server, Duration::from_secs(if quick { 4 } else { 9 })).await;
    println!("\nLoad at the end of all {}.", load());

    if let Some(file) = &options.picture {
        let setting = format!(
            "{machine}. Drawn by cargo bench -p tower-singleflight-redis, which prints the tables."
        );
        fs::write(file, picture::draw(&rows, &setting)).unwrap();
        eprintln!("drew {}", file.display());
    }
}
