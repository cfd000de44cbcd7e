//! A short run finds nothing, and whatever it does wrong on purpose is found.
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

/// Each of `found` is in a failure that it prints: at the latest in a longer run, because a busy
/// machine gets little done in a short one.
fn finds(sabotage: &str, found: &[&str]) {
    let mut missing = found.to_vec();
    let mut printed = String::new();
    // Short only where it is to pass: on a busy machine a call takes its time.
    let deadline = if sabotage == "strand" { "4" } else { "12" };
    for seconds in ["10", "30", "90"] {
        let (code, text) =
            soak(&["--seconds", seconds, "--deadline", deadline, "--sabotage", sabotage]);
        let failures: Vec<_> =
            text.lines().filter_map(|line| line.strip_prefix("FAILED: ")).collect();
        assert_eq!(code, Some(i32::from(!failures.is_empty())), "{text}");
        missing.retain(|missing| !failures.iter().any(|failure| failure.contains(missing)));
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

#[test]
fn it_finds_answers_that_went_to_others() {
    let others = [
        "group: call",
        "service: call",
        "got an answer that is not its own",
        "got the answer of another",
    ];
    finds("wrong-answer", &others);
}

#[test]
fn it_finds_stale_answers() {
    finds("stale-answer", &["was forgotten before it was made"]);
    finds("stale-page", &["got a stale answer"]);
}

#[test]
fn it_finds_bodies_that_end_too_early() {
    finds("short-body", &["got a clean end after"]);
}

#[test]
fn it_finds_who_is_stranded() {
    finds("strand", &["stranded: "]);
}

#[cfg_attr(not(target_os = "linux"), ignore = "needs /proc")]
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
