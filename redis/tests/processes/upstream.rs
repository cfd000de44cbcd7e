//! The upstream that the replicas share. It counts calls.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::sleep,
};

/// Answers `/{delay in ms}/{bytes}/{key}` with the path, the number of the call, and dots.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    calls: Arc<Mutex<HashMap<String, usize>>>,
    task: JoinHandle<()>,
}

impl Upstream {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let calls = Arc::<Mutex<HashMap<String, usize>>>::default();
        let counted = Arc::clone(&calls);
        let task = tokio::spawn(async move {
            loop {
                let (connection, _) = listener.accept().await.unwrap();
                tokio::spawn(answer(connection, Arc::clone(&counted)));
            }
        });
        Self { address, calls, task }
    }

    /// How often it was called for this path.
    pub(crate) fn calls(&self, path: &str) -> usize {
        self.calls.lock().unwrap().get(path).copied().unwrap_or(0)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(connection: TcpStream, calls: Arc<Mutex<HashMap<String, usize>>>) {
    let mut connection = BufReader::new(connection);
    let mut path = String::new();
    let _ = connection.read_line(&mut path).await;
    let path = path.trim();
    let [delay, bytes] =
        [1, 2].map(|part| path.split('/').nth(part).and_then(|part| part.parse().ok()).unwrap());
    let call = {
        let mut calls = calls.lock().unwrap();
        let call = calls.entry(path.to_owned()).or_default();
        *call += 1;
        *call
    };
    sleep(Duration::from_millis(delay)).await;
    let body = format!("{path}#{call} {}", ".".repeat(bytes as usize));
    // The replica may be dead.
    let _ = connection.write_all(body.as_bytes()).await;
}

/// Calls it. For the replicas.
pub(crate) async fn call(upstream: SocketAddr, path: &str) -> std::io::Result<Vec<u8>> {
    let mut connection = TcpStream::connect(upstream).await?;
    connection.write_all(format!("{path}\n").as_bytes()).await?;
    let mut body = Vec::new();
    connection.read_to_end(&mut body).await?;
    Ok(body)
}
