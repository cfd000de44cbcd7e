//! What this process may use, and what it has used.

use crate::BoxError;
use cpu_time::ProcessTime;
use std::{fs, time::Duration};

pub(crate) fn allow_open_files(wanted: u64) -> Result<(), BoxError> {
    let allowed = rlimit::increase_nofile_limit(wanted)?;
    if allowed >= wanted {
        return Ok(());
    }
    Err(format!(
        "this takes {wanted} open files, and the system allows {allowed}:\n\
         raise the hard limit (`ulimit -Hn`), or ask for fewer --connections, a lower \
         --upstream-limit, or no --http1"
    )
    .into())
}

pub(crate) fn cpu_time() -> Option<Duration> {
    ProcessTime::try_now().ok().map(|time| time.as_duration())
}

/// Resident memory now, in KiB. Linux only.
pub(crate) fn memory() -> Option<u64> {
    status("VmRSS:")
}

/// The most memory that was ever resident, in KiB. Linux only.
pub(crate) fn peak_memory() -> Option<u64> {
    status("VmHWM:")
}

fn status(field: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse().ok()
}
