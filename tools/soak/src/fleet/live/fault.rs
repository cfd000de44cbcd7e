//! What happens to the server.

use super::{CUT_OFF, EMPTIED, FORGOT_SCRIPTS, KILLED, Live, STOPPED};
use fastrand::Rng;
use std::{
    thread::sleep,
    time::{Duration, Instant},
};

/// So much of a run is over when the server is killed, or emptied, for the last time: what is left
/// in the end is what a server has left that saw the rest of the run.
const LAST_KILL: f64 = 0.5;
const LAST_EMPTIED: f64 = 0.75;

const EVENTS: [&str; 5] = [KILLED, EMPTIED, STOPPED, FORGOT_SCRIPTS, CUT_OFF];

pub(super) fn faults(live: &Live, mut rng: Rng, until: Instant) {
    loop {
        sleep(Duration::from_millis(rng.u64(20..600)).min(left(until)));
        if left(until).is_zero() {
            return;
        }
        // Each of them first, so that even a short run has them all.
        let count = |event| live.world.report.counted(event);
        let missing = EVENTS.iter().position(|event| count(event) == 0);
        match missing.unwrap_or(rng.usize(..EVENTS.len())) {
            0 if missing.is_some() || live.progress() < LAST_KILL => kill(live, &mut rng, until),
            1 if missing.is_some() || live.progress() < LAST_EMPTIED => {
                ask(live, "FLUSHALL", EMPTIED)
            }
            2 => stop(live, &mut rng, until),
            3 => ask(live, "SCRIPT FLUSH", FORGOT_SCRIPTS),
            4 if rng.bool() => ask(live, "CLIENT KILL TYPE pubsub", CUT_OFF),
            4 => ask(live, "CLIENT KILL TYPE normal", CUT_OFF),
            _ => {}
        }
    }
}

fn kill(live: &Live, rng: &mut Rng, until: Instant) {
    live.server().kill();
    sleep(outage(rng).min(left(until)));
    let mut server = live.server();
    let port = server.port;
    server.start_at(port);
    live.world.report.count(KILLED);
}

fn stop(live: &Live, rng: &mut Rng, until: Instant) {
    live.server().stop();
    sleep(outage(rng).min(left(until)));
    live.server().go_on();
    live.world.report.count(STOPPED);
}

fn ask(live: &Live, command: &str, event: &'static str) {
    // The reply is a number or a word.
    let _: redis::Value = live.server().ask(command);
    live.world.report.count(event);
}

/// Some are over before anybody notices.
fn outage(rng: &mut Rng) -> Duration {
    Duration::from_millis([20, 200, 1_000][rng.usize(..3)])
}

fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}
