//! A reader that is slow but steady, and another beside it.

use crate::{error::BoxError, numbers::millis};
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::{sleep, timeout},
    try_join,
};

/// Bytes a second.
const RATE: usize = 8 << 20;
/// What the system takes for the slow one is little, so that the server sees how slow it is.
const BUFFER: u32 = 64 << 10;
/// The slow one is the first to ask.
const HEAD_START: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(60);

/// From the request to the end of the body: of one that nobody else asks for, of one beside a slow
/// reader, and the slow reader's own.
pub(super) async fn measure(
    to: SocketAddr,
    length: usize,
    path: &str,
) -> Result<[f64; 3], BoxError> {
    let fast = download(to, length, usize::MAX, format!("{path}/alone"));
    let alone = timeout(PATIENCE, fast).await??;
    let slow = download(to, length, RATE, path.to_owned());
    let fast = async {
        sleep(HEAD_START).await;
        download(to, length, usize::MAX, path.to_owned()).await
    };
    let (slow, beside) = timeout(PATIENCE, async { try_join!(slow, fast) }).await??;
    Ok([alone, beside, slow].map(millis))
}

/// All of it, at no more than `rate` bytes a second.
async fn download(
    to: SocketAddr,
    length: usize,
    rate: usize,
    path: String,
) -> Result<Duration, BoxError> {
    let socket = TcpSocket::new_v4()?;
    if rate == RATE {
        socket.set_recv_buffer_size(BUFFER)?;
    }
    let mut connection = socket.connect(to).await?;
    let asked = Instant::now();
    // The body of an answer to HTTP/1.0 has no chunks: it ends with the connection.
    let request = format!("GET {path} HTTP/1.0\r\nhost: bench.example\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    let mut buffer = Vec::with_capacity(BUFFER as usize);
    let mut got = read_head(&mut connection, &mut buffer).await?;
    let began = Instant::now();
    loop {
        sleep(Duration::from_secs_f64(got as f64 / rate as f64).saturating_sub(began.elapsed()))
            .await;
        buffer.clear();
        match connection.read_buf(&mut buffer).await? {
            0 if got == length => return Ok(asked.elapsed()),
            0 => return Err(format!("{got} bytes came of {length}").into()),
            count => got += count,
        }
    }
}

/// How much of the body came with it.
async fn read_head(connection: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<usize, BoxError> {
    loop {
        if connection.read_buf(buffer).await? == 0 {
            return Err("no head came".into());
        }
        let Some(end) = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { continue };
        let status = buffer.get(..12).unwrap_or_default();
        if !status.ends_with(b" 200") {
            return Err(format!("a wrong answer: {}", String::from_utf8_lossy(status)).into());
        }
        return Ok(buffer.len() - end - 4);
    }
}
