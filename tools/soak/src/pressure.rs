//! Work that keeps the threads of a runtime from everybody else's.

use fastrand::Rng;
use std::{
    hint::spin_loop,
    time::{Duration, Instant},
};
use tokio::{task::yield_now, time::sleep};

/// Now it holds its thread, now it fills the queue.
pub(crate) async fn press(mut rng: Rng, until: Instant) {
    while Instant::now() < until {
        match rng.u8(..3) {
            0 => spin(Duration::from_micros(rng.u64(..5_000))),
            1 => {
                for _ in 0..rng.u16(..500) {
                    yield_now().await;
                }
            }
            _ => sleep(Duration::from_micros(rng.u64(..20_000))).await,
        }
    }
}

fn spin(time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        spin_loop();
    }
}
