//! A relay between a replica and Redis, which can fail as networks do.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
    time::sleep,
};

/// What the relay does to connections.
#[derive(Clone, Copy, Default)]
pub(crate) struct Faults {
    /// Before each piece of data, in each direction.
    pub(crate) delay: Duration,
    /// What the replica sends does not arrive.
    pub(crate) mute: bool,
    /// What Redis sends does not arrive.
    pub(crate) deaf: bool,
}

pub(crate) struct Relay {
    address: SocketAddr,
    /// For connections that are there. Those that are made later get the faults of that time.
    faults: Arc<Mutex<watch::Sender<Faults>>>,
    /// After so many bytes of Redis, the connections are cut.
    cut_after: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Relay {
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let faults = Arc::new(Mutex::new(watch::Sender::new(Faults::default())));
        let cut_after = Arc::new(AtomicUsize::new(usize::MAX));
        let (shared, left) = (Arc::clone(&faults), Arc::clone(&cut_after));
        let task = tokio::spawn(async move {
            loop {
                let (replica, _) = listener.accept().await.unwrap();
                let redis = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                let faults = shared.lock().unwrap().subscribe();
                let (from_replica, to_replica) = replica.into_split();
                let (from_redis, to_redis) = redis.into_split();
                tokio::spawn(pump(
                    from_replica,
                    to_redis,
                    faults.clone(),
                    |faults| faults.mute,
                    None,
                ));
                tokio::spawn(pump(
                    from_redis,
                    to_replica,
                    faults,
                    |faults| faults.deaf,
                    Some(Arc::clone(&left)),
                ));
            }
        });
        Self { address, faults, cut_after, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Changes what happens to all connections.
    pub(crate) fn set(&self, faults: Faults) {
        self.faults.lock().unwrap().send_replace(faults);
    }

    /// Leaves the connections that are there to these faults. Those that are made later work.
    pub(crate) fn abandon(&self, faults: Faults) {
        self.set(faults);
        *self.faults.lock().unwrap() = watch::Sender::new(Faults::default());
    }

    /// Cuts the connection that has carried so many more bytes of Redis, and lets others work after
    /// that.
    pub(crate) fn cut_after(&self, bytes: usize) {
        self.cut_after.store(bytes, Relaxed);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    faults: watch::Receiver<Faults>,
    stuck: fn(&Faults) -> bool,
    cut_after: Option<Arc<AtomicUsize>>,
) {
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut bytes).await {
        let now = *faults.borrow();
        sleep(now.delay).await;
        if stuck(&now) {
            // Open for ever, and silent.
            std::future::pending().await
        }
        let left = cut_after.as_ref().map_or(usize::MAX, |left| left.load(Relaxed));
        if to.write_all(&bytes[..length.min(left)]).await.is_err() {
            return;
        }
        if let Some(cut_after) = cut_after.as_ref().filter(|_| left < usize::MAX) {
            if length >= left {
                cut_after.store(usize::MAX, Relaxed);
                return;
            }
            cut_after.store(left - length, Relaxed);
        }
    }
}
