//! A stampede: 10,000 identical requests in one burst, through real sockets, without and with the
//! layer.
//!
//! ```sh
//! cargo run --release --example stampede
//! cargo run --release --example stampede -- --help
//! ```
//!
//! Clients, an axum gateway and a slow upstream talk TCP on free loopback ports. Every body is
//! compared byte for byte. At the end there is a table, and a picture of the same. The exit code
//! says whether the layer did its job: one request per key reached the upstream, and every client
//! got the right answer.
//!
//! Each side runs in a process of its own (this program starts itself), with fresh servers and
//! after a small warm-up of the same kind, so that neither inherits the other's memory or
//! connections.

mod args;
mod clients;
mod gateway;
mod picture;
mod report;
mod side;
mod table;
mod upstream;
mod usage;

use args::{Args, Parsed, Side};
use report::Report;
use std::{
    env,
    error::Error,
    process::{Command, ExitCode, Stdio},
};

type BoxError = Box<dyn Error + Send + Sync>;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("stampede: {error}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<ExitCode, BoxError> {
    let args = match args::parse()? {
        Parsed::Run(args) => args,
        Parsed::Help => {
            print!("{}", args::HELP);
            return Ok(ExitCode::SUCCESS);
        }
    };
    usage::allow_open_files(args.open_files())?;
    match args.only {
        Some(side) => {
            print!("{}", side::run(side, &args)?.to_text());
            Ok(ExitCode::SUCCESS)
        }
        None => compare(&args),
    }
}

fn compare(args: &Args) -> Result<ExitCode, BoxError> {
    let without = in_own_process(Side::Without)?;
    let with = in_own_process(Side::With)?;
    eprintln!();
    picture::draw(args, &without, &with)?;

    println!("{}", table::render(args, &without, &with));
    println!("picture: {}", args.svg.display());
    let faults = with.faults();
    for fault in &faults {
        println!("FAILED: {fault}");
    }
    Ok(if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn in_own_process(side: Side) -> Result<Report, BoxError> {
    let output = Command::new(env::current_exe()?)
        .args(env::args_os().skip(1))
        .args(["--only", side.as_str()])
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(format!("the run {side} the layer failed: {}", output.status).into());
    }
    Report::from_text(&String::from_utf8(output.stdout)?)
}
