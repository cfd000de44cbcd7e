//! Real sockets on loopback: an origin that follows a script, a gateway with the layer around its
//! client, and clients with one connection each.

use crate::support::within;
use axum::Router;
use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri, uri::Authority};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};
use tower::{Layer, Service, service_fn};
use tower_singleflight::{Handle, SingleflightLayer, mode::Http};

pub(crate) async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

pub(crate) async fn serve(app: Router) -> SocketAddr {
    let (listener, address) = listen().await;
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// A server that does what its script says with each request.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    hits: Arc<AtomicUsize>,
}

/// A request that came in, and the connection to answer on.
pub(crate) struct Exchange {
    /// Which request of the origin it is, from 1 on.
    pub(crate) number: usize,
    pub(crate) socket: TcpStream,
}

impl Origin {
    pub(crate) async fn new<F>(script: impl Fn(Exchange) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (listener, address) = listen().await;
        let hits = Arc::new(AtomicUsize::new(0));
        let counter = hits.clone();
        let script = Arc::new(script);
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let (counter, script) = (counter.clone(), script.clone());
                tokio::spawn(async move {
                    if !has_head(&mut socket).await {
                        return;
                    }
                    let number = counter.fetch_add(1, SeqCst) + 1;
                    script(Exchange { number, socket }).await;
                });
            }
        });
        Self { address, hits }
    }

    pub(crate) fn hits(&self) -> usize {
        self.hits.load(SeqCst)
    }
}

/// Reads the head of a request; false if it does not come.
async fn has_head(socket: &mut TcpStream) -> bool {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match socket.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return false,
        }
    }
    true
}

impl Exchange {
    pub(crate) async fn write(&mut self, text: &str) {
        // Whoever asked may have gone.
        drop(self.socket.write_all(text.as_bytes()).await);
    }

    /// One request a connection.
    pub(crate) async fn head(&mut self, status: &str, headers: &str) {
        self.write(&format!("HTTP/1.1 {status}\r\n{headers}connection: close\r\n\r\n")).await;
    }

    pub(crate) async fn chunk(&mut self, text: &str) {
        self.write(&format!("{:x}\r\n{text}\r\n", text.len())).await;
    }

    pub(crate) async fn whole(&mut self, status: &str, headers: &str, text: &str) {
        self.head(status, &format!("{headers}content-length: {}\r\n", text.len())).await;
        self.write(text).await;
    }

    /// Answers with RST, not FIN.
    pub(crate) fn reset(self) {
        self.socket.set_zero_linger().unwrap();
    }

    /// Ends when whoever asked has closed the connection.
    pub(crate) async fn closed(&mut self) {
        let mut rest = [0; 64];
        while matches!(self.socket.read(&mut rest).await, Ok(1..)) {}
    }
}

/// Opened once, seen by everybody.
#[derive(Clone)]
pub(crate) struct Gate(watch::Sender<bool>);

impl Gate {
    pub(crate) fn new() -> Self {
        Self(watch::channel(false).0)
    }

    pub(crate) fn open(&self) {
        self.0.send_replace(true);
    }

    pub(crate) async fn passed(&self) {
        let mut gate = self.0.subscribe();
        within(gate.wait_for(|open| *open)).await.unwrap();
    }
}

/// Polls until it is so: for what other tasks bring about soon, and no event tells.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..15_000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    panic!("it never came to this: {what}");
}

/// A reverse proxy: the layer is around its client.
pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    pub(crate) handle: Handle<String>,
}

