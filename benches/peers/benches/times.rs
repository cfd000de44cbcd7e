//! What is timed: `cargo bench -p peers --bench times`.

use std::process::ExitCode;

fn main() -> ExitCode {
    peers::main(None)
}
