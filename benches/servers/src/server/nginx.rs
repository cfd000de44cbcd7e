//! nginx, with `proxy_cache_lock`.

use super::process::{
    Directory, Found, Missing, Process, Server, find, free_port, version, wait_for,
};
use crate::error::BoxError;
use std::{
    net::SocketAddr,
    process::{Command, Stdio},
};

/// `proxy_cache_lock_timeout` is nginx's default. It is far above what the origin takes, so that it
/// never lets a second request through for a shared answer; of a private one it is what ends the
/// wait, and more would be worse.
const CONFIG: &str = "\
daemon off;
worker_processes 2;
worker_rlimit_nofile 8192;
error_log DIR/error.log;
pid DIR/nginx.pid;
events { worker_connections 4096; }
http {
    access_log off;
    tcp_nodelay on;
    keepalive_requests 1000000;
    client_body_temp_path DIR/client;
    proxy_temp_path DIR/proxy;
    fastcgi_temp_path DIR/fastcgi;
    uwsgi_temp_path DIR/uwsgi;
    scgi_temp_path DIR/scgi;
    proxy_cache_path DIR/cache levels=1:2 keys_zone=bench:16m use_temp_path=off;
    upstream origin { server ORIGIN; keepalive 512; }
    server {
        listen ADDR backlog=4096;
        location / {
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_set_header Host $host;
            proxy_cache bench;
            proxy_cache_valid 200 1s;
            proxy_cache_lock on;
            proxy_cache_lock_timeout 5s;
            proxy_cache_lock_age 60s;
        }
    }
}
";

pub(super) fn start(origin: SocketAddr) -> Result<Found, BoxError> {
    let Some(program) = find("nginx") else {
        return Ok(Err(Missing {
            name: "nginx",
            why: "not installed (Debian: apt-get install nginx)".into(),
        }));
    };
    let (addr, directory) = (free_port()?, Directory::new("nginx")?);
    let config = CONFIG
        .replace("DIR", &directory.0.display().to_string())
        .replace("ORIGIN", &origin.to_string())
        .replace("ADDR", &addr.to_string());
    let config = directory.write("nginx.conf", &config)?;
    let mut command = Command::new(&program);
    command
        .arg("-c")
        .arg(config)
        .arg("-p")
        .arg(&directory.0)
        .arg("-e")
        .arg(directory.0.join("error.log"));
    let child = command.stderr(Stdio::null()).spawn()?;
    let process = Some(Process { child, directory: Some(directory) });
    wait_for(addr, "nginx")?;
    Ok(Ok(Server { name: "nginx", version: version(&program, "-v")?, addr, process }))
}
