//! Clients of the proxy.

use super::{Kind, Message};
use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper_util::{client::legacy, rt::TokioExecutor};
use std::{io, net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};

/// A test that hangs says where.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// One HTTP/1 connection, to which a test writes bytes.
pub(crate) struct Client(BufReader<TcpStream>);

impl Client {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        Self(BufReader::new(TcpStream::connect(addr).await.unwrap()))
    }

    /// True if somebody listens.
    pub(crate) async fn try_connect(addr: SocketAddr) -> bool {
        TcpStream::connect(addr).await.is_ok()
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// What is left of what it received.
    #[cfg(feature = "spill")]
    pub(crate) fn stream(&mut self) -> &mut BufReader<TcpStream> {
        &mut self.0
    }

    /// One frame of HTTP/2.
    pub(crate) async fn send_frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
        self.0.write_all(&[&head, payload].concat()).await.unwrap();
    }

    pub(crate) async fn receive(&mut self, kind: Kind) -> io::Result<Message> {
        timeout(PATIENCE, Message::read(&mut self.0, kind)).await.expect("an answer, or an end")
    }

    /// Sends a request and reads the head of its response.
    pub(crate) async fn ask_for_head(&mut self, text: &str) -> Message {
        self.send(text).await;
        let head =
            timeout(PATIENCE, Message::read_head(&mut self.0)).await.expect("an answer, or an end");
        head.unwrap()
    }

    /// Reads the body that belongs to a head.
    pub(crate) async fn receive_body(&mut self, head: &mut Message) -> io::Result<()> {
        let body = head.read_body(&mut self.0, Kind::Response);
        timeout(PATIENCE, body).await.expect("a body, or an end")
    }

    /// Sends a request and reads its response.
    pub(crate) async fn ask(&mut self, text: &str) -> io::Result<Message> {
        self.send(text).await;
        self.receive(Kind::Response).await
    }

    /// The response to a request on a connection of its own.
    pub(crate) async fn once(addr: SocketAddr, text: &str) -> io::Result<Message> {
        Self::connect(addr).await.ask(text).await
    }

    pub(crate) async fn get(addr: SocketAddr, path: &str) -> io::Result<Message> {
        Self::once(addr, &format!("GET {path} HTTP/1.1\r\nhost: example\r\n\r\n")).await
    }
}

/// A client that speaks HTTP/2 only.
pub(crate) fn h2<B>() -> legacy::Client<legacy::connect::HttpConnector, B>
where
    B: http_body::Body<Data = Bytes> + Send,
{
    legacy::Client::builder(TokioExecutor::new()).http2_only(true).build_http()
}

pub(crate) async fn h2_get(addr: SocketAddr, path: &str) -> Response<Incoming> {
    let request = Request::get(format!("http://{addr}{path}")).version(Version::HTTP_2);
    let response = h2().request(request.body(Empty::new()).unwrap());
    timeout(PATIENCE, response).await.expect("an answer, or an end").unwrap()
}
