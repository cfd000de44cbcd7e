//! The snippets of the README are complete: they run as they are pasted. That they compile and run
//! is a matter of the doctests of `src/lib.rs`.

#[cfg(all(feature = "http", not(tower_singleflight_loom)))]
#[path = "readme/testing.rs"]
mod testing;

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

/// Checks that `source` has the first `count` snippets of `guide` that no doctest compiles.
fn has_snippets(source: &str, guide: &str, count: usize) {
    let words = |code: &str| code.split_whitespace().collect::<Vec<_>>().join(" ");
    let source = words(source);
    let snippets: Vec<_> = guide.split("```ignore\n").skip(1).take(count).collect();
    assert_eq!(snippets.len(), count, "they are read");
    for snippet in snippets {
        let snippet = words(snippet.split("```").next().unwrap());
        assert!(source.contains(&snippet), "{snippet}");
    }
}

#[test]
fn the_tests_in_the_guide_are_tests_that_run() {
    has_snippets(include_str!("readme/testing.rs"), include_str!("../src/guide/testing.md"), 3);
}

#[test]
fn the_clients_in_the_guide_are_compiled_with_the_recipes() {
    let clients = include_str!("../examples/recipes/tests/guide.rs");
    has_snippets(clients, include_str!("../src/guide/start.md"), 3);
}

#[test]
fn the_readme_names_the_rust_version_of_the_manifest() {
    let manifest = include_str!("../Cargo.toml");
    let version = manifest.split("rust-version = \"").nth(1).unwrap().split('"').next().unwrap();
    assert!(README.contains(&format!("needs Rust {version} or newer")));
    assert!(README.contains(&format!("badge/rust-{version}%2B-")));
}

#[test]
fn the_readme_links_every_guide() {
    let guides = include_str!("../src/guide.rs").lines();
    let guides: Vec<_> =
        guides.filter_map(|line| line.split("guide/").nth(1)?.split('"').next()).collect();
    assert!(guides.len() > 10, "they are read");
    for guide in guides {
        assert!(README.contains(&format!("](src/guide/{guide})")), "{guide}");
    }
}

#[test]
fn the_files_that_the_readme_links_are_there() {
    let links = README.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
    let files: Vec<_> = links.filter(|link| !link.is_empty() && !link.contains("://")).collect();
    assert!(files.len() > 20, "they are read");
    for file in files {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        assert!(path.exists(), "{file}");
    }
}
