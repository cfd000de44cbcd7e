//! What Redis did.

use crate::server::Server;
use redis::{Connection, cmd};

pub(crate) struct Meter(Connection);

impl Meter {
    pub(crate) fn new(server: &Server) -> Self {
        Self(redis::Client::open(server.url()).unwrap().get_connection().unwrap())
    }

    /// The CPU time so far, in microseconds.
    pub(crate) fn cpu(&mut self) -> f64 {
        let info = self.info("cpu");
        let seconds = |name| field(&info, name).map_or(0.0, |value| value.parse::<f64>().unwrap());
        (seconds("used_cpu_sys:") + seconds("used_cpu_user:")) * 1e6
    }

    /// How often it has run these commands so far.
    pub(crate) fn calls(&mut self, commands: &[&str]) -> u64 {
        let info = self.info("commandstats");
        let calls = commands.iter().filter_map(|name| {
            let stats = field(&info, &format!("cmdstat_{name}:calls="))?;
            stats.split(',').next()?.parse::<u64>().ok()
        });
        calls.sum()
    }

    pub(crate) fn version(&mut self) -> String {
        field(&self.info("server"), "redis_version:").unwrap_or("?").to_owned()
    }

    fn info(&mut self, section: &str) -> String {
        cmd("INFO").arg(section).query(&mut self.0).unwrap()
    }
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name))
}
