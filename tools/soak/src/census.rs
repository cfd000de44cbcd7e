//! What this process holds.

use std::fs;

/// Open file descriptors. Linux only.
pub(crate) fn descriptors() -> Option<usize> {
    // One of them is for reading this.
    Some(fs::read_dir("/proc/self/fd").ok()?.count() - 1)
}

/// Resident memory, in KiB. Linux only.
pub(crate) fn memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}
