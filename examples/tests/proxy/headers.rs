use crate::support::{Client, Message, Origin, Proxy, Reply, h2};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};

/// What the origin gets of a request with these headers.
async fn sent(headers: &str) -> Message {
    let origin = Origin::new(|_| Reply::ok("")).await;
    let proxy = Proxy::to(&origin).await;
    let text = format!("GET / HTTP/1.1\r\nhost: example\r\n{headers}\r\n");
    assert_eq!(Client::once(proxy.addr, &text).await.unwrap().status(), Some(200));
    origin.request()
}

/// What a client gets of a response with these headers.
async fn received(headers: &'static str) -> Message {
    let reply = format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n{headers}\r\n");
    let origin = Origin::new(move |_| Reply::raw(reply.clone())).await;
    let proxy = Proxy::to(&origin).await;
    Client::get(proxy.addr, "/").await.unwrap()
}

/// The status of the response to these bytes, and whether the origin saw anything of them.
async fn refused(text: &str) -> Option<u16> {
    let origin = Origin::new(|_| Reply::ok("")).await;
    let proxy = Proxy::to(&origin).await;
    let answer = Client::once(proxy.addr, text).await.unwrap();
    assert_eq!(origin.hits(), 0);
    answer.status()
}

const HOP_BY_HOP: &str = "connection: keep-alive, X-Here\r\n\
    connection: x-there\r\n\
    keep-alive: timeout=5\r\n\
    proxy-connection: keep-alive\r\n\
    upgrade: websocket\r\n\
    x-here: 1\r\n\
    x-there: 2\r\n\
    x-beyond: 3\r\n";

const GONE: [&str; 6] =
    ["connection", "keep-alive", "proxy-connection", "upgrade", "x-here", "x-there"];

#[tokio::test]
async fn headers_for_one_hop_end_at_it() {
    let (request, response) = (sent(HOP_BY_HOP).await, received(HOP_BY_HOP).await);
    for name in GONE {
        assert_eq!((request.get(name), response.get(name)), (None, None), "{name}");
    }
    assert_eq!((request.get("x-beyond"), response.get("x-beyond")), (Some("3"), Some("3")));
}

#[tokio::test]
async fn connection_cannot_take_away_what_is_meant_for_everybody() {
    let response =
        received("connection: cache-control, vary\r\ncache-control: private\r\nvary: accept\r\n")
            .await;
    assert_eq!(
        (response.get("cache-control"), response.get("vary")),
        (Some("private"), Some("accept"))
    );
    assert_eq!(sent("connection: host\r\n").await.all("host"), ["example"]);
}

#[tokio::test]
async fn lines_of_one_header_stay_apart_and_in_order() {
    let lines = "x-a: 1\r\nx-b: 1\r\nx-a: 2\r\nx-a: 1, 3\r\nx-b: 2\r\n";
    let (request, response) = (sent(lines).await, received(lines).await);
    for message in [request, response] {
        assert_eq!(message.all("x-a"), ["1", "2", "1, 3"]);
        assert_eq!(message.all("x-b"), ["1", "2"]);
    }
    let response = received("set-cookie: a=1\r\nset-cookie: b=2\r\nset-cookie: a=3\r\n").await;
    assert_eq!(response.all("set-cookie"), ["a=1", "b=2", "a=3"]);
}

#[tokio::test]
async fn of_te_only_trailers_goes_on() {
    let request = sent("te: gzip;q=0.5, Trailers\r\nconnection: te\r\n").await;
    assert_eq!((request.all("te"), request.all("connection")), (vec!["trailers"], vec!["te"]));
    let request = sent("te: gzip\r\nconnection: te\r\n").await;
    assert_eq!((request.get("te"), request.get("connection")), (None, None));
}

