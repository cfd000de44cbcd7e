//! The slow origin, on a thread of its own.

use crate::BoxError;
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

pub(crate) const TAKES: Duration = Duration::from_millis(200);
const LENGTH: usize = 4096;
/// A burst that nobody may share opens so many connections at once.
const BACKLOG: u32 = 4096;

pub(crate) struct Origin {
    pub(crate) addr: SocketAddr,
    hits: Arc<Mutex<HashMap<String, usize>>>,
}

/// Who may have an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Shared,
    Private,
}

impl Kind {
    pub(crate) const ALL: [Self; 2] = [Self::Shared, Self::Private];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Private => "private",
        }
    }

    fn of(path: &str) -> Self {
        if path.starts_with("/private/") { Self::Private } else { Self::Shared }
    }

    fn cache_control(self) -> &'static str {
        match self {
            Self::Shared => "max-age=10",
            Self::Private => "private",
        }
    }
}

/// The right body for a path.
pub(crate) fn body(path: &str) -> Vec<u8> {
    format!("{path}\n").bytes().cycle().take(LENGTH).collect()
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

async fn answer_all(mut stream: BufReader<TcpStream>, hits: &Mutex<HashMap<String, usize>>) -> io::Result<()> {
    while let Some(path) = request(&mut stream).await? {
        *hits.lock().unwrap().entry(path.clone()).or_default() += 1;
        sleep(TAKES).await;
        let cache_control = Kind::of(&path).cache_control();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {LENGTH}\r\ncache-control: {cache_control}\r\n\r\n");
        stream.get_mut().write_all(&[head.as_bytes(), &body(&path)].concat()).await?;
    }
    Ok(())
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
