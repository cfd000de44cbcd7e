//! A short run finds nothing, and whatever it does wrong on purpose is found, by
//! `cargo test --release --all-features -p soak`.
#![allow(missing_docs, reason = "a test says what it tests in its name")]

use std::{
    process::{Command, Output},
    sync::{Mutex, PoisonError},
};

/// One at a time: what a run takes for stranded may have been kept waiting by another run.
fn soak(args: &[&str]) -> (Option<i32>, String) {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let Output { status, stdout, .. } = Command::new(env!("CARGO_BIN_EXE_soak"))
        .args(["--callers", "40"])
        .args(args)
        .output()
        .unwrap();
    (status.code(), String::from_utf8(stdout).unwrap())
}

/// Each of `found` is in a failure that it prints, with anything in the place of `…`: at the latest
/// in a longer run, because a busy machine gets little done in a short one.
fn finds(sabotage: &str, found: &[&str]) {
    finds_with(&[], sabotage, found);
}

fn tells(failure: &str, what: &str) -> bool {
    what.split('…').all(|part| failure.contains(part))
}

/// The same with more arguments.
fn finds_with(args: &[&str], sabotage: &str, found: &[&str]) {
    let mut missing = found.to_vec();
    let mut printed = String::new();
    // Short only where it is to pass: on a busy machine a call takes its time.
    let deadline = if sabotage == "strand" { "4" } else { "12" };
    for seconds in ["10", "30", "90", "240"] {
        let of_this = ["--seconds", seconds, "--deadline", deadline, "--sabotage", sabotage];
        let (code, text) = soak(&[args, &of_this].concat());
        let failures: Vec<_> =
            text.lines().filter_map(|line| line.strip_prefix("FAILED: ")).collect();
        assert_eq!(code, Some(i32::from(!failures.is_empty())), "{text}");
        missing.retain(|missing| !failures.iter().any(|failure| tells(failure, missing)));
        if missing.is_empty() {
            return;
        }
        printed += &text;
    }
    panic!("{missing:?} is not in\n{printed}");
}

#[test]
fn a_short_run_finds_nothing() {
    let (code, text) = soak(&["--seconds", "5"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.ends_with("left behind: nothing; found: nothing\n"), "{text}");
}

#[cfg_attr(debug_assertions, ignore = "a slow build finds too little")]
#[test]
fn it_finds_answers_that_went_to_others() {
    let others = [
        "group: call",
        "service: call",
        "got an answer that is not its own",
        "http: …got the answer of another",
        "upload: …got the answer of another",
    ];
    finds("wrong-answer", &others);
}

#[cfg_attr(debug_assertions, ignore = "a slow build finds too little")]
#[test]
fn it_finds_stale_answers() {
    finds("stale-answer", &["was forgotten before it was made"]);
    finds("stale-page", &["got a stale answer", "upload: …, after a write of "]);
}

#[cfg_attr(debug_assertions, ignore = "a slow build finds too little")]
#[test]
fn it_finds_results_that_are_held_for_too_long() {
    finds("hold-too-long", &["got an answer that somebody had before it was made"]);
}

#[cfg(feature = "spill")]
#[cfg_attr(not(target_os = "linux"), ignore = "needs /proc")]
#[cfg_attr(debug_assertions, ignore = "a slow build finds too little")]
#[test]
fn it_finds_bytes_that_a_file_changed() {
    finds("garble-spill", &["upload: …got other bytes than answer"]);
}

#[cfg(feature = "fleet")]
#[cfg_attr(debug_assertions, ignore = "a slow build finds too little")]
#[test]
fn it_finds_what_an_engine_does_wrong() {
    finds("wrong-answer", &["fleet: storm…got the answer of another"]);
    finds("lose-seals", &["fleet: storm…, after a write of "]);
    finds("keep-entries", &["fleet: storm…entries are left in the store"]);
}

/// Skipped where there is no `redis-server`, as the tests of the engine are.
#[cfg(feature = "fleet")]
#[cfg_attr(debug_assertions, ignore = "a slow build finds too little")]
#[test]
fn it_finds_what_happens_over_redis() {
    if Command::new("redis-server").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "there is no redis-server");
        eprintln!("SKIPPED: no redis-server");
        return;
    }
    finds_with(&["--redis"], "lose-seals", &["redis: …, after a write of "]);
    finds_with(&["--redis"], "keep-entries", &["redis: …in Redis ends in "]);
    finds_with(&["--redis"], "leak-redis", &["memory of redis: "]);
}

#[cfg(feature = "fleet")]
#[test]
fn it_says_that_there_is_no_redis_server() {
    let output = Command::new(env!("CARGO_BIN_EXE_soak"))
        .args(["--seconds", "5", "--redis"])
        .env("PATH", "")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("--redis needs redis-server on the PATH"), "{text}");
}

#[cfg_attr(debug_assertions, ignore = "a slow build finds too little")]
#[test]
fn it_finds_bodies_that_end_too_early() {
    finds("short-body", &["got a clean end after"]);
}

#[cfg_attr(debug_assertions, ignore = "a slow build finds too little")]
#[test]
fn it_finds_who_is_stranded() {
    finds("strand", &["stranded: "]);
}

#[cfg_attr(not(target_os = "linux"), ignore = "needs /proc")]
#[cfg_attr(debug_assertions, ignore = "a slow build finds too little")]
#[test]
fn it_finds_what_is_left_behind() {
    for (sabotage, left) in [
        ("leak-flight", "1 flights of the group"),
        ("leak-task", " tasks"),
        ("leak-descriptor", " descriptors"),
    ] {
        finds(sabotage, &["left behind: ", left]);
    }
}

#[cfg_attr(not(target_os = "linux"), ignore = "needs /proc")]
#[cfg_attr(debug_assertions, ignore = "a slow build finds too little")]
#[test]
fn it_finds_memory_that_grows() {
    finds("leak-memory", &["memory: "]);
}

#[test]
fn it_refuses_what_it_does_not_know() {
    for args in [&["--nonsense"][..], &["--sabotage", "nothing"], &["--seconds", "soon"]] {
        assert_eq!(soak(args), (Some(2), String::new()));
    }
}
