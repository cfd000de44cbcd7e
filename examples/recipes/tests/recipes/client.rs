//! Clients, with a connection each.

use crate::program::within;
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Request, StatusCode, body::Bytes, client::conn::http1, http::request::Builder};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use tokio::{net::TcpStream, task::JoinSet};

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
    let request = head.header("host", address.to_string()).body(Full::<Bytes>::from(body.to_owned())).unwrap();
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
