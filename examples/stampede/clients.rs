//! The clients: real connections, and all requests at once.

use crate::{BoxError, args::Args, upstream::Pages};
use axum::http::{Request, Response, StatusCode, header::HOST};
use bytes::Bytes;
use futures_util::{
    StreamExt, TryStreamExt,
    future::{BoxFuture, join_all},
    stream,
};
use http_body_util::{BodyExt, Empty};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::{
    net::SocketAddr,
    ops::Range,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::{net::TcpStream, time::timeout};

/// When the burst was released, and how far it has come.
#[derive(Default)]
pub(crate) struct Clock {
    release: OnceLock<Instant>,
    last_arrival_micros: AtomicU64,
    answered: AtomicU64,
}

impl Clock {
    fn start(&self) {
        self.release.get_or_init(Instant::now);
    }

    pub(crate) fn since_release(&self) -> Duration {
        self.release.get().map_or(Duration::ZERO, Instant::elapsed)
    }

    pub(crate) fn note_arrival(&self) {
        self.last_arrival_micros.fetch_max(self.since_release().as_micros() as u64, Relaxed);
    }

    pub(crate) fn last_arrival(&self) -> Duration {
        Duration::from_micros(self.last_arrival_micros.load(Relaxed))
    }

    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Relaxed)
    }
}

pub(crate) enum Answer {
    Right(Duration),
    WrongBody,
    Error(String),
}

pub(crate) struct Clients {
    connections: Vec<Connection>,
    keys: usize,
    patience: Duration,
    pages: Pages,
}

impl Clients {
    /// Connects them all, and sees that each is served.
    pub(crate) async fn connect(
        gateway: SocketAddr,
        args: &Args,
        pages: Pages,
    ) -> Result<Self, BoxError> {
        let connections = stream::iter(0..args.connections)
            .map(|_| Connection::open(gateway, args.http1))
            .buffer_unordered(64)
            .try_collect()
            .await?;
        Ok(Self { connections, keys: args.keys, patience: args.patience(), pages })
    }

    /// Sends `requests` at once; returns when each has its answer.
    pub(crate) async fn release(
        self,
        requests: usize,
        clock: Arc<Clock>,
    ) -> Result<Vec<Answer>, BoxError> {
        let count = self.connections.len();
        let share = |nth: usize| nth * requests / count..(nth + 1) * requests / count;
        let Self { connections, keys, patience, pages } = self;
        clock.start();
        let tasks: Vec<_> = connections
            .into_iter()
            .enumerate()
            .map(|(nth, connection)| {
                let asker = Asker {
                    keys,
                    patience,
                    pages: pages.clone(),
                    clock: clock.clone(),
                    share: share(nth),
                };
                tokio::spawn(asker.ask_all(connection))
            })
            .collect();
        let mut answers = Vec::with_capacity(requests);
        for task in tasks {
            answers.extend(task.await?);
        }
        Ok(answers)
    }
}

/// One connection's share of the burst.
struct Asker {
    keys: usize,
    patience: Duration,
    pages: Pages,
    clock: Arc<Clock>,
    share: Range<usize>,
}

impl Asker {
    async fn ask_all(self, mut connection: Connection) -> Vec<Answer> {
        let asked = self.share.clone().map(|nth| self.ask(&mut connection, nth % self.keys));
        join_all(asked.collect::<Vec<_>>()).await
    }

    /// The request is sent by this call, not when the future is first polled.
    fn ask<'a>(
        &'a self,
        connection: &mut Connection,
        key: usize,
    ) -> impl Future<Output = Answer> + use<'a> {
        let asked = connection.get(&format!("/item/{key}"));
        async move {
            let answer = match timeout(self.patience, asked).await {
                Ok(Ok(body)) if body == self.pages[key] => {
                    Answer::Right(self.clock.since_release())
                }
                Ok(Ok(_)) => Answer::WrongBody,
                Ok(Err(error)) => Answer::Error(error.to_string()),
                Err(_) => Answer::Error("no answer in time".into()),
            };
            self.clock.answered.fetch_add(1, Relaxed);
            answer
        }
    }
}

struct Connection {
    gateway: SocketAddr,
    sender: Sender,
}

enum Sender {
    Http1(http1::SendRequest<Empty<Bytes>>),
    Http2(http2::SendRequest<Empty<Bytes>>),
}

impl Connection {
    /// Returns when the connection has served a first request and is free again.
    async fn open(gateway: SocketAddr, http1: bool) -> Result<Self, BoxError> {
        let socket = TcpStream::connect(gateway).await?;
        socket.set_nodelay(true)?;
        let io = TokioIo::new(socket);
        let sender = if http1 {
            let (sender, driver) = http1::handshake(io).await?;
            tokio::spawn(driver);
            Sender::Http1(sender)
        } else {
            let (sender, driver) = http2::handshake(TokioExecutor::new(), io).await?;
            tokio::spawn(driver);
            Sender::Http2(sender)
        };
        let mut connection = Self { gateway, sender };
        connection.get("/ready").await?;
        match &mut connection.sender {
            Sender::Http1(sender) => sender.ready().await?,
            Sender::Http2(sender) => sender.ready().await?,
        }
        Ok(connection)
    }

    /// Sends the request at once, not when the future is first polled.
    fn get(&mut self, path: &str) -> BoxFuture<'static, Result<Bytes, BoxError>> {
        let response = self.request(path).map(|request| self.sender.send(request));
        Box::pin(async move {
            let response = response?.await?;
            if response.status() != StatusCode::OK {
                return Err(format!("status {}", response.status()).into());
            }
            Ok(response.into_body().collect().await?.to_bytes())
        })
    }

    fn request(&self, path: &str) -> Result<Request<Empty<Bytes>>, axum::http::Error> {
        let gateway = self.gateway;
        let request = match self.sender {
            Sender::Http1(_) => Request::get(path).header(HOST, gateway.to_string()),
            Sender::Http2(_) => Request::get(format!("http://{gateway}{path}")),
        };
        request.body(Empty::new())
    }
}

impl Sender {
    fn send(
        &mut self,
        request: Request<Empty<Bytes>>,
    ) -> BoxFuture<'static, hyper::Result<Response<Incoming>>> {
        match self {
            Self::Http1(sender) => Box::pin(sender.send_request(request)),
            Self::Http2(sender) => Box::pin(sender.send_request(request)),
        }
    }
}
