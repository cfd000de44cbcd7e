//! Readers of one body at speeds of their own, in paused time.

use http_body_util::{BodyExt, StreamBody};
use tokio::{
    task::JoinHandle,
    time::{interval, sleep},
};

use super::*;

const FRAME: usize = 64 * KIB;
const WINDOW: usize = 16 * KIB * KIB;

/// `N` readers of a body of `frames` frames that are there at once. The window is that of the
/// default policy.
fn flood<const N: usize>(frames: usize) -> [SharedBody; N] {
    let data = Bytes::from_static(&[0; FRAME]);
    let frames =
        std::iter::repeat_n(data, frames).map(|data| Ok::<_, io::Error>(Frame::data(data)));
    let body =
        SharedBody::new(StreamBody::new(futures_util::stream::iter(frames)), config(WINDOW, PAUSE));
    std::array::from_fn(|_| body.clone())
}

const PAUSE: SlowReader = SlowReader::PauseThenEvict(Duration::from_secs(1));

/// Reads to the end, and does what `between` says after each frame. Gives the number of frames, or
/// that of those before the error.
fn reader<F: Future<Output = ()> + Send>(
    mut body: SharedBody,
    mut between: impl FnMut(usize) -> F + Send + 'static,
) -> JoinHandle<Result<usize, usize>> {
    tokio::spawn(async move {
        let mut frames = 0;
        while let Some(frame) = body.frame().await {
            frame.map_err(|_| frames)?;
            frames += 1;
            between(frames).await;
        }
        Ok(frames)
    })
}

fn quick(body: SharedBody) -> JoinHandle<Result<usize, usize>> {
    reader(body, |_| tokio::task::yield_now())
}

/// At so many bytes a second, however long it had to wait before.
fn steady(body: SharedBody, speed: usize) -> JoinHandle<Result<usize, usize>> {
    let pace = Duration::from_secs_f64(FRAME as f64 / speed as f64);
    reader(body, move |_| sleep(pace))
}

#[tokio::test(start_paused = true)]
async fn seven_quick_readers_beside_one_that_is_far_too_slow_get_all_of_a_gibibyte() {
    const FRAMES: usize = 16 * KIB;
    let began = Instant::now();
    let [slow, others @ ..] = flood::<8>(FRAMES);
    let slow = steady(slow, 100_000);
    for other in others.map(quick) {
        assert_eq!(other.await.unwrap(), Ok(FRAMES));
    }
    let held_back = began.elapsed();
    assert!((30..31).contains(&held_back.as_secs()), "{held_back:?}");
    assert!(slow.await.unwrap().is_err());
}

#[tokio::test(start_paused = true)]
async fn eight_readers_of_about_one_speed_get_all_of_a_gibibyte() {
    const FRAMES: usize = 16 * KIB;
    let bodies = flood::<8>(FRAMES);
    let mut number = 0;
    let readers = bodies.map(|body| {
        number += 1;
        // Each has a hiccup of its own length at times of its own.
        reader(body, move |frames| {
            let hiccup = if frames % (1000 + 100 * number) == 0 { 50 * number as u64 } else { 0 };
            sleep(Duration::from_millis(1 + hiccup))
        })
    });
    for reader in readers {
        assert_eq!(reader.await.unwrap(), Ok(FRAMES));
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_sleeps_for_a_moment_gets_all() {
    const FRAMES: usize = 4096;
    let paced = |body, nap: bool| {
        let mut clock = interval(Duration::from_millis(1));
        tokio::spawn(async move {
            let mut body: SharedBody = body;
            let mut frames = 0;
            while let Some(frame) = body.frame().await {
                frame.map_err(|_| frames)?;
                frames += 1;
                if nap && frames == 100 {
                    sleep(Duration::from_millis(400)).await;
                    clock.reset();
                }
                clock.tick().await;
            }
            Ok::<_, usize>(frames)
        })
    };
    let [a, b] = flood(FRAMES);
    let (a, b) = (paced(a, false), paced(b, true));
    assert_eq!((a.await.unwrap(), b.await.unwrap()), (Ok(FRAMES), Ok(FRAMES)));
}

#[tokio::test(start_paused = true)]
async fn a_slow_but_steady_reader_gets_all_of_what_a_quick_one_gets() {
    const FRAMES: usize = 60_000_000 / FRAME;
    let began = Instant::now();
    let [a, b] = flood(FRAMES);
    let (a, b) = (quick(a), steady(b, 4 * KIB * KIB));
    assert_eq!(a.await.unwrap(), Ok(FRAMES));
    let (a, b) = (began.elapsed(), b.await.unwrap());
    assert_eq!(b, Ok(FRAMES));
    assert!(a < began.elapsed(), "the quick one has it first");
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_stops_delays_the_others_by_a_second() {
    const FRAMES: usize = 4096;
    let began = Instant::now();
    let [stopped, others @ ..] = flood::<8>(FRAMES);
    for other in others.map(quick) {
        assert_eq!(other.await.unwrap(), Ok(FRAMES));
    }
    assert_eq!(began.elapsed(), Duration::from_secs(1));
    assert_eq!(quick(stopped).await.unwrap(), Err(0));
}
