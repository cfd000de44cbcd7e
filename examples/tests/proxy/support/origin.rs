//! An upstream that does as it is told, byte by byte.

use super::{Kind, Message, client::PATIENCE};
use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::{sleep, timeout},
};

/// What the origin does, step by step, when a request is there.
#[derive(Clone, Default)]
pub(crate) struct Reply(Vec<Step>);

#[derive(Clone)]
enum Step {
    Send(Vec<u8>),
    Pause(Duration),
    Hold,
    Close,
}

impl Reply {
    /// A whole response with a length.
    pub(crate) fn ok(text: &str) -> Self {
        Self::default()
            .send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len()))
    }

    pub(crate) fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self::default().send(bytes)
    }

    pub(crate) fn send(self, bytes: impl Into<Vec<u8>>) -> Self {
        self.then(Step::Send(bytes.into()))
    }

    pub(crate) fn pause(self, time: Duration) -> Self {
        self.then(Step::Pause(time))
    }

    /// Until `Origin::release`.
    pub(crate) fn hold(self) -> Self {
        self.then(Step::Hold)
    }

    pub(crate) fn close(self) -> Self {
        self.then(Step::Close)
    }

    fn then(mut self, step: Step) -> Self {
        self.0.push(step);
        self
    }
}

pub(crate) struct Origin {
    pub(crate) addr: SocketAddr,
    log: Arc<Log>,
    released: watch::Sender<bool>,
}

#[derive(Default)]
struct Log {
    connections: AtomicUsize,
    requests: Mutex<Vec<Message>>,
}

impl Origin {
    pub(crate) async fn new(script: impl Fn(&Message) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (released, hold) = watch::channel(false);
        let log = Arc::<Log>::default();
        tokio::spawn(accept(listener, Arc::new(script), log.clone(), hold));
        Self { addr, log, released }
    }

    pub(crate) fn release(&self) {
        self.released.send_replace(true);
    }

    pub(crate) fn requests(&self) -> Vec<Message> {
        self.log.requests.lock().unwrap().clone()
    }

    /// The only request that came.
    pub(crate) fn request(&self) -> Message {
        let [request] = &self.requests()[..] else { panic!("not one request") };
        request.clone()
    }

    pub(crate) fn hits(&self) -> usize {
        self.requests().len()
    }

    pub(crate) async fn hit(&self, times: usize) {
        let hit = async {
            while self.hits() < times {
                sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(PATIENCE, hit).await.expect("as many requests");
    }

    pub(crate) fn connections(&self) -> usize {
        self.log.connections.load(SeqCst)
    }
}

type Script = dyn Fn(&Message) -> Reply + Send + Sync;

async fn accept(
    listener: TcpListener,
    script: Arc<Script>,
    log: Arc<Log>,
    hold: watch::Receiver<bool>,
) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        log.connections.fetch_add(1, SeqCst);
        tokio::spawn(serve(BufReader::new(stream), script.clone(), log.clone(), hold.clone()));
    }
}

async fn serve(
    mut stream: BufReader<TcpStream>,
    script: Arc<Script>,
    log: Arc<Log>,
    mut hold: watch::Receiver<bool>,
) {
    while let Ok(request) = Message::read(&mut stream, Kind::Request).await {
        let Reply(steps) = script(&request);
        log.requests.lock().unwrap().push(request);
        for step in steps {
            match step {
                Step::Send(bytes) => stream.write_all(&bytes).await.unwrap_or_default(),
                Step::Pause(time) => sleep(time).await,
                Step::Hold => drop(hold.wait_for(|released| *released).await),
                Step::Close => return,
            }
        }
    }
}
