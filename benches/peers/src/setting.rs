//! What the numbers were measured with.

use std::{fmt::Write, fs, path::Path, process::Command, thread};

/// As Markdown.
pub(crate) fn describe() -> String {
    let mut text = String::new();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().filter(|load| !load.is_empty()).unwrap_or("unknown");
    let _ = writeln!(text, "{}, load at the start {load}.\n", machine());
    let versions: Vec<_> =
        versions().iter().map(|(name, version)| format!("`{name}` {version}")).collect();
    let _ = writeln!(text, "{}.", versions.join(", "));
    text
}

/// As a line.
pub(crate) fn brief() -> String {
    let versions = versions();
    let (name, version) = &versions[0];
    format!(
        "{name} {version}, {}. Drawn by cargo bench -p peers, which prints the tables.",
        machine()
    )
}

fn machine() -> String {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    format!("{}, {cores} cores", rustc())
}

fn rustc() -> String {
    let output = Command::new("rustc").arg("--version").output();
    let version = output.ok().and_then(|output| String::from_utf8(output.stdout).ok());
    version.map_or("an unknown rustc".to_string(), |version| version.trim().to_string())
}

const CRATES: [&str; 8] = [
    "tower-singleflight",
    "tower-resilience-coalesce",
    "async_singleflight",
    "singleflight-async",
    "moka",
    "quick_cache",
    "futures-util",
    "tokio",
];

/// From the lock file, which cargo has just built with.
fn versions() -> Vec<(&'static str, String)> {
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.lock");
    let lock = fs::read_to_string(lock).unwrap_or_default();
    let version = |name: &str| {
        let (_, rest) = lock.split_once(&format!("name = \"{name}\"\nversion = \""))?;
        Some(rest.split_once('"')?.0.to_string())
    };
    CRATES.iter().map(|name| (*name, version(name).unwrap_or("unknown".to_string()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_every_crate_is_found() {
        for (name, version) in versions() {
            assert!(version.starts_with(|c: char| c.is_ascii_digit()), "{name}: {version}");
        }
    }
}
