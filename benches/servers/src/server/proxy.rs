//! The example `proxy`, with the layer as it comes, and without it.

use super::process::{Found, Process, Server, free_port, wait_for};
use crate::error::BoxError;
use std::{
    env,
    net::SocketAddr,
    process::{Command, Stdio},
};

pub(super) fn start(origin: SocketAddr) -> Result<Found, BoxError> {
    start_with(origin, "proxy", &[])
}

/// As nginx does, which keeps up to 1 GiB of a response in a file.
pub(super) fn start_spilling(origin: SocketAddr) -> Result<Found, BoxError> {
    start_with(origin, "proxy --spill", &["--spill", "1073741824"])
}

pub(super) fn start_bare(origin: SocketAddr) -> Result<Found, BoxError> {
    start_with(origin, "proxy --no-coalesce", &["--no-coalesce"])
}

fn start_with(origin: SocketAddr, name: &'static str, options: &[&str]) -> Result<Found, BoxError> {
    let cargo = env::var_os("CARGO").unwrap_or("cargo".into());
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let build = "build --quiet --release -p examples --example proxy --features spill";
    if !Command::new(cargo).args(build.split(' ')).current_dir(root).status()?.success() {
        return Err("the example `proxy` does not build".into());
    }
    let this = env::current_exe()?;
    let release = this
        .parent()
        .and_then(|profile| profile.parent())
        .ok_or("no target directory")?
        .join("release");
    let addr = free_port()?;
    let mut command = Command::new(release.join("examples").join("proxy"));
    command
        .args(["--listen", &addr.to_string(), "--upstream", &format!("http://{origin}")])
        .args(options);
    let child = command.stdout(Stdio::null()).spawn()?;
    let process = Some(Process { child, directory: None });
    wait_for(addr, name)?;
    Ok(Ok(Server { name, version: "this repository's".into(), addr, process }))
}
