//! A server that runs as a process of its own.

use crate::error::BoxError;
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
    /// Runs until this is dropped. `None`: the origin itself.
    pub(super) process: Option<Process>,
}

impl Server {
    /// What its threads have used of the processors so far. `None` where the system does not tell.
    pub(crate) fn cpu(&self) -> Option<Duration> {
        let tasks = format!("/proc/{}/task", self.process.as_ref()?.child.id());
        let mut sum = 0;
        for task in fs::read_dir(tasks).ok()? {
            let times = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
            sum += times.split(' ').next()?.parse::<u64>().ok()?;
        }
        Some(Duration::from_nanos(sum))
    }
}

/// A server, or what to do to have it.
pub(crate) type Found = Result<Server, Missing>;

pub(crate) struct Missing {
    pub(crate) name: &'static str,
    pub(crate) why: String,
}

/// A child, and its directory. Both go when this is dropped.
pub(super) struct Process {
    pub(super) child: Child,
    #[allow(dead_code, reason = "it is there until this is dropped")]
    pub(super) directory: Option<Directory>,
}

impl Drop for Process {
    fn drop(&mut self) {
        // So that it can end its own children.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

pub(super) struct Directory(pub(super) PathBuf);

impl Directory {
    pub(super) fn new(name: &str) -> Result<Self, BoxError> {
        let path = env::temp_dir().join(format!("servers-{name}-{}", process::id()));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }

    pub(super) fn write(&self, name: &str, text: &str) -> Result<PathBuf, BoxError> {
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
pub(super) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let places = env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    places.map(|place| place.join(program)).find(|file| file.exists())
}

/// The first line in which it tells its version.
pub(super) fn version(program: &Path, flag: &str) -> Result<String, BoxError> {
    let output = Command::new(program).arg(flag).output()?;
    let text = [output.stdout, output.stderr].concat();
    Ok(String::from_utf8_lossy(&text).lines().next().unwrap_or_default().trim().to_owned())
}

pub(super) fn free_port() -> Result<SocketAddr, BoxError> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

pub(super) fn wait_for(addr: SocketAddr, name: &str) -> Result<(), BoxError> {
    let started = Instant::now();
    while TcpStream::connect(addr).is_err() {
        if started.elapsed() > STARTS_WITHIN {
            return Err(format!("{name} does not listen on {addr}").into());
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
