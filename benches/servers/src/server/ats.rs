//! Apache Traffic Server, which reads from its cache what it is writing there.

use super::process::{
    Directory, Found, Missing, Process, Server, find, free_port, version, wait_for,
};
use crate::error::BoxError;
use std::{
    net::SocketAddr,
    process::{Command, Stdio},
};

/// Who does not get the lock for writing reads again (5), every 10 ms and for as long as the others
/// wait. The next four lines are what its documentation asks for, to read while writing.
const RECORDS: &str = "\
CONFIG proxy.config.http.cache.open_write_fail_action INT 5
CONFIG proxy.config.http.cache.max_open_read_retries INT 500
CONFIG proxy.config.http.cache.open_read_retry_time INT 10
CONFIG proxy.config.cache.enable_read_while_writer INT 1
CONFIG proxy.config.http.background_fill_active_timeout INT 0
CONFIG proxy.config.http.background_fill_completed_threshold FLOAT 0.0
CONFIG proxy.config.cache.max_doc_size INT 0
CONFIG proxy.config.http.cache.required_headers INT 0
CONFIG proxy.config.http.server_ports STRING PORT:ip-in=HOST
CONFIG proxy.config.net.listen_backlog INT 4096
CONFIG proxy.config.exec_thread.autoconfig INT 0
CONFIG proxy.config.exec_thread.limit INT 2
CONFIG proxy.config.log.logging_enabled INT 0
CONFIG proxy.config.admin.user_id STRING #-1
";

const ALLOW: &str = "\
ip_allow: [{ apply: in, ip_addrs: 127.0.0.1, action: allow, methods: ALL }]
";

/// Where it finds the files above, and may write.
const ROOT: &str = "\
prefix: DIR
exec_prefix: DIR
bindir: /usr/bin
sbindir: /usr/bin
sysconfdir: DIR
datadir: DIR
libdir: DIR
libexecdir: DIR
localstatedir: DIR
runtimedir: DIR
logdir: DIR
cachedir: DIR
includedir: DIR
mandir: DIR
infodir: DIR
";

pub(super) fn start(origin: SocketAddr) -> Result<Found, BoxError> {
    let Some(program) = find("traffic_server") else {
        return Ok(Err(Missing {
            name: "ats",
            why: "not installed (Debian: apt-get install trafficserver)".into(),
        }));
    };
    let (addr, directory) = (free_port()?, Directory::new("ats")?);
    let path = directory.0.display().to_string();
    let records =
        RECORDS.replace("HOST", &addr.ip().to_string()).replace("PORT", &addr.port().to_string());
    directory.write("records.config", &records)?;
    directory.write("remap.config", &format!("map / http://{origin}/\n"))?;
    directory.write("storage.config", &format!("{path} 256M\n"))?;
    directory.write("ip_allow.yaml", ALLOW)?;
    let root = directory.write("runroot.yaml", &ROOT.replace("DIR", &path))?;
    let mut command = Command::new(&program);
    command.arg(format!("--run-root={}", root.display()));
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let process = Some(Process { child, directory: Some(directory) });
    wait_for(addr, "ats")?;
    Ok(Ok(Server { name: "ats", version: version(&program, "-V")?, addr, process }))
}
