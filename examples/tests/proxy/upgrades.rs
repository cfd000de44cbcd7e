//! WebSocket and other upgrades through the proxy: both ends of a tunnel are in the hands of the
//! test.

use crate::support::{Client, Kind, Message, Origin, PATIENCE, Proxy, Reply};
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    time::timeout,
};

/// The handshake of RFC 6455 §1.3.
const HANDSHAKE: &str = "GET /chat HTTP/1.1\r\nhost: example\r\n\
    connection: keep-alive, Upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n";
const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\
    connection: Upgrade\r\n\
    sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
/// A masked and an unmasked text message, "Hello", of RFC 6455 §5.7.
const FROM_CLIENT: &[u8] = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
const FROM_UPSTREAM: &[u8] = b"\x81\x05Hello";

type Socket = BufReader<TcpStream>;

/// An upstream that waits for the test to answer.
struct Upstream(TcpListener);

impl Upstream {
    async fn new() -> (Self, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (Self(listener), address)
    }

    /// The next request, and the connection that it came on.
    async fn accept(&self) -> (Message, Socket) {
        let mut socket = BufReader::new(within(self.0.accept()).await.unwrap().0);
        (within(Message::read(&mut socket, Kind::Request)).await.unwrap(), socket)
    }
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("it comes to an end")
}

async fn connect(proxy: &Proxy) -> Socket {
    BufReader::new(TcpStream::connect(proxy.addr).await.unwrap())
}

async fn send(socket: &mut Socket, bytes: &[u8]) {
    within(socket.write_all(bytes)).await.unwrap();
}

/// Reads as many bytes as these, and compares them.
async fn receive(socket: &mut Socket, bytes: &[u8]) {
    let mut received = vec![0; bytes.len()];
    within(socket.read_exact(&mut received)).await.unwrap();
    assert!(received == bytes, "other bytes");
}

/// All that comes until the other side ends.
async fn rest(socket: &mut Socket) -> Vec<u8> {
    let mut rest = Vec::new();
    within(socket.read_to_end(&mut rest)).await.unwrap();
    rest
}

/// Returns when the other side has ended or broken.
async fn gone(socket: &mut Socket) {
    while matches!(within(socket.read(&mut [0; 64])).await, Ok(1..)) {}
}

struct Tunnel {
    client: Socket,
    upstream: Socket,
    proxy: Proxy,
}

/// A client and an upstream that have shaken hands.
async fn tunnel() -> Tunnel {
    let (listener, address) = Upstream::new().await;
    let proxy = Proxy::start(address, Some(Default::default())).await;
    let mut client = connect(&proxy).await;
    send(&mut client, HANDSHAKE.as_bytes()).await;
    let (_, mut upstream) = listener.accept().await;
    send(&mut upstream, SWITCHED.as_bytes()).await;
    let head = within(Message::read_head(&mut client)).await.unwrap();
    assert_eq!(head.status(), Some(101));
    Tunnel { client, upstream, proxy }
}

#[tokio::test]
async fn a_web_socket_handshake_goes_through_with_what_it_needs() {
    let (listener, address) = Upstream::new().await;
    for coalesce in [None, Some(Default::default())] {
        let proxy = Proxy::start(address, coalesce).await;
        let mut client = connect(&proxy).await;
        send(&mut client, HANDSHAKE.as_bytes()).await;
        let (request, mut upstream) = listener.accept().await;
        assert_eq!(request.start, "GET /chat HTTP/1.1");
        assert_eq!(
            (request.all("connection"), request.all("upgrade")),
            (vec!["upgrade"], vec!["websocket"])
        );
        assert_eq!(request.all("sec-websocket-key"), ["dGhlIHNhbXBsZSBub25jZQ=="]);
        assert_eq!(
            (request.get("x-forwarded-for"), request.get("host")),
            (Some("127.0.0.1"), Some("example"))
        );
        // The first message may be in one packet with the head.
        send(&mut upstream, &[SWITCHED.as_bytes(), FROM_UPSTREAM].concat()).await;
        let head = within(Message::read_head(&mut client)).await.unwrap();
        assert_eq!(head.status(), Some(101));
        assert_eq!(
            (head.all("connection"), head.all("upgrade")),
            (vec!["upgrade"], vec!["websocket"])
        );
        assert_eq!(head.all("sec-websocket-accept"), ["s3pPLMBiTxaQ9kYGzzhZRbK+xOo="]);
        assert_eq!((head.get("content-length"), head.get("transfer-encoding")), (None, None));
        receive(&mut client, FROM_UPSTREAM).await;
        send(&mut client, FROM_CLIENT).await;
        receive(&mut upstream, FROM_CLIENT).await;
    }
}

