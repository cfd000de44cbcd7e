//! What is counted: `cargo bench -p peers --bench counts`.

use allocation_counter::measure;
use peers::{Counts, Options, run};
use std::process::ExitCode;

fn main() -> ExitCode {
    if let Err(error) = Options::from_args().and_then(|options| run(&options, Some(meter))) {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn meter(code: &mut dyn FnMut()) -> Counts {
    let info = measure(code);
    Counts { allocations: info.count_total, bytes: info.bytes_total, live: info.bytes_current }
}
