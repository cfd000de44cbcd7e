//! The example `proxy`, with the layer as it comes.

use super::{Found, Process, Server, free_port, wait_for};
use crate::BoxError;
use std::{
    env,
    net::SocketAddr,
    process::{Command, Stdio},
};

pub(super) fn start(origin: SocketAddr) -> Result<Found, BoxError> {
    let cargo = env::var_os("CARGO").unwrap_or("cargo".into());
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let build = ["build", "--quiet", "--release", "-p", "tower-singleflight", "--example", "proxy"];
    if !Command::new(cargo).args(build).current_dir(root).status()?.success() {
        return Err("the example `proxy` does not build".into());
    }
    let this = env::current_exe()?;
    let release = this.parent().and_then(|profile| profile.parent()).ok_or("no target directory")?.join("release");
    let addr = free_port()?;
    let mut command = Command::new(release.join("examples").join("proxy"));
    command.args(["--listen", &addr.to_string(), "--upstream", &format!("http://{origin}")]);
    let child = command.stdout(Stdio::null()).spawn()?;
    let process = Some(Process { child, directory: None });
    wait_for(addr, "proxy")?;
    Ok(Ok(Server { name: "proxy", version: "this repository's".into(), addr, process }))
}