#[tokio::test]
async fn small_and_big_messages_come_back_as_they_were_sent() {
    let Tunnel { mut client, mut upstream, proxy: _proxy } = tunnel().await;
    let echo = tokio::spawn(async move {
        let (mut from, mut to) = upstream.get_mut().split();
        tokio::io::copy(&mut from, &mut to).await
    });
    for message in [FROM_CLIENT, b"x", &[0; 1000]] {
        send(&mut client, message).await;
        receive(&mut client, message).await;
    }
    // More than all buffers between hold, so that the echo must flow while it is sent.
    let big: Vec<u8> = (0..16_u32 << 20).map(|at| (at % 251) as u8).collect();
    let (mut from, mut to) = tokio::io::split(client);
    let mut received = vec![0; big.len()];
    within(async { tokio::try_join!(to.write_all(&big), from.read_exact(&mut received)) })
        .await
        .unwrap();
    assert!(received == big, "other bytes");
    drop((from, to));
    within(echo).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_client_that_has_said_all_still_hears_the_rest() {
    let Tunnel { mut client, mut upstream, proxy: _proxy } = tunnel().await;
    send(&mut client, b"goodbye").await;
    client.shutdown().await.unwrap();
    assert_eq!(rest(&mut upstream).await, b"goodbye");
    send(&mut upstream, b"and ").await;
    receive(&mut client, b"and ").await;
    send(&mut upstream, b"thanks").await;
    drop(upstream);
    assert_eq!(rest(&mut client).await, b"thanks");
}

#[tokio::test]
async fn an_upstream_that_has_said_all_still_hears_the_rest() {
    let Tunnel { mut client, mut upstream, proxy: _proxy } = tunnel().await;
    send(&mut upstream, b"goodbye").await;
    upstream.shutdown().await.unwrap();
    assert_eq!(rest(&mut client).await, b"goodbye");
    send(&mut client, b"thanks").await;
    drop(client);
    assert_eq!(rest(&mut upstream).await, b"thanks");
}

#[tokio::test]
async fn a_side_that_breaks_takes_the_other_with_it() {
    let Tunnel { client, mut upstream, proxy: _proxy } = tunnel().await;
    client.get_ref().set_zero_linger().unwrap();
    drop(client);
    gone(&mut upstream).await;
    let Tunnel { mut client, upstream, proxy: _proxy } = tunnel().await;
    upstream.get_ref().set_zero_linger().unwrap();
    drop(upstream);
    gone(&mut client).await;
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_leaves_no_upstream_connection() {
    let (listener, address) = Upstream::new().await;
    let proxy = Proxy::start(address, Some(Default::default())).await;
    let mut client = connect(&proxy).await;
    send(&mut client, HANDSHAKE.as_bytes()).await;
    let (_, mut upstream) = listener.accept().await;
    drop(client);
    gone(&mut upstream).await;
}

#[tokio::test]
async fn each_upgrade_has_a_connection_of_its_own() {
    let (listener, address) = Upstream::new().await;
    let proxy = Proxy::start(address, Some(Default::default())).await;
    let mut clients = [connect(&proxy).await, connect(&proxy).await];
    let mut upstreams = Vec::new();
    for client in &mut clients {
        send(client, HANDSHAKE.as_bytes()).await;
        upstreams.push(listener.accept().await.1);
    }
    for (client, upstream) in clients.iter_mut().zip(&mut upstreams) {
        send(upstream, SWITCHED.as_bytes()).await;
        assert_eq!(within(Message::read_head(client)).await.unwrap().status(), Some(101));
    }
    for (text, (client, upstream)) in
        ["one", "two"].iter().zip(clients.iter_mut().zip(&mut upstreams))
    {
        send(upstream, text.as_bytes()).await;
        receive(client, text.as_bytes()).await;
    }
}

#[tokio::test]
async fn an_upstream_that_refuses_the_upgrade_is_heard_and_the_connection_goes_on() {
    let origin = Origin::new(|request| match request.get("upgrade") {
        Some(_) => Reply::raw(
            "HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\nupgrade: websocket\r\n\r\nno",
        ),
        None => Reply::ok("plain"),
    });
    let origin = origin.await;
    let proxy = Proxy::to(&origin).await;
    let mut client = Client::connect(proxy.addr).await;
    for _ in 0..2 {
        let answer = client.ask(HANDSHAKE).await.unwrap();
        assert_eq!(
            (answer.status(), answer.text(), answer.get("upgrade")),
            (Some(403), "no", None)
        );
        assert_eq!(
            client.ask("GET / HTTP/1.1\r\nhost: example\r\n\r\n").await.unwrap().text(),
            "plain"
        );
    }
    assert_eq!((origin.hits(), origin.connections()), (4, 1));
}

#[tokio::test]
async fn an_upgrade_without_an_upstream_is_a_502_and_the_connection_goes_on() {
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let proxy = Proxy::start(upstream, Some(Default::default())).await;
    let mut client = Client::connect(proxy.addr).await;
    for _ in 0..2 {
        assert_eq!(client.ask(HANDSHAKE).await.unwrap().status(), Some(502));
    }
}

#[tokio::test]
async fn a_switch_to_another_protocol_than_the_client_asked_for_is_no_answer() {
    for upgrade in ["upgrade: chess\r\n", "upgrade: websocket, chess\r\n", ""] {
        let switched =
            format!("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n{upgrade}\r\n");
        let origin = Origin::new(move |_| Reply::raw(switched.clone())).await;
        let proxy = Proxy::to(&origin).await;
        let answer = Client::once(proxy.addr, HANDSHAKE).await.unwrap();
        assert_eq!((answer.status(), answer.get("upgrade")), (Some(502), None), "{upgrade}");
    }
}

#[tokio::test]
async fn what_is_no_upgrade_of_http_1_1_is_a_plain_request() {
    let upgrade = "host: example\r\nconnection: upgrade\r\nupgrade: websocket\r\n";
    let requests = [
        format!("GET / HTTP/1.0\r\n{upgrade}\r\n"),
        format!("POST / HTTP/1.1\r\n{upgrade}content-length: 4\r\n\r\nbody"),
        "GET / HTTP/1.1\r\nhost: example\r\nupgrade: websocket\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nhost: example\r\nconnection: upgrade\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nhost: example\r\nconnection: upgrade\r\n\
         upgrade: HTTP/2.0, TLS/1.0, h2c\r\n\r\n"
            .to_owned(),
    ];
    for text in requests {
        let origin = Origin::new(|_| Reply::ok("plain")).await;
        let proxy = Proxy::to(&origin).await;
        assert_eq!(Client::once(proxy.addr, &text).await.unwrap().text(), "plain");
        let request = origin.request();
        assert_eq!((request.get("upgrade"), request.get("connection")), (None, None), "{text}");
    }
}

#[tokio::test]
async fn tunnels_end_when_the_proxy_stops_and_hold_nothing_up() {
    let Tunnel { mut client, mut upstream, proxy } = tunnel().await;
    let running = proxy.stop();
    timeout(Duration::from_secs(5), running).await.expect("a tunnel holds nothing up").unwrap();
    assert_eq!((rest(&mut client).await.len(), rest(&mut upstream).await.len()), (0, 0));
}
