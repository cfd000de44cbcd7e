//! Where the example programs are.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// The example that Cargo built along with the tests, or builds now if it was not asked to.
pub(crate) fn example(name: &str) -> PathBuf {
    let this = env::current_exe().unwrap();
    let profile = this.ancestors().nth(2).expect("tests are built into target/<profile>/deps");
    let example = profile.join("examples").join(format!("{name}{}", env::consts::EXE_SUFFIX));
    if !example.exists() {
        build(name, profile);
    }
    example
}

fn build(name: &str, profile: &Path) {
    let release: &[&str] = if profile.ends_with("release") { &["--release"] } else { &[] };
    let target = profile.parent().expect("profiles are in the target directory");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--example", name, "--target-dir"]).arg(target).args(release);
    assert!(cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap().success());
}
