//! The servers, each started by hand on loopback.

mod nginx;
mod proxy;
mod varnish;

use crate::BoxError;
use std::{
    env, fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{self, Child, Command},
    thread,
    time::{Duration, Instant},
};

const STARTS_WITHIN: Duration = Duration::from_secs(20);

pub(crate) struct Server {
    pub(crate) name: &'static str,
    pub(crate) version: String,
    pub(crate) addr: SocketAddr,
    /// `None`: the origin itself.
    #[allow(dead_code, reason = "it runs until this is dropped")]
    process: Option<Process>,
}

/// A server, or what to do to have it.
pub(crate) type Found = Result<Server, Missing>;

pub(crate) struct Missing {
    pub(crate) name: &'static str,
    pub(crate) why: String,
}

/// All that are there. `wanted` tells by name.
pub(crate) fn start_all(origin: SocketAddr, wanted: impl Fn(&str) -> bool) -> Result<Vec<Found>, BoxError> {
    let mut all = Vec::new();
    if wanted("none") {
        all.push(Ok(Server { name: "none", version: "the origin alone".into(), addr: origin, process: None }));
    }
    for (name, start) in [("proxy", proxy::start as Start), ("nginx", nginx::start), ("varnish", varnish::start)] {
        if wanted(name) {
            all.push(start(origin)?);
        }
    }
    Ok(all)
}

/// The proxy, with and without the layer.
pub(crate) fn start_proxies(origin: SocketAddr) -> Result<[Server; 2], BoxError> {
    let start = |start: Start| start(origin)?.map_err(|missing| BoxError::from(missing.why));
    Ok([start(proxy::start)?, start(proxy::start_bare)?])
}

type Start = fn(SocketAddr) -> Result<Found, BoxError>;

/// A child, and its directory. Both go when this is dropped.
struct Process {
    child: Child,
    #[allow(dead_code, reason = "it is there until this is dropped")]
    directory: Option<Directory>,
}

impl Drop for Process {
    fn drop(&mut self) {
        // So that it can end its own children.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Result<Self, BoxError> {
        let path = env::temp_dir().join(format!("servers-{name}-{}", process::id()));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf, BoxError> {
        let path = self.0.join(name);
        fs::write(&path, text)?;
        Ok(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// In `PATH`, or where Debian keeps what only root is thought to need.
fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let places = env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    places.map(|place| place.join(program)).find(|file| file.exists())
}

/// The first line in which it tells its version.
fn version(program: &Path, flag: &str) -> Result<String, BoxError> {
    let output = Command::new(program).arg(flag).output()?;
    let text = [output.stdout, output.stderr].concat();
    Ok(String::from_utf8_lossy(&text).lines().next().unwrap_or_default().trim().to_owned())
}

fn free_port() -> Result<SocketAddr, BoxError> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

fn wait_for(addr: SocketAddr, name: &str) -> Result<(), BoxError> {
    let started = Instant::now();
    while TcpStream::connect(addr).is_err() {
        if started.elapsed() > STARTS_WITHIN {
            return Err(format!("{name} does not listen on {addr}").into());
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
