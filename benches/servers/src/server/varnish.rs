//! Varnish, with its builtin VCL.

use super::process::{
    Directory, Found, Missing, Process, Server, find, free_port, version, wait_for,
};
use crate::error::BoxError;
use std::{
    net::SocketAddr,
    process::{Command, Stdio},
};

const CONFIG: &str = "\
vcl 4.1;
backend origin { .host = \"HOST\"; .port = \"PORT\"; }
";

/// A thread for each request and each fetch is there before the burst comes; nothing is served
/// after its time.
const PARAMETERS: [&str; 7] = [
    "thread_pools=2",
    "thread_pool_min=1000",
    "thread_pool_max=5000",
    "listen_depth=4096",
    "default_ttl=1",
    "default_grace=0",
    "default_keep=0",
];

pub(super) fn start(origin: SocketAddr) -> Result<Found, BoxError> {
    let Some(program) = find("varnishd") else {
        return Ok(Err(Missing {
            name: "varnish",
            why: "not installed (Debian: apt-get install varnish)".into(),
        }));
    };
    let (addr, directory) = (free_port()?, Directory::new("varnish")?);
    let config = CONFIG
        .replace("HOST", &origin.ip().to_string())
        .replace("PORT", &origin.port().to_string());
    let config = directory.write("bench.vcl", &config)?;
    let mut command = Command::new(&program);
    command.args(["-F", "-j", "none", "-s", "malloc,64m", "-a", &addr.to_string()]);
    command.arg("-n").arg(directory.0.join("work")).arg("-f").arg(config);
    command.args(PARAMETERS.iter().flat_map(|parameter| ["-p", parameter]));
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let process = Some(Process { child, directory: Some(directory) });
    wait_for(addr, "varnish")?;
    Ok(Ok(Server { name: "varnish", version: version(&program, "-V")?, addr, process }))
}
