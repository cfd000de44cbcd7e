//! Bad uploads over real sockets, to a layer that shares by bodies. Each concerns its own client,
//! and leaves nothing.

use crate::{
    net::{Gate, listen, until},
    support::within,
};
use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};
use tower::{ServiceBuilder, service_fn};
use tower_singleflight::{Handle, PassReason, SingleflightLayer};

const LIMIT: usize = 64 * 1024;

/// The path of the good clients. Their answers wait for the gate. Another path keeps a bad `POST`,
/// which is a write, from sealing their flights.
const GOOD: &str = "/good";
const BAD: &str = "/bad";

/// A server that answers with the body that it got, whole or not.
struct Server {
    address: SocketAddr,
    handle: Handle<Bytes>,
    gate: Gate,
    seen: Arc<Mutex<Vec<Upload>>>,
}

/// What a call of the inner service got.
#[derive(Clone, Debug, Default, PartialEq)]
struct Upload {
    text: String,
    end: Option<End>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Clean,
    WithTrailers,
    Error,
}

impl Server {
    async fn new() -> Self {
        let layer = SingleflightLayer::with_body(LIMIT, |request| {
            assert_ne!(request.body(), "bomb");
            Some(request.body().clone())
        });
        let (gate, seen, handle) =
            (Gate::new(), Arc::<Mutex<Vec<Upload>>>::default(), layer.handle());
        let (noted, opened) = (seen.clone(), gate.clone());
        let inner = service_fn(move |request: Request<UnsyncBoxBody<Bytes, hyper::Error>>| {
            let (seen, gate) = (noted.clone(), opened.clone());
            async move {
                let is_good = request.uri().path() == GOOD;
                let text = receive(request.into_body(), &seen).await;
                if is_good {
                    gate.passed().await;
                }
                Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(text)))
            }
        });
        let service = ServiceBuilder::new()
            .map_request(|request: Request<Incoming>| request.map(BodyExt::boxed_unsync))
            .layer(layer)
            .service(inner);
        let (listener, address) = listen().await;
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let service = TowerToHyperService::new(service.clone());
                tokio::spawn(async move {
                    auto::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(socket), service)
                        .await
                });
            }
        });
        Self { address, handle, gate, seen }
    }

    fn seen(&self) -> Vec<Upload> {
        self.seen.lock().unwrap().clone()
    }

    async fn client(&self) -> Client {
        Client(TcpStream::connect(self.address).await.unwrap())
    }

    /// One of the good clients, when it waits for its answer.
    async fn good(&self) -> JoinHandle<String> {
        let waiting = self.handle.waiting();
        let mut client = self.client().await;
        let answer = tokio::spawn(async move {
            client.send(&sized(GOOD, "users")).await;
            client.answer().await
        });
        until("it waits", || self.handle.waiting() > waiting).await;
        answer
    }

    /// Two good clients share one call, one that came before the bad upload and one after it.
    async fn and_others_share(&self, before: JoinHandle<String>) {
        let after = self.good().await;
        self.gate.open();
        for client in [before, after] {
            assert!(within(client).await.unwrap().ends_with("\r\n\r\nusers"));
        }
        assert_eq!(self.handle.stats().joined, 1);
    }

    async fn is_empty(&self) {
        until("nothing is left", || (self.handle.in_flight(), self.handle.waiting()) == (0, 0))
            .await;
    }
}

/// Reads a body to its end, and notes it as it comes.
async fn receive(
    mut body: UnsyncBoxBody<Bytes, hyper::Error>,
    seen: &Mutex<Vec<Upload>>,
) -> String {
    let call = {
        let mut seen = seen.lock().unwrap();
        seen.push(Upload::default());
        seen.len() - 1
    };
    let mut end = End::Clean;
    while let Some(frame) = body.frame().await {
        match frame.map(Frame::into_data) {
            Ok(Ok(data)) => seen.lock().unwrap()[call].text += std::str::from_utf8(&data).unwrap(),
            Ok(Err(_)) => end = End::WithTrailers,
            Err(_) => {
                end = End::Error;
                break;
            }
        }
    }
    let upload = &mut seen.lock().unwrap()[call];
    upload.end = Some(end);
    upload.text.clone()
}

/// An HTTP/1.1 connection, to which a test writes bytes.
struct Client(TcpStream);

impl Client {
    async fn send(&mut self, text: &str) {
        within(self.0.write_all(text.as_bytes())).await.unwrap();
    }

