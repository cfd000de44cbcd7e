//! What the compiler says to those who get it wrong.
//!
//! The files in `cases/` do not compile. Above a line with a mistake, `//~ text` says what a
//! message about that line must contain: mostly sentences of this crate, because the compiler's own
//! change with its version.

use std::{fs, path::Path, process::Command, sync::LazyLock};

/// The messages about all cases, from one run of the compiler.
static MESSAGES: LazyLock<Vec<Message>> = LazyLock::new(|| {
    let target =
        Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it is in the target directory");
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args([
            "rustc",
            "--profile=check",
            "--test=compile_fail_cases",
            "--all-features",
            "--color=never",
            "--target-dir",
        ])
        .arg(target)
        .args(["--", "--cfg=compile_fail_cases"])
        .output()
        .expect("cargo can be started");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && text.contains("tests/compile_fail/cases/"),
        "not what was to fail failed:\n{text}"
    );
    text.split("\n\n").filter_map(Message::parse).collect()
});

struct Message {
    file: String,
    line: usize,
    text: String,
}

impl Message {
    /// `None`: no error at a place in a file.
    fn parse(text: &str) -> Option<Self> {
        let (_, place) = text.starts_with("error").then(|| text.split_once("--> "))??;
        let mut place = place.lines().next()?.split(':');
        let file = place.next()?.replace('\\', "/");
        Some(Self { file, line: place.next()?.parse().ok()?, text: text.to_owned() })
    }
}

/// Checks all that the case expects.
fn check(case: &str) {
    let file = format!("tests/compile_fail/cases/{case}.rs");
    let source = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(&file)).unwrap();
    let mut expected = Vec::new();
    let mut found = 0;
    for (line, code) in (1..).zip(source.lines()) {
        if let Some(text) = code.trim_start().strip_prefix("//~ ") {
            expected.push(text);
            continue;
        }
        for text in expected.drain(..) {
            let here =
                || MESSAGES.iter().filter(|message| message.file == file && message.line == line);
            let said: Vec<_> = here().map(|message| &*message.text).collect();
            assert!(
                said.iter().any(|said| said.contains(text)),
                "{file}:{line}: {text:?} is not in\n{}",
                said.join("\n\n")
            );
            found += 1;
        }
    }
    assert!(
        found > 0 && expected.is_empty(),
        "{file} expects nothing, or ends with what it expects"
    );
}

#[test]
fn a_closure_with_another_argument_is_told_the_one_it_gets() {
    check("argument");
}

#[test]
fn a_closure_without_a_type_is_told_to_name_the_request() {
    check("untyped");
}

#[test]
fn a_key_that_cannot_be_hashed_is_named() {
    check("key");
}

#[test]
fn a_key_that_replicas_cannot_compare_is_told_to_be_a_string_or_a_tuple() {
    check("fleet_key");
}

#[test]
fn a_response_that_is_not_clone_is_named_with_what_to_do() {
    check("response");
}

#[test]
fn a_request_body_that_cannot_be_handed_on_is_named_with_what_to_do() {
    check("request_body");
}

#[test]
fn an_error_that_is_not_clone_leads_to_shared_errors() {
    check("error");
}

#[test]
fn what_is_not_send_is_named() {
    check("send");
}

#[test]
fn a_service_that_is_not_clone_is_named() {
    check("service");
}

#[test]
fn a_method_that_is_missing_leads_to_the_form_that_says_why() {
    check("method");
}

#[test]
fn a_layer_without_its_mode_is_told_the_modes() {
    check("mode");
}

#[test]
fn a_value_of_a_group_that_is_not_clone_leads_to_what_to_do() {
    check("group");
}

#[test]
fn a_group_whose_work_borrows_or_is_not_send_is_told_the_value() {
    check("group_borrow");
}

#[test]
fn a_tower_service_that_is_given_to_hyper_is_told_that_it_is_no_hyper_service() {
    check("hyper_server");
}
