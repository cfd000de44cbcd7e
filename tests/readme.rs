//! The snippets of the README are complete: they run as they are pasted. That they compile and run
//! is a matter of the doctests of `src/lib.rs`.

const README: &str = include_str!("../README.md");

/// The options and the lines of each Rust snippet.
fn snippets() -> Vec<(&'static str, Vec<&'static str>)> {
    let (mut snippets, mut lines) = (Vec::new(), README.lines());
    while let Some(line) = lines.next() {
        if let Some(options) = line.strip_prefix("```rust") {
            snippets.push((options, lines.by_ref().take_while(|line| *line != "```").collect()));
        }
    }
    snippets
}

#[test]
fn no_snippet_hides_a_line() {
    let snippets = snippets();
    assert!(snippets.len() > 3, "they are read");
    for line in snippets.iter().flat_map(|(_, lines)| lines) {
        let line = line.trim_start();
        assert!(line != "#" && !line.starts_with("# "), "{line}");
    }
}

#[test]
fn each_snippet_is_a_program() {
    for (_, lines) in snippets() {
        let main = lines.iter().position(|line| line.ends_with("fn main() {"));
        let main = main.unwrap_or_else(|| panic!("no main: {lines:#?}"));
        let awaits =
            lines[main..].iter().any(|line| line.contains(".await") || line.contains("join!"));
        assert_eq!(lines[main].starts_with("async "), awaits, "{lines:#?}");
        assert!(!awaits || lines[main - 1] == "#[tokio::main]", "{lines:#?}");
    }
}

#[test]
fn each_snippet_runs_in_the_doctests_unless_it_serves_for_ever() {
    for (options, lines) in snippets() {
        let serves = lines.iter().any(|line| line.contains("axum::serve("));
        assert_eq!(options, if serves { ",no_run" } else { "" }, "{lines:#?}");
    }
}

#[test]
fn what_a_snippet_uses_is_in_the_dependencies_that_the_readme_names() {
    let manifest =
        README.split("```toml").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    for (_, lines) in snippets() {
        let used = lines.iter().filter_map(|line| line.strip_prefix("use ")?.split("::").next());
        for name in used.filter(|name| *name != "std") {
            let dependency = format!("\n{} = ", name.replace('_', "-"));
            assert!(manifest.contains(&dependency), "{name}");
        }
    }
}

#[test]
fn the_program_of_a_fleet_is_compiled_with_its_engine() {
    // This package does not depend on that one, whose README is a doctest.
    let program = |readme: &'static str, fence| {
        readme.split(fence).nth(1).and_then(|rest| rest.split("```").next())
    };
    let ours = program(README, "```rs\n").unwrap();
    assert!(ours.contains("RedisEngine::open"), "it is read");
    assert_eq!(program(include_str!("../redis/README.md"), "```rust,no_run\n"), Some(ours));
}
