//! The upstream that the processes share. It counts calls, and notes when it answers.

use bytes::Bytes;
use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::Notify,
    time::sleep,
};

/// How long it takes to answer.
pub(crate) const PAUSE: Duration = Duration::from_millis(50);

/// Nanoseconds of the system's clock, which all processes of a machine share. `Instant`s of two
/// processes cannot be compared.
pub(crate) fn now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |now| now.as_nanos() as u64)
}

/// Answers `/{bytes}/{key}` with so many dots.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    log: Arc<Log>,
}

#[derive(Default)]
struct Log {
    paths: Mutex<HashMap<String, Calls>>,
    called: Notify,
}

/// What became of one path.
#[derive(Clone, Default)]
pub(crate) struct Calls {
    /// The numbers of the processes that called.
    pub(crate) callers: Vec<usize>,
    /// When the first answer was sent.
    pub(crate) answered: Option<u64>,
}

impl Upstream {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let log = Arc::<Log>::default();
        let upstream = Self { address, log: Arc::clone(&log) };
        tokio::spawn(async move {
            loop {
                let (connection, _) = listener.accept().await.unwrap();
                tokio::spawn(answer(connection, Arc::clone(&log)));
            }
        });
        upstream
    }

    pub(crate) fn calls(&self, path: &str) -> Calls {
        self.log.paths.lock().unwrap().get(path).cloned().unwrap_or_default()
    }

    /// Waits for the first call, and gives the number of the process.
    pub(crate) async fn caller(&self, path: &str) -> usize {
        loop {
            let called = self.log.called.notified();
            if let Some(&caller) = self.calls(path).callers.first() {
                return caller;
            }
            called.await;
        }
    }
}

async fn answer(connection: TcpStream, log: Arc<Log>) {
    let mut connection = BufReader::new(connection);
    let mut request = String::new();
    let _ = connection.read_line(&mut request).await;
    let (caller, path) = request.trim().split_once(' ').unwrap();
    let body = vec![b'.'; length(path)];
    log.paths
        .lock()
        .unwrap()
        .entry(path.to_owned())
        .or_default()
        .callers
        .push(caller.parse().unwrap());
    log.called.notify_one();
    sleep(PAUSE).await;
    log.paths.lock().unwrap().get_mut(path).unwrap().answered.get_or_insert_with(now);
    // The process may be dead.
    let _ = connection.write_all(&body).await;
}

/// How long the answer to a path is.
pub(crate) fn length(path: &str) -> usize {
    path.split('/').nth(1).and_then(|bytes| bytes.parse().ok()).unwrap()
}

/// The upstream, as the process with this number sees it.
#[derive(Clone, Copy)]
pub(crate) struct Caller {
    pub(crate) address: SocketAddr,
    pub(crate) number: usize,
}

impl Caller {
    pub(crate) async fn get(self, path: &str) -> Bytes {
        let mut connection = TcpStream::connect(self.address).await.unwrap();
        connection.write_all(format!("{} {path}\n", self.number).as_bytes()).await.unwrap();
        let mut body = Vec::with_capacity(length(path));
        connection.read_to_end(&mut body).await.unwrap();
        body.into()
    }
}
