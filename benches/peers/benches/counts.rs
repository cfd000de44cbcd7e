//! What is counted: `cargo bench -p peers --bench counts`.

use allocation_counter::measure;
use peers::Counts;
use std::process::ExitCode;

fn main() -> ExitCode {
    peers::main(Some(meter))
}

fn meter(code: &mut dyn FnMut()) -> Counts {
    let info = measure(code);
    Counts { allocations: info.count_total, bytes: info.bytes_total, live: info.bytes_current }
}