#[tokio::test]
async fn forwarded_for_and_via_grow() {
    let request =
        sent("x-forwarded-for: 192.0.2.1\r\nx-forwarded-for: 192.0.2.2\r\nvia: 1.0 front\r\n")
            .await;
    assert_eq!(request.all("x-forwarded-for"), ["192.0.2.1, 192.0.2.2, 127.0.0.1"]);
    assert_eq!(request.all("via"), ["1.0 front", "1.1 singleflight"]);
    assert_eq!(sent("").await.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(received("via: 1.1 back\r\n").await.all("via"), ["1.1 back", "1.1 singleflight"]);
}

#[tokio::test]
async fn an_upgrade_is_answered_as_the_plain_request_that_it_is_too() {
    let upgrade = "connection: upgrade, http2-settings\r\nupgrade: h2c\r\n\
        http2-settings: AAMAAABkAAQAAP__\r\n";
    let request = sent(upgrade).await;
    let names = ["connection", "upgrade", "http2-settings"];
    assert_eq!(names.map(|name| request.get(name)), [None; 3]);
}

#[tokio::test]
async fn http_2_requests_get_their_authority_for_a_host() {
    let origin = Origin::new(|_| {
        Reply::raw("HTTP/1.1 200 OK\r\nconnection: close\r\nkeep-alive: 1\r\n\r\n").close()
    });
    let (origin, client) = (origin.await, h2::<Empty<Bytes>>());
    let proxy = Proxy::to(&origin).await;
    let request = Request::get(format!("http://{}/", proxy.addr))
        .header("host", "other")
        .header("cookie", "a=1");
    let response = client.request(request.body(Empty::new()).unwrap()).await.unwrap();
    assert_eq!(
        (response.headers().get("connection"), response.headers().get("keep-alive")),
        (None, None)
    );
    assert_eq!(response.collect().await.unwrap().to_bytes(), "");
    let request = origin.request();
    assert_eq!(request.all("host"), [proxy.addr.to_string()]);
    assert_eq!((request.get("via"), request.get("cookie")), (Some("2 singleflight"), Some("a=1")));
}

#[tokio::test]
async fn a_host_that_two_parsers_could_read_differently_is_refused() {
    assert_eq!(refused("GET / HTTP/1.1\r\n\r\n").await, Some(400));
    assert_eq!(refused("GET / HTTP/1.1\r\nhost:\r\n\r\n").await, Some(400));
    assert_eq!(refused("GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n").await, Some(400));
    assert_eq!(refused("GET / HTTP/1.1\r\nhost: a, b\r\n\r\n").await, Some(400));
    assert_eq!(refused("GET / HTTP/1.1\r\nhost: a/b\r\n\r\n").await, Some(400));
    assert_eq!(refused("GET http://user:word@a/ HTTP/1.1\r\nhost: a\r\n\r\n").await, Some(400));
}

#[tokio::test]
async fn tunnels_and_echoes_are_refused() {
    assert_eq!(refused("CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n").await, Some(501));
    assert_eq!(refused("TRACE / HTTP/1.1\r\nhost: a\r\n\r\n").await, Some(501));
}

#[tokio::test]
async fn options_goes_as_far_as_it_says() {
    let origin = Origin::new(|_| Reply::ok("")).await;
    let proxy = Proxy::to(&origin).await;
    let last = "OPTIONS * HTTP/1.1\r\nhost: example\r\nmax-forwards: 0\r\n\r\n";
    assert_eq!(Client::once(proxy.addr, last).await.unwrap().status(), Some(204));
    let on = "OPTIONS * HTTP/1.1\r\nhost: example\r\nmax-forwards: 3\r\n\r\n";
    assert_eq!(Client::once(proxy.addr, on).await.unwrap().status(), Some(200));
    let request = origin.request();
    assert_eq!(
        (request.start.as_str(), request.get("max-forwards")),
        ("OPTIONS * HTTP/1.1", Some("2"))
    );
}

#[tokio::test]
async fn an_http_1_0_client_gets_an_answer_that_it_understands() {
    let origin = Origin::new(|_| {
        Reply::raw("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n")
    });
    let origin = origin.await;
    let proxy = Proxy::to(&origin).await;
    let answer = Client::once(proxy.addr, "GET / HTTP/1.0\r\n\r\n").await.unwrap();
    assert_eq!((answer.start.as_str(), answer.text()), ("HTTP/1.0 200 OK", "a"));
    assert_eq!(answer.get("transfer-encoding"), None);
    let request = origin.request();
    assert_eq!(
        (request.start.as_str(), request.get("host")),
        ("GET / HTTP/1.1", Some(&*origin.addr.to_string()))
    );
}
