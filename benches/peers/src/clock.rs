//! What time is on one thread.

use cpu_time::ThreadTime;
use std::time::Duration;

/// The CPU time of this thread so far: what passes while it runs, and not while something else has
/// its core. Where nothing waits, that is time itself on a machine that has nothing else to do.
pub(crate) fn now() -> Duration {
    ThreadTime::now().as_duration()
}

/// Since `start`, in seconds.
pub(crate) fn since(start: Duration) -> f64 {
    (now() - start).as_secs_f64()
}
