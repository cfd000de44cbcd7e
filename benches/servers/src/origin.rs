//! The slow origin, on a thread of its own.

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

const TAKES: Duration = Duration::from_millis(200);
const LENGTH: usize = 4096;
/// A burst that nobody may share opens so many connections at once.
const BACKLOG: u32 = 4096;

pub(crate) struct Origin {
    pub(crate) addr: SocketAddr,
    hits: Arc<Mutex<HashMap<String, usize>>>,
}

/// What an answer says, and when it comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Shared,
    Private,
    /// At once, and it says nothing about who may have it.
    Plain,
    /// At once, and fresh for a while.
    Fresh,
}

impl Kind {
    /// Those that many ask for at once.
    pub(crate) const BURSTS: [Self; 2] = [Self::Shared, Self::Private];
    /// Those that each is asked for once.
    pub(crate) const DISTINCT: [Self; 2] = [Self::Plain, Self::Fresh];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Private => "private",
            Self::Plain => "plain",
            Self::Fresh => "fresh",
        }
    }

    /// Of the path's first part.
    fn of(path: &str) -> Self {
        let name = path.split('/').nth(1);
        let kind =
            Self::BURSTS.into_iter().chain(Self::DISTINCT).find(|kind| name == Some(kind.as_str()));
        kind.unwrap_or(Self::Plain)
    }

    fn cache_control(self) -> &'static str {
        match self {
            Self::Shared | Self::Fresh => "cache-control: max-age=10\r\n",
            Self::Private => "cache-control: private\r\n",
            Self::Plain => "",
        }
    }

    fn takes(self) -> Duration {
        match self {
            Self::Shared | Self::Private => TAKES,
            Self::Plain | Self::Fresh => Duration::ZERO,
        }
    }
}

/// The right body for a path.
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
        *hits.lock().unwrap().entry(counted_as(kind, &path)).or_default() += 1;
        if !kind.takes().is_zero() {
            sleep(kind.takes()).await;
        }
        let cache_control = kind.cache_control();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {LENGTH}\r\n{cache_control}\r\n");
        stream.get_mut().write_all(&[head.as_bytes(), &body(&path)].concat()).await?;
    }
    Ok(())
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