    /// All that comes until the server closes the connection, which a request asked it to.
    async fn answer(mut self) -> String {
        let mut answer = Vec::new();
        // A reset ends it too.
        let _ = within(self.0.read_to_end(&mut answer)).await;
        String::from_utf8(answer).unwrap()
    }

    /// The next bytes.
    async fn piece(&mut self) -> String {
        let mut piece = vec![0; 1024];
        let length = within(self.0.read(&mut piece)).await.unwrap();
        String::from_utf8(piece[..length].into()).unwrap()
    }
}

fn head(path: &str, headers: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: example\r\nconnection: close\r\n{headers}\r\n")
}

fn sized(path: &str, body: &str) -> String {
    head(path, &format!("content-length: {}\r\n", body.len())) + body
}

fn chunked(path: &str) -> String {
    head(path, "transfer-encoding: chunked\r\n")
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

fn upload(text: &str, end: End) -> Upload {
    Upload { text: text.to_owned(), end: Some(end) }
}

#[tokio::test]
async fn a_body_that_never_ends() {
    let server = Server::new().await;
    let other = server.good().await;
    let mut endless = server.client().await;
    endless.send(&(chunked(BAD) + &chunk("us"))).await;
    server.and_others_share(other).await;
    assert_eq!(server.seen(), [upload("users", End::Clean)], "it may still end within the limit");
    let mut sent = "us".to_owned();
    for _ in 0..20 {
        let text = "x".repeat(LIMIT / 4);
        endless.send(&chunk(&text)).await;
        sent += &text;
    }
    until("it streams on beyond the limit", || server.seen().last().unwrap().text == sent).await;
    assert_eq!(
        (server.handle.in_flight(), server.handle.stats().passed_by(PassReason::Body)),
        (0, 1)
    );
    drop(endless);
    server.is_empty().await;
    assert_ne!(server.seen().last().unwrap().end, Some(End::Clean));
}

#[tokio::test]
async fn a_body_that_ends_early_or_breaks_off() {
    for resets in [false, true] {
        for start in [chunked(BAD) + &chunk("use"), head(BAD, "content-length: 5\r\n") + "use"] {
            let server = Server::new().await;
            let other = server.good().await;
            let mut half = server.client().await;
            half.send(&start).await;
            // So that its start has arrived.
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            match resets {
                true => half.0.set_zero_linger().unwrap(),
                false => half.0.shutdown().await.unwrap(),
            }
            drop(half);
            server.and_others_share(other).await;
            server.is_empty().await;
            let bad: Vec<_> =
                server.seen().into_iter().filter(|upload| upload.text != "users").collect();
            assert!(
                bad.iter().all(|upload| upload.text == "use" && upload.end != Some(End::Clean)),
                "{bad:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_body_of_the_limit_and_one_of_a_byte_more() {
    for length in [LIMIT, LIMIT + 1] {
        let server = Server::new().await;
        let other = server.good().await;
        let text = "x".repeat(length);
        for request in [sized(BAD, &text), chunked(BAD) + &chunk(&text) + "0\r\n\r\n"] {
            let mut client = server.client().await;
            client.send(&request).await;
            assert!(client.answer().await.ends_with(&format!("\r\n\r\n{text}")), "every byte");
        }
        server.and_others_share(other).await;
        server.is_empty().await;
        let passed = if length > LIMIT { 2 } else { 0 };
        assert_eq!(server.handle.stats().passed_by(PassReason::Body), passed);
        assert!(server.seen()[1..].iter().all(|seen| *seen == upload(&text, End::Clean)));
    }
}

#[tokio::test]
async fn a_body_in_frames_of_one_byte_shares_with_one_in_a_single_frame() {
    let server = Server::new().await;
    let leader = server.good().await;
    let mut slow = server.client().await;
    let chunks: String = "users".chars().map(|byte| chunk(&byte.to_string())).collect();
    for byte in (chunked(GOOD) + &chunks + "0\r\n\r\n").chars() {
        slow.send(&byte.to_string()).await;
    }
    until("it joins", || server.handle.stats().joined == 1).await;
    let frames =
        "users".chars().map(|byte| Ok::<_, Infallible>(Frame::data(Bytes::from(byte.to_string()))));
    let frames = StreamBody::new(stream::iter(frames));
    let (mut sender, connection) = h2(server.address).await;
    let request = Request::post("http://example/good").body(frames.boxed_unsync()).unwrap();
    let stream = tokio::spawn(sender.send_request(request));
    until("it joins", || server.handle.stats().joined == 2).await;
    server.gate.open();
    for answer in [leader.await.unwrap(), slow.answer().await] {
        assert!(answer.ends_with("\r\n\r\nusers"));
    }
    assert_eq!(
        within(stream).await.unwrap().unwrap().into_body().collect().await.unwrap().to_bytes(),
        "users"
    );
    assert_eq!(server.seen(), [upload("users", End::Clean)]);
    connection.abort();
    server.is_empty().await;
}

type Sender = http2::SendRequest<UnsyncBoxBody<Bytes, Infallible>>;

async fn h2(address: SocketAddr) -> (Sender, JoinHandle<()>) {
    let socket = TcpStream::connect(address).await.unwrap();
    let (sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.unwrap();
    (sender, tokio::spawn(async { drop(connection.await) }))
}

#[tokio::test]
async fn a_content_length_that_lies() {
    let server = Server::new().await;
    let other = server.good().await;
    // Over HTTP/1.1 the rest is the next request, and makes no sense as one.
    let mut short = server.client().await;
    short
        .send("POST /bad HTTP/1.1\r\nhost: example\r\ncontent-length: 3\r\n\r\nusers\r\n\r\n")
        .await;
    let answer = short.answer().await;
    assert!(answer.contains("\r\n\r\nuse") && answer.contains("HTTP/1.1 400 "), "{answer}");
    // Over HTTP/2 it is an error of the stream.
    for length in ["3", "6"] {
        let (mut sender, connection) = h2(server.address).await;
        let request = Request::post("http://example/bad").header("content-length", length);
        let body = Full::<Bytes>::from("users").boxed_unsync();
        let answer = within(sender.send_request(request.body(body).unwrap())).await;
        assert!(answer.is_err(), "{answer:?}");
        connection.abort();
    }
    server.and_others_share(other).await;
    server.is_empty().await;
    let clean: Vec<_> =
        server.seen().into_iter().filter(|upload| upload.end == Some(End::Clean)).collect();
    assert_eq!(clean, [upload("users", End::Clean), upload("use", End::Clean)]);
}

#[tokio::test]
async fn a_compressed_body_shares_with_bodies_of_its_encoding_only() {
    let server = Server::new().await;
    let plain = server.good().await;
    let encoded = |encoding: &str| {
        head(GOOD, &format!("content-encoding: {encoding}\r\ncontent-length: 5\r\n")) + "users"
    };
    let mut clients = Vec::new();
    for (waiting, encoding) in [(2, "gzip"), (3, "gzip"), (4, "br")] {
        let mut client = server.client().await;
        client.send(&encoded(encoding)).await;
        until("it waits", || server.handle.waiting() == waiting).await;
        clients.push(client);
    }
    assert_eq!((server.handle.in_flight(), server.handle.stats().joined), (3, 1));
    server.gate.open();
    assert!(within(plain).await.unwrap().ends_with("\r\n\r\nusers"));
    for client in clients {
        assert!(client.answer().await.ends_with("\r\n\r\nusers"));
    }
    server.is_empty().await;
}

#[tokio::test]
async fn a_body_with_trailers() {
    let server = Server::new().await;
    let other = server.good().await;
    let head = head(BAD, "trailer: x-sum\r\ntransfer-encoding: chunked\r\n");
    let mut client = server.client().await;
    client.send(&(head + &chunk("users") + "0\r\nx-sum: 1\r\n\r\n")).await;
    assert!(client.answer().await.ends_with("\r\n\r\nusers"));
    server.and_others_share(other).await;
    server.is_empty().await;
    assert_eq!(server.handle.stats().passed_by(PassReason::Body), 1);
    assert_eq!(server.seen().last().unwrap(), &upload("users", End::WithTrailers));
}

#[tokio::test]
async fn a_client_that_expects_100_continue() {
    let server = Server::new().await;
    let other = server.good().await;
    let mut client = server.client().await;
    client.send(&head(BAD, "expect: 100-continue\r\ncontent-length: 5\r\n")).await;
    assert!(client.piece().await.starts_with("HTTP/1.1 100 "));
    // It may never send the body, and no other waits for it.
    server.and_others_share(other).await;
    client.send("users").await;
    assert!(client.answer().await.ends_with("\r\n\r\nusers"));
    server.is_empty().await;
    assert_eq!(server.handle.stats().passed_by(PassReason::Header), 1);
}

#[tokio::test]
async fn a_body_for_which_the_closure_panics() {
    let server = Server::new().await;
    let other = server.good().await;
    let mut client = server.client().await;
    client.send(&sized(BAD, "bomb")).await;
    assert_eq!(client.answer().await, "", "its connection closes");
    server.and_others_share(other).await;
    server.is_empty().await;
    assert_eq!(server.seen(), [upload("users", End::Clean)]);
}
