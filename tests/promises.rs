//! The guide names a test for each promise.

use std::{fs, path::Path};

const PROMISES: &str = include_str!("../src/guide/promises.md");

fn sources(folder: &Path, all: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            *all += &fs::read_to_string(&path).unwrap();
        }
    }
}

#[test]
fn every_promise_names_a_test_that_is_there() {
    let mut all = String::new();
    for folder in ["src", "tests", "redis/tests", "examples/recipes/tests"] {
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut all);
    }
    let rows = PROMISES.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix("` |"));
    let tests: Vec<_> = rows.filter_map(|row| row.rsplit('`').next()).collect();
    assert!(tests.len() > 80, "the table is read");
    let missing: Vec<_> =
        tests.iter().filter(|test| !all.contains(&format!("fn {test}("))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
