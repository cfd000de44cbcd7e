//! The clients: N connections, and one request over each, all at once.

use crate::{BoxError, origin};
use std::{
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::LocalSet,
    time::{sleep, timeout},
};

/// For the server to accept the connections, and to come to rest.
const SETTLES: Duration = Duration::from_millis(300);
/// By then an answer has come, or never will.
const PATIENCE: Duration = Duration::from_secs(120);

/// From the release to each complete answer, in ascending order.
pub(crate) type Latencies = Vec<Duration>;

pub(crate) async fn burst(to: SocketAddr, size: usize, path: &str) -> Result<Latencies, BoxError> {
    let mut connections = Vec::with_capacity(size);
    for _ in 0..size {
        let connection = TcpStream::connect(to).await?;
        connection.set_nodelay(true)?;
        connections.push(connection);
    }
    sleep(SETTLES).await;
    let request: Rc<[u8]> = format!("GET {path} HTTP/1.1\r\nhost: bench.example\r\n\r\n").into_bytes().into();
    let body: Rc<[u8]> = origin::body(path).into();
    let clients = LocalSet::new();
    let released = Instant::now();
    let answers: Vec<_> = connections
        .into_iter()
        .map(|connection| {
            clients.spawn_local(timeout(PATIENCE, ask(connection, request.clone(), body.clone(), released)))
        })
        .collect();
    let latencies = clients.run_until(async {
        let mut latencies = Vec::with_capacity(size);
        for answer in answers {
            latencies.push(answer.await???);
        }
        Ok::<_, BoxError>(latencies)
    });
    let mut latencies = latencies.await?;
    latencies.sort_unstable();
    Ok(latencies)
}

async fn ask(
    mut connection: TcpStream,
    request: Rc<[u8]>,
    body: Rc<[u8]>,
    released: Instant,
) -> Result<Duration, BoxError> {
    connection.write_all(&request).await?;
    let mut got = Vec::with_capacity(8 << 10);
    loop {
        if connection.read_buf(&mut got).await? == 0 {
            return Err(format!("a connection was closed after {} bytes", got.len()).into());
        }
        let Some(end) = got.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { continue };
        if got.len() >= end + 4 + body.len() {
            let latency = released.elapsed();
            check(&got[..end], &got[end + 4..], &body)?;
            return Ok(latency);
        }
    }
}

fn check(head: &[u8], got: &[u8], body: &[u8]) -> Result<(), BoxError> {
    let head = String::from_utf8_lossy(head);
    if !head.starts_with("HTTP/1.1 200 ") || got != body {
        return Err(format!("a wrong answer, of {} bytes: {head}", got.len()).into());
    }
    Ok(())
}
