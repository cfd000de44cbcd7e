//! What is timed: `cargo bench -p peers --bench times`.

use peers::{Options, run};
use std::process::ExitCode;

fn main() -> ExitCode {
    if let Err(error) = Options::from_args().and_then(|options| run(&options, None)) {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
