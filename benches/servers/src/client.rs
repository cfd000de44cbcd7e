//! A client's connections, and one request over one.

use crate::error::BoxError;
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::LocalSet,
    time::sleep,
};

/// For the server to accept the connections, and to come to rest.
const SETTLES: Duration = Duration::from_millis(300);

/// Open and idle.
pub(crate) async fn connect(to: SocketAddr, count: usize) -> Result<Vec<TcpStream>, BoxError> {
    let mut connections = Vec::with_capacity(count);
    for _ in 0..count {
        let connection = TcpStream::connect(to).await?;
        connection.set_nodelay(true)?;
        connections.push(connection);
    }
    sleep(SETTLES).await;
    Ok(connections)
}

/// A client on each connection, all at once, and what they bring.
pub(crate) async fn on_each<F, T>(
    connections: Vec<TcpStream>,
    client: impl Fn(usize, TcpStream) -> F,
) -> Result<Vec<T>, BoxError>
where
    F: Future<Output = Result<T, BoxError>> + 'static,
    T: 'static,
{
    let clients = LocalSet::new();
    let connections = connections.into_iter().enumerate();
    let running: Vec<_> =
        connections.map(|(nth, connection)| clients.spawn_local(client(nth, connection))).collect();
    let brought = clients.run_until(async {
        let mut brought = Vec::with_capacity(running.len());
        for client in running {
            brought.push(client.await??);
        }
        Ok(brought)
    });
    brought.await
}

pub(crate) fn request(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: bench.example\r\naccept: */*\r\n\r\n").into_bytes()
}

/// What came in answer to a request, with the right body.
pub(crate) struct Answer {
    pub(crate) is_refused: bool,
    /// When the first byte of the body came.
    pub(crate) first: Instant,
}

/// Until the last byte of the answer, which must have this body.
pub(crate) async fn ask(
    connection: &mut TcpStream,
    request: &[u8],
    body: &[u8],
) -> Result<Answer, BoxError> {
    connection.write_all(request).await?;
    let (mut got, mut first) = (Vec::with_capacity(8 << 10), None);
    loop {
        if connection.read_buf(&mut got).await? == 0 {
            return Err(format!("a connection was closed after {} bytes", got.len()).into());
        }
        let Some(end) = got.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { continue };
        let (head, came) = (&got[..end], &got[end + 4..]);
        if came.is_empty() {
            continue;
        }
        let first = *first.get_or_insert_with(Instant::now);
        if came.len() >= body.len() {
            return Ok(Answer { is_refused: check(head, came, body)?, first });
        }
    }
}

/// Whether it is a refusal.
fn check(head: &[u8], got: &[u8], body: &[u8]) -> Result<bool, BoxError> {
    let head = String::from_utf8_lossy(head);
    match head.get(..13) {
        Some("HTTP/1.1 200 ") if got == body => Ok(false),
        Some("HTTP/1.1 403 ") if got == body => Ok(true),
        _ => Err(format!("a wrong answer, of {} bytes: {head}", got.len()).into()),
    }
}
