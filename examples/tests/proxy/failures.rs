use crate::support::{Client, Origin, Proxy, Reply, h2_get};
use http_body_util::BodyExt;
use std::time::Duration;
use tokio::{
    net::TcpListener,
    task::JoinSet,
    time::{sleep, timeout},
};

const SHORT: &str = "HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nhalf";
const UNFINISHED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n";

#[tokio::test]
async fn nobody_at_the_upstreams_address_is_a_502() {
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let proxy = Proxy::start(upstream, None).await;
    let answer = Client::get(proxy.addr, "/").await.unwrap();
    assert_eq!((answer.status(), answer.get("content-type")), (Some(502), Some("text/plain")));
    assert_eq!(answer.text(), "no answer from upstream\n");
}

#[tokio::test]
async fn an_upstream_that_fails_before_the_head_is_a_502_to_all_and_sees_one_request() {
    let origin = Origin::new(|_| Reply::default().hold().close()).await;
    let proxy = Proxy::to(&origin).await;
    let mut clients = JoinSet::new();
    for _ in 0..50 {
        clients.spawn(Client::get(proxy.addr, "/"));
    }
    origin.hit(1).await;
    sleep(Duration::from_millis(300)).await;
    origin.release();
    assert!(
        clients.join_all().await.into_iter().all(|answer| answer.unwrap().status() == Some(502))
    );
    assert_eq!(origin.hits(), 1);
}

#[tokio::test]
async fn a_response_that_nobody_can_read_is_a_502() {
    for bytes in [
        "what?\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    ] {
        let origin = Origin::new(move |_| Reply::raw(bytes)).await;
        let proxy = Proxy::to(&origin).await;
        assert_eq!(Client::get(proxy.addr, "/").await.unwrap().status(), Some(502), "{bytes}");
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_upstream_breaks_off_here() {
    for bytes in [SHORT, UNFINISHED] {
        for coalesce in [None, Some(Default::default())] {
            let origin =
                Origin::new(move |_| Reply::raw(bytes).pause(Duration::from_millis(50)).close())
                    .await;
            let proxy = Proxy::start(origin.addr, coalesce).await;
            assert!(Client::get(proxy.addr, "/").await.is_err(), "{bytes}");
            let response = h2_get(proxy.addr, "/").await;
            assert!(response.collect().await.is_err(), "{bytes}");
        }
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_does_so_for_everybody() {
    let origin = Origin::new(|_| {
        Reply::default().hold().send(SHORT).pause(Duration::from_millis(50)).close()
    })
    .await;
    let proxy = Proxy::to(&origin).await;
    let clients: JoinSet<_> = (0..20).map(|_| Client::get(proxy.addr, "/")).collect();
    let stream = tokio::spawn(async move { h2_get(proxy.addr, "/").await.collect().await });
    sleep(Duration::from_millis(300)).await;
    origin.release();
    assert!(clients.join_all().await.into_iter().all(|answer| answer.is_err()));
    assert!(stream.await.unwrap().is_err());
}

#[tokio::test]
async fn an_upload_that_breaks_off_never_ends_cleanly_upstream() {
    let origin = Origin::new(|_| Reply::ok("")).await;
    let proxy = Proxy::to(&origin).await;
    let mut client = Client::connect(proxy.addr).await;
    client
        .send("POST / HTTP/1.1\r\nhost: example\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n")
        .await;
    sleep(Duration::from_millis(100)).await;
    drop(client);
    sleep(Duration::from_millis(100)).await;
    assert_eq!((origin.connections(), origin.hits()), (1, 0));
}

/// hyper takes a stream that its client resets with `NO_ERROR` for one that came to its end. Who
/// learns of it first, the server's task or the upstream's, is a matter of luck.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_upload_that_is_reset_without_an_error_never_ends_cleanly_upstream() {
    let origin = Origin::new(|_| Reply::ok("")).await;
    let proxy = Proxy::to(&origin).await;
    for _ in 0..50 {
        let mut client = Client::connect(proxy.addr).await;
        client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        client.send_frame(SETTINGS, 0, 0, b"").await;
        // POST, http, / and an authority, by HPACK's static table.
        client.send_frame(HEADERS, END_HEADERS, 1, b"\x83\x86\x84\x01\x07example").await;
        client.send_frame(DATA, 0, 1, b"half").await;
        sleep(Duration::from_millis(5)).await;
        client.send_frame(RST_STREAM, 0, 1, &[0; 4]).await;
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(origin.hits(), 0);
    assert!(origin.connections() > 0);
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const END_HEADERS: u8 = 4;

#[tokio::test]
async fn upstream_connections_are_used_again() {
    let origin = Origin::new(|_| Reply::ok("")).await;
    let proxy = Proxy::to(&origin).await;
    for path in ["/1", "/2", "/3"] {
        Client::get(proxy.addr, path).await.unwrap();
    }
    assert_eq!((origin.hits(), origin.connections()), (3, 1));
}

#[tokio::test]
async fn a_pooled_connection_that_the_upstream_closed_costs_nobody_an_answer() {
    let origin = Origin::new(|_| Reply::ok("").close()).await;
    let proxy = Proxy::to(&origin).await;
    for path in ["/1", "/2", "/3"] {
        assert_eq!(Client::get(proxy.addr, path).await.unwrap().status(), Some(200));
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!((origin.hits(), origin.connections()), (3, 3));
}

#[tokio::test]
async fn stopping_finishes_what_is_in_progress_and_takes_no_more() {
    let origin = Origin::new(|_| {
        Reply::default().hold().send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlast")
    })
    .await;
    let proxy = Proxy::to(&origin).await;
    let addr = proxy.addr;
    let idle = Client::connect(addr).await;
    let (first, second) = (tokio::spawn(Client::get(addr, "/")), tokio::spawn(h2_get(addr, "/")));
    origin.hit(2).await;
    let running = proxy.stop();
    sleep(Duration::from_millis(50)).await;
    assert!(!running.is_finished());
    origin.release();
    assert_eq!(first.await.unwrap().unwrap().text(), "last");
    assert_eq!(second.await.unwrap().collect().await.unwrap().to_bytes(), "last");
    timeout(Duration::from_secs(5), running)
        .await
        .expect("idle connections hold nothing up")
        .unwrap();
    assert!(tokio::net::TcpStream::connect(addr).await.is_err());
    drop(idle);
}