pub(crate) async fn gateway(layer: SingleflightLayer<Http<String>>, origin: &Origin) -> Gateway {
    let authority = Authority::try_from(origin.address.to_string()).unwrap();
    let handle = layer.handle();
    let client =
        Client::builder(TokioExecutor::new()).build::<_, axum::body::Body>(HttpConnector::new());
    let client = layer.shared_errors().layer(client);
    let forward = service_fn(move |mut request: Request<axum::body::Body>| {
        let path = request.uri().path_and_query().cloned().unwrap();
        let uri = Uri::builder().scheme("http").authority(authority.clone()).path_and_query(path);
        *request.uri_mut() = uri.build().unwrap();
        // The client may speak HTTP/2, the origin does not.
        *request.version_mut() = http::Version::HTTP_11;
        let call = client.clone().call(request);
        async {
            Ok::<_, Infallible>(match call.await {
                Ok(response) => response.map(axum::body::Body::new),
                Err(_) => {
                    let mut response = Response::new(axum::body::Body::empty());
                    *response.status_mut() = StatusCode::BAD_GATEWAY;
                    response
                }
            })
        }
    });
    Gateway { address: serve(Router::new().fallback_service(forward)).await, handle }
}

/// A client with a connection of its own, which goes when this is dropped.
pub(crate) struct Connection {
    sender: Sender,
    host: String,
    driver: JoinHandle<()>,
}

enum Sender {
    One(conn::http1::SendRequest<Full<Bytes>>),
    Two(conn::http2::SendRequest<Full<Bytes>>),
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    pub(crate) async fn h1(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).await.unwrap();
        let (sender, driver) = conn::http1::handshake(TokioIo::new(socket)).await.unwrap();
        let driver = tokio::spawn(async move { drop(driver.await) });
        Self { sender: Sender::One(sender), host: address.to_string(), driver }
    }

    pub(crate) async fn h2(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).await.unwrap();
        let (sender, driver) =
            conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.unwrap();
        let driver = tokio::spawn(async move { drop(driver.await) });
        Self { sender: Sender::Two(sender), host: address.to_string(), driver }
    }

    pub(crate) async fn get(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> hyper::Result<Response<Incoming>> {
        self.send("GET", path, headers).await
    }

    pub(crate) async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> hyper::Result<Response<Incoming>> {
        let mut request = Request::builder().method(method);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        match &mut self.sender {
            Sender::One(sender) => {
                let request =
                    request.uri(path).header("host", &self.host).body(Full::default()).unwrap();
                within(sender.send_request(request)).await
            }
            Sender::Two(sender) => {
                let uri = format!("http://{}{path}", self.host);
                within(sender.send_request(request.uri(uri).body(Full::default()).unwrap())).await
            }
        }
    }
}

/// How a body came through.
#[derive(Debug, PartialEq)]
pub(crate) enum Got {
    Whole(String),
    Broken(String),
}

/// Reads a body to its end, whatever that is.
pub(crate) async fn rest(body: &mut Incoming) -> Got {
    let mut text = String::new();
    loop {
        match within(body.frame()).await {
            None => return Got::Whole(text),
            Some(Err(_)) => return Got::Broken(text),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => text.push_str(std::str::from_utf8(&data).unwrap()),
                Err(frame) => {
                    for (name, value) in &frame.into_trailers().unwrap() {
                        text.push_str(&format!("<{name}: {}>", value.to_str().unwrap()));
                    }
                }
            },
        }
    }
}

/// The next piece of a body that goes on.
pub(crate) async fn piece(body: &mut Incoming) -> String {
    let frame = within(body.frame()).await.expect("the body ended").expect("the body broke");
    String::from_utf8(frame.into_data().expect("data").to_vec()).unwrap()
}

/// As many clients as asked for, or as the limit of open files allows: each takes a file at both
/// ends.
pub(crate) fn up_to(clients: usize) -> usize {
    let files = rlimit::increase_nofile_limit(2 * clients as u64 + 1000).unwrap_or(256);
    clients.min((files / 4) as usize)
}

/// A burst: every client sends `path` on a connection of its own, all at once.
pub(crate) async fn burst(
    clients: usize,
    address: SocketAddr,
    path: &'static str,
) -> Vec<JoinHandle<(StatusCode, Got)>> {
    let mut connections = Vec::new();
    for _ in 0..clients {
        connections.push(Connection::h1(address).await);
    }
    let send = |mut connection: Connection| async move {
        let mut response = connection.get(path, &[]).await.expect("an answer");
        (response.status(), rest(response.body_mut()).await)
    };
    connections.into_iter().map(|connection| tokio::spawn(send(connection))).collect()
}
