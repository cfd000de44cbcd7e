//! What is timed: `cargo bench -p peers --bench times`.

use peers::{Options, run};
use std::process::ExitCode;

fn main() -> ExitCode {
    match Options::from_args() {
        Ok(options) => run(&options, None),
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
