//! What valgrind counts of one call.

use std::{env, process::Command};

/// Of one call.
pub(crate) struct Costs {
    pub(crate) instructions: i64,
    pub(crate) with_body: i64,
    pub(crate) allocations: i64,
    pub(crate) bytes: i64,
}

impl Costs {
    /// `None` if valgrind does not run.
    pub(crate) fn of(name: &str, has_body: bool) -> Option<Self> {
        let instructions = |reads| a_call(|calls| Some([instructions(name, calls, reads)?]));
        let [head] = instructions(false)?;
        let [with_body] = if has_body { instructions(true)? } else { [head] };
        let [allocations, bytes] = a_call(|calls| allocations(name, calls))?;
        Some(Self { instructions: head, with_body, allocations, bytes })
    }

    pub(crate) fn counted(name: &str, has_body: bool) -> Self {
        Self::of(name, has_body).expect("valgrind ran before")
    }

    pub(crate) fn above(self, bare: &Self) -> Self {
        Self {
            instructions: self.instructions - bare.instructions,
            with_body: self.with_body - bare.with_body,
            allocations: self.allocations - bare.allocations,
            bytes: self.bytes - bare.bytes,
        }
    }

    pub(crate) fn prose(&self) -> String {
        let Self { instructions, with_body, allocations, bytes } = self;
        format!(
            "{instructions} instructions, {with_body} with the body read, {allocations} \
            allocations of {bytes} bytes; most of it makes the request"
        )
    }
}

/// Without what the program costs besides.
fn a_call<const N: usize>(measure: impl Fn(u64) -> Option<[i64; N]>) -> Option<[i64; N]> {
    let (few, many) = (measure(1000)?, measure(3000)?);
    Some(std::array::from_fn(|nth| (many[nth] - few[nth] + 1000) / 2000))
}

fn instructions(name: &str, calls: u64, reads: bool) -> Option<i64> {
    let tool = ["--tool=callgrind", "--callgrind-out-file=/dev/null"];
    let text = valgrind(tool, name, calls, reads)?;
    text.split("Collected : ").nth(1)?.split_whitespace().next()?.parse().ok()
}

/// How many, and of how many bytes together.
fn allocations(name: &str, calls: u64) -> Option<[i64; 2]> {
    let text = valgrind(["--tool=memcheck", "--leak-check=no"], name, calls, false)?;
    let usage = text.split("total heap usage: ").nth(1)?.lines().next()?.replace(',', "");
    let mut words = usage.split_whitespace();
    // "7 allocs 5 frees 1024 bytes allocated"
    Some([words.next()?.parse().ok()?, words.nth(3)?.parse().ok()?])
}

/// What it says of this program with so many calls.
fn valgrind(tool: [&str; 2], name: &str, calls: u64, reads: bool) -> Option<String> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(tool).arg(env::current_exe().ok()?).arg(name);
    let output = valgrind.args([calls.to_string(), reads.to_string()]).output().ok()?;
    String::from_utf8(output.stderr).ok()
}
