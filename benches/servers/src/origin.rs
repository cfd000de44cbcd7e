//! The origin, on a thread of its own.

mod kind;

pub(crate) use kind::Kind;

use crate::error::BoxError;
use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpSocket, TcpStream},
    runtime::Builder,
    time::sleep,
};

/// What most answers take.
const TAKES: Duration = Duration::from_millis(200);
const LENGTH: usize = 4096;
/// A stream has so many parts, each of the usual length.
pub(crate) const PARTS: usize = 20;
const PAUSE: Duration = Duration::from_millis(50);
/// A download comes in chunks, and without a length.
const CHUNK: usize = 64 << 10;
/// A burst that nobody may share opens so many connections at once.
const BACKLOG: u32 = 4096;

pub(crate) struct Origin {
    pub(crate) addr: SocketAddr,
    hits: Arc<Mutex<HashMap<String, usize>>>,
}

/// The right body for a path, but for a stream, which has it [`PARTS`] times.
pub(crate) fn body(path: &str) -> Vec<u8> {
    let line = format!("{path}\n").into_bytes();
    let mut body = line.repeat(LENGTH.div_ceil(line.len()));
    body.truncate(LENGTH);
    body
}

impl Origin {
    pub(crate) fn start() -> Result<Self, BoxError> {
        let hits = Arc::<Mutex<HashMap<_, _>>>::default();
        let (tell, told) = mpsc::channel();
        let counted = hits.clone();
        thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().expect("one runtime");
            runtime.block_on(async {
                let listener = listen().expect("a port is free");
                tell.send(listener.local_addr()).expect("somebody asked");
                serve(listener, counted).await;
            });
        });
        Ok(Self { addr: told.recv()??, hits })
    }

    pub(crate) fn hits(&self, path: &str) -> usize {
        self.hits.lock().unwrap().get(path).copied().unwrap_or_default()
    }

    /// Of one whose paths are counted together.
    pub(crate) fn hits_of(&self, kind: Kind) -> usize {
        self.hits(&counted_as(kind, ""))
    }
}

fn listen() -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
    socket.listen(BACKLOG)
}

async fn serve(listener: TcpListener, hits: Arc<Mutex<HashMap<String, usize>>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let hits = hits.clone();
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            // Until the server closes the connection.
            let _ = answer_all(BufReader::new(stream), &hits).await;
        });
    }
}

async fn answer_all(
    mut stream: BufReader<TcpStream>,
    hits: &Mutex<HashMap<String, usize>>,
) -> io::Result<()> {
    while let Some(path) = request(&mut stream).await? {
        let kind = Kind::of(&path);
        let earlier = {
            let mut hits = hits.lock().unwrap();
            let hits = hits.entry(counted_as(kind, &path)).or_default();
            *hits += 1;
            *hits - 1
        };
        answer(stream.get_mut(), kind, &path, earlier == 0).await?;
    }
    Ok(())
}

async fn answer(stream: &mut TcpStream, kind: Kind, path: &str, is_first: bool) -> io::Result<()> {
    if !kind.is_at_once() {
        sleep(TAKES).await;
    }
    let head = kind.head(is_first);
    match kind {
        Kind::Download(length) => {
            stream
                .write_all(format!("{head}transfer-encoding: chunked\r\n\r\n").as_bytes())
                .await?;
            let chunk = [format!("{CHUNK:x}\r\n").as_bytes(), &[b'x'; CHUNK], b"\r\n"].concat();
            for _ in 0..length / CHUNK {
                stream.write_all(&chunk).await?;
            }
            stream.write_all(b"0\r\n\r\n").await
        }
        Kind::Stream => {
            let length = PARTS * LENGTH;
            stream.write_all(format!("{head}content-length: {length}\r\n\r\n").as_bytes()).await?;
            for _ in 0..PARTS {
                stream.write_all(&body(path)).await?;
                sleep(PAUSE).await;
            }
            Ok(())
        }
        _ => {
            let head = format!("{head}content-length: {LENGTH}\r\n\r\n");
            stream.write_all(&[head.as_bytes(), &body(path)].concat()).await
        }
    }
}

/// Paths that are asked for once are counted together.
fn counted_as(kind: Kind, path: &str) -> String {
    if Kind::DISTINCT.contains(&kind) { format!("/{}", kind.as_str()) } else { path.to_owned() }
}

/// The path that it asks for.
async fn request(from: &mut BufReader<TcpStream>) -> io::Result<Option<String>> {
    let mut start = String::new();
    if from.read_line(&mut start).await? == 0 {
        return Ok(None);
    }
    let mut line = start.clone();
    while line != "\r\n" {
        line.clear();
        if from.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
    }
    Ok(start.split(' ').nth(1).map(str::to_owned))
}
