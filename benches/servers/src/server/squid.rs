//! Squid, with `collapsed_forwarding`, as a reverse proxy with a cache in memory.

use super::process::{
    Directory, Found, Missing, Process, Server, find, free_port, version, wait_for,
};
use crate::error::BoxError;
use std::{
    net::SocketAddr,
    process::{Command, Stdio},
};

/// It keeps no file but this. `maximum_object_size_in_memory` is above the largest body.
const CONFIG: &str = "\
http_port ADDR accel defaultsite=bench.example no-vhost
cache_peer HOST parent PORT 0 no-query originserver no-digest no-netdb-exchange
never_direct allow all
http_access allow all
collapsed_forwarding on
cache_mem 256 MB
maximum_object_size_in_memory 64 MB
maximum_object_size 64 MB
memory_cache_shared off
workers 1
max_filedescriptors 8192
pid_filename none
access_log none
cache_log /dev/null
cache_store_log none
coredump_dir none
pinger_enable off
shutdown_lifetime 0 seconds
";

pub(super) fn start(origin: SocketAddr) -> Result<Found, BoxError> {
    let Some(program) = find("squid") else {
        return Ok(Err(Missing {
            name: "squid",
            why: "not installed (Debian: apt-get install squid)".into(),
        }));
    };
    let (addr, directory) = (free_port()?, Directory::new("squid")?);
    let config = CONFIG
        .replace("ADDR", &addr.to_string())
        .replace("HOST", &origin.ip().to_string())
        .replace("PORT", &origin.port().to_string());
    let config = directory.write("squid.conf", &config)?;
    let mut command = Command::new(&program);
    command.arg("-N").arg("-f").arg(config);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let process = Some(Process { child, directory: Some(directory) });
    wait_for(addr, "squid")?;
    Ok(Ok(Server { name: "squid", version: version(&program, "-v")?, addr, process }))
}
