//! What is in Redis.

use super::server::Server;
use std::time::Duration;

/// How long the epoch of a write lives: 70 s and two leases.
pub(super) const LIFE_OF_EPOCHS: Duration = Duration::from_secs(72);
/// The same of anything else: a lease and some seconds.
const LIFE_OF_FLIGHTS: Duration = Duration::from_secs(10);

pub(super) fn keys(server: &Server) -> Vec<String> {
    server.keys()
}

/// All keys but the epochs of writes.
pub(super) fn flights(server: &Server) -> Vec<String> {
    keys(server).into_iter().filter(|key| !is_epoch(key)).collect()
}

/// `None`: each key ends in time.
pub(super) fn keys_without_end(server: &Server) -> Option<String> {
    let keys = keys(server);
    keys.iter().find_map(|key| {
        let left: i64 = server.ask(&format!("PTTL {key}"));
        let life = if is_epoch(key) { LIFE_OF_EPOCHS } else { LIFE_OF_FLIGHTS };
        // -2: it has gone in the meantime.
        let is_fine = left == -2 || (0..=life.as_millis() as i64).contains(&left);
        (!is_fine).then(|| format!("{key} in Redis ends in {left} ms, and {life:?} are its life"))
    })
}

/// In bytes.
pub(super) fn used_memory(server: &Server) -> usize {
    let info: String = server.ask("INFO memory");
    let used = info.lines().find_map(|line| line.strip_prefix("used_memory:"));
    used.and_then(|used| used.trim().parse().ok()).expect("it tells")
}

fn is_epoch(key: &str) -> bool {
    key.ends_with("}:e")
}
