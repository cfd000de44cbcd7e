//! One response body, and many readers: this crate alone, for no peer has it.

mod stream;

use crate::{
    clock,
    options::Options,
    report::{Report, Table},
    rounds::Lineup,
    runtime::one_thread,
};
use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response};
use http_body::Body;
use std::{convert::Infallible, future::poll_fn, hint::black_box, pin::pin};
use stream::{BURST, Size, Stream, buffer};
use tokio::task::JoinSet;
use tower::{Layer, Service, service_fn};
use tower_singleflight::{Role, SharedBody, SingleflightLayer};

/// How many readers, and how many times in one turn.
const READERS: [(usize, usize); 3] = [(1, 20), (10, 2), (100, 1)];
/// The readers of one shared body, and as many that read a plain body each.
const SHARED: [&str; 3] = ["1 shared", "10 shared", "100 shared"];
const PLAIN: [&str; 3] = ["1 plain", "10 plain", "100 plain"];
const FRAMES: [usize; 2] = [16 * 1024, 1024];
const TAKEN: usize = 0;
const COPIED: usize = 1;
/// Whether the bytes are copied.
const HOW: [bool; 2] = [false, true];

pub(crate) fn run(options: &Options) -> Report {
    let bytes = options.size(64, 1) * 1024 * 1024;
    let rounds = options.rounds(15);
    let tables = FRAMES.map(|frame| table(Size { bytes, frame }, rounds)).into();
    let about = format!(
        "One body of {} MiB, of which {BURST} frames come at a time, read to its end by N tasks on \
         one thread; time for a byte and reader ÷ that of one task that reads the plain body; \
         {rounds} rounds. One variant takes the frames. The other also copies their bytes, as to \
         a socket. The floor is N tasks that read N plain bodies: each reader has a buffer \
         of its own, so it costs more as well.",
        bytes / 1024 / 1024,
    );
    Report { title: "Bodies", about, tables, panel: None }
}

fn table(size: Size, rounds: usize) -> Table {
    let runtime = &one_thread();
    let mut lineup = Lineup::new();
    for ((readers, times), (shared_name, plain_name)) in
        READERS.into_iter().zip(SHARED.into_iter().zip(PLAIN))
    {
        let mean = move |read: &mut dyn FnMut() -> f64| {
            let reads = (0..times).map(|_| read());
            reads.sum::<f64>() / (times * readers) as f64
        };
        lineup.add(plain_name, move || {
            let bodies = move || (0..readers).map(|_| Stream::of(size)).collect();
            HOW.map(|copy| mean(&mut || runtime.block_on(time(bodies(), size, copy))))
        });
        lineup.add(shared_name, move || {
            let read = async move |copy| time(shared(size, readers).await, size, copy).await;
            HOW.map(|copy| mean(&mut || runtime.block_on(read(copy))))
        });
    }
    let measured = lineup.run(rounds);
    let head =
        ["readers", "frames taken ÷ plain", "bytes copied ÷ plain", "bytes copied, floor ÷ plain"];
    let mut table = Table::new(format!("Frames of {} KiB", size.frame / 1024), &head);
    for (((readers, _), shared), plain) in READERS.into_iter().zip(SHARED).zip(PLAIN) {
        let ratio = |name, how| measured.ratio((name, how), (PLAIN[0], how)).to_string();
        table.row([
            readers.to_string(),
            ratio(shared, TAKEN),
            ratio(shared, COPIED),
            ratio(plain, COPIED),
        ]);
    }
    table
}

/// The responses' bodies of as many calls, which share one flight.
async fn shared(size: Size, readers: usize) -> Vec<SharedBody> {
    let upstream = service_fn(move |_: Request<String>| async move {
        Ok::<_, Infallible>(Response::new(Stream::of(size)))
    });
    let mut service =
        SingleflightLayer::new(|request| request.uri().path().to_string()).layer(upstream);
    let calls: Vec<_> = (0..readers).map(|_| service.call(Request::new(String::new()))).collect();
    let responses: Vec<_> = join_all(calls)
        .await
        .into_iter()
        .map(|response| response.expect("it is infallible"))
        .collect();
    let followers = responses
        .iter()
        .filter(|response| response.extensions().get() == Some(&Role::Follower))
        .count();
    assert_eq!(followers, readers - 1, "they share one flight");
    responses.into_iter().map(Response::into_body).collect()
}

/// Until all bodies are read to their ends.
async fn time<B>(bodies: Vec<B>, size: Size, copy: bool) -> f64
where
    B: Body<Data = Bytes> + Send + 'static,
{
    let start = clock::now();
    let mut tasks = JoinSet::new();
    bodies.into_iter().for_each(|body| drop(tasks.spawn(read(body, size.frame, copy))));
    let read = tasks.join_all().await;
    assert!(read.iter().all(|read| *read == size.bytes), "every reader gets the whole body");
    clock::since(start)
}

async fn read<B: Body<Data = Bytes>>(body: B, frame: usize, copy: bool) -> usize {
    let mut body = pin!(body);
    let (mut buffer, socket) = buffer(0, frame);
    let socket = &mut buffer[socket];
    let mut read = 0;
    while let Some(Ok(frame)) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let Ok(data) = frame.into_data() else { continue };
        if copy {
            black_box(&mut socket[..data.len()]).copy_from_slice(&data);
        }
        read += data.len();
    }
    read
}
