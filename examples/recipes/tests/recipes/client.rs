//! Clients, with a connection each.

use crate::program::within;
use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Request, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
    http::{request::Builder, response::Parts},
};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use tokio::{
    net::TcpStream,
    task::{JoinHandle, JoinSet},
};

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// The body, if it is one.
    pub(crate) text: String,
}

pub(crate) async fn get(address: SocketAddr, path: &str) -> Reply {
    send(address, Request::get(path), "").await
}

/// Dropping it closes the connection.
pub(crate) async fn send(address: SocketAddr, head: Builder, body: &str) -> Reply {
    let request = head
        .header("host", address.to_string())
        .body(Full::<Bytes>::from(body.to_owned()))
        .unwrap();
    let socket = within(TcpStream::connect(address)).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await.unwrap();
    let reply = async move {
        let (head, body) = sender.send_request(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8_lossy(&body).into_owned();
        Reply { status: head.status, headers: head.headers, body, text }
    };
    within(async { tokio::join!(reply, connection).0 }).await
}

/// So many clients, all at once.
pub(crate) fn burst(clients: usize, address: SocketAddr, path: &'static str) -> JoinSet<Reply> {
    (0..clients).map(|_| get(address, path)).collect()
}

/// They all get this.
pub(crate) async fn all_get(clients: JoinSet<Reply>, text: &str) {
    for reply in clients.join_all().await {
        assert_eq!((reply.status, reply.text.as_str()), (StatusCode::OK, text));
    }
}

/// A response whose body is read as it comes. Dropping it closes the connection.
pub(crate) struct Stream {
    pub(crate) head: Parts,
    body: Incoming,
    connection: JoinHandle<()>,
}

impl Stream {
    /// Returns when the head is there.
    pub(crate) async fn open(address: SocketAddr, head: Builder, body: &str) -> Self {
        let request = head
            .header("host", address.to_string())
            .body(Full::<Bytes>::from(body.to_owned()))
            .unwrap();
        let socket = within(TcpStream::connect(address)).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await.unwrap();
        let connection = tokio::spawn(async { drop(connection.await) });
        let (head, body) = within(sender.send_request(request)).await.unwrap().into_parts();
        assert_eq!(head.status, StatusCode::OK);
        Self { head, body, connection }
    }

    /// The next piece.
    pub(crate) async fn next(&mut self) -> String {
        let frame = within(self.body.frame()).await.expect("it goes on").unwrap();
        String::from_utf8(frame.into_data().unwrap().into()).unwrap()
    }

    /// All that comes, to the end.
    pub(crate) async fn rest(mut self) -> String {
        let rest = within((&mut self.body).collect()).await.unwrap().to_bytes();
        String::from_utf8(rest.into()).unwrap()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.connection.abort();
    }
}
