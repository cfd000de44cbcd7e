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
use stream::{BURST, FRAME, Stream, buffer};
use tokio::task::JoinSet;
use tower::{Layer, Service, service_fn};
use tower_singleflight::{Role, SharedBody, SingleflightLayer};

const PLAIN: &str = "plain";
/// How many readers, and how many times in one turn.
const READERS: [(&str, usize, usize); 3] = [("1", 1, 20), ("10", 10, 2), ("100", 100, 1)];
const TAKEN: usize = 0;
const COPIED: usize = 1;
/// Whether the bytes are copied.
const HOW: [bool; 2] = [false, true];

pub(crate) fn run(options: &Options) -> Report {
    let bytes = options.size(64, 1) * 1024 * 1024;
    let rounds = options.rounds(15);
    let runtime = one_thread();
    let mut lineup = Lineup::new();
    let runtime = &runtime;
    lineup.add(PLAIN, || {
        HOW.map(|copy| {
            let reads = (0..20).map(|_| runtime.block_on(time(vec![Stream::of(bytes)], bytes, copy)));
            reads.sum::<f64>() / 20.0
        })
    });
    for (name, readers, times) in READERS {
        let read = async move |copy| time(shared(bytes, readers).await, bytes, copy).await;
        lineup.add(name, move || {
            HOW.map(|copy| {
                let reads = (0..times).map(|_| runtime.block_on(read(copy)));
                reads.sum::<f64>() / (times * readers) as f64
            })
        });
    }
    let measured = lineup.run(rounds);
    let mut table = Table::new("", &["readers", "frames taken, of a plain read", "bytes copied out, of a plain read"]);
    for (name, ..) in READERS {
        let ratios = [TAKEN, COPIED].map(|how| measured.ratio((name, how), (PLAIN, how)).to_string());
        table.row([name.to_string()].into_iter().chain(ratios));
    }
    let about = format!(
        "One body of {} MiB, in frames of {} KiB of which {BURST} come at a time, read to its end by N tasks on one \
        thread; time a byte and reader, of what the same body takes that one task reads as it is; {rounds} rounds. \
        Once the frames are only taken, and once their bytes are copied out, as to a socket.",
        bytes / 1024 / 1024,
        FRAME / 1024
    );
    Report { title: "Bodies", about, tables: vec![table], panel: None }
}

/// The responses' bodies of as many calls, which share one flight.
async fn shared(bytes: usize, readers: usize) -> Vec<SharedBody> {
    let upstream =
        service_fn(move |_: Request<String>| async move { Ok::<_, Infallible>(Response::new(Stream::of(bytes))) });
    let mut service = SingleflightLayer::new(|request| request.uri().path().to_string()).layer(upstream);
    let calls: Vec<_> = (0..readers).map(|_| service.call(Request::new(String::new()))).collect();
    let responses: Vec<_> =
        join_all(calls).await.into_iter().map(|response| response.expect("it is infallible")).collect();
    let followers = responses.iter().filter(|response| response.extensions().get() == Some(&Role::Follower)).count();
    assert_eq!(followers, readers - 1, "they share one flight");
    responses.into_iter().map(Response::into_body).collect()
}

/// Until all bodies are read to their ends.
async fn time<B>(bodies: Vec<B>, bytes: usize, copy: bool) -> f64
where
    B: Body<Data = Bytes> + Send + 'static,
{
    let start = clock::now();
    let mut tasks = JoinSet::new();
    bodies.into_iter().for_each(|body| drop(tasks.spawn(read(body, copy))));
    let read = tasks.join_all().await;
    assert!(read.iter().all(|read| *read == bytes), "every reader gets the whole body");
    clock::since(start)
}

async fn read<B: Body<Data = Bytes>>(body: B, copy: bool) -> usize {
    let mut body = pin!(body);
    let (mut buffer, socket) = buffer(0);
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
