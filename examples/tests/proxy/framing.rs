use crate::support::{Client, Kind, Origin, Proxy, Reply, h2, h2_get};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Request};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use std::convert::Infallible;

fn trailers(headers: &HeaderMap) -> Vec<(&str, &str)> {
    headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect()
}

const WITH_TRAILERS: &str = "HTTP/1.1 200 OK\r\ntrailer: x-sum, x-other\r\n\
    transfer-encoding: chunked\r\n\r\n\
    4\r\nbody\r\n0\r\nx-sum: 1\r\nx-other: 2\r\n\r\n";

#[tokio::test]
async fn trailers_of_a_response_go_through() {
    let origin = Origin::new(|_| Reply::raw(WITH_TRAILERS)).await;
    let proxy = Proxy::to(&origin).await;
    let get = "GET / HTTP/1.1\r\nhost: example\r\nte: trailers\r\nconnection: te\r\n\r\n";
    let answer = Client::once(proxy.addr, get).await.unwrap();
    assert_eq!((answer.text(), answer.get("trailer")), ("body", Some("x-sum, x-other")));
    assert_eq!(answer.trailers, [("x-sum".into(), "1".into()), ("x-other".into(), "2".into())]);
    let answer = h2_get(proxy.addr, "/").await.collect().await.unwrap();
    assert_eq!(trailers(answer.trailers().unwrap()), [("x-sum", "1"), ("x-other", "2")]);
}

#[tokio::test]
async fn trailers_have_no_say_in_connections() {
    let bytes = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\nconnection: x-a\r\n\
        x-a: 1\r\nx-b: 2\r\n\r\n";
    let origin = Origin::new(move |_| Reply::raw(bytes)).await;
    let proxy = Proxy::to(&origin).await;
    let answer = h2_get(proxy.addr, "/").await.collect().await.unwrap();
    assert_eq!(trailers(answer.trailers().unwrap()), [("x-b", "2")]);
}

#[tokio::test]
async fn trailers_of_a_request_go_through() {
    let origin = Origin::new(|_| Reply::ok("")).await;
    let proxy = Proxy::to(&origin).await;
    let head =
        "POST / HTTP/1.1\r\nhost: example\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n";
    let text = format!("{head}4\r\nbody\r\n0\r\nx-sum: 1\r\n\r\n");
    Client::once(proxy.addr, &text).await.unwrap();
    let frames = [Frame::data(Bytes::from("body")), Frame::trailers(HeaderMap::from_iter([SUM]))];
    let frames = StreamBody::new(stream::iter(frames.map(Ok::<_, Infallible>)));
    let request = Request::post(format!("http://{}/", proxy.addr)).header("trailer", "x-sum");
    h2().request(request.body(frames).unwrap()).await.unwrap();
    for request in origin.requests() {
        assert_eq!((request.text(), request.get("trailer")), ("body", Some("x-sum")));
        assert_eq!(request.trailers, [("x-sum".into(), "1".into())]);
    }
    assert_eq!(origin.hits(), 2);
}

const SUM: (http::HeaderName, HeaderValue) =
    (http::HeaderName::from_static("x-sum"), HeaderValue::from_static("1"));

#[tokio::test]
async fn a_request_with_two_lengths_goes_on_with_one() {
    let origin = Origin::new(|_| Reply::ok("")).await;
    let proxy = Proxy::to(&origin).await;
    let head = "POST / HTTP/1.1\r\nhost: example\r\ncontent-length: 3\r\n\
        transfer-encoding: chunked\r\n\r\n";
    let mut client = Client::connect(proxy.addr).await;
    client.ask(&format!("{head}4\r\nbody\r\n0\r\n\r\n")).await.unwrap();
    let request = origin.request();
    assert_eq!(
        (request.get("content-length"), request.get("transfer-encoding")),
        (None, Some("chunked"))
    );
    assert_eq!(request.text(), "body");
    // Whoever sent this may have meant the rest for somebody else (RFC 9112 §6.1).
    assert!(client.ask("GET / HTTP/1.1\r\nhost: example\r\n\r\n").await.is_err());
    assert_eq!(origin.hits(), 1);
}

#[tokio::test]
async fn requests_whose_end_is_in_doubt_are_refused() {
    let origin = Origin::new(|_| Reply::ok("")).await;
    let proxy = Proxy::to(&origin).await;
    for framing in [
        "content-length: 3\r\ncontent-length: 4",
        "content-length: 4, 4",
        "content-length: +4",
        "transfer-encoding: gzip",
        "transfer-encoding: chunked, gzip",
        "transfer-encoding: gzip, chunked",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
        "transfer-encoding:\x0bchunked",
    ] {
        let text =
            format!("POST / HTTP/1.1\r\nhost: example\r\n{framing}\r\n\r\n4\r\nbody\r\n0\r\n\r\n");
        let answer = Client::once(proxy.addr, &text).await;
        let status = answer.as_ref().ok().and_then(|answer| answer.status());
        assert!(answer.is_err() || matches!(status, Some(400 | 501)), "{framing}: {status:?}");
    }
    assert_eq!(origin.hits(), 0);
}

#[tokio::test]
async fn a_response_with_two_lengths_goes_on_with_one() {
    let origin = Origin::new(|request| match request.start.as_str() {
        "GET /chunked HTTP/1.1" => Reply::raw(
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n4\r\n\
             body\r\n0\r\n\r\n",
        ),
        _ => Reply::raw("HTTP/1.1 200 OK\r\ncontent-length: 4\r\ncontent-length: 4, 4\r\n\r\nbody"),
    });
    let proxy = Proxy::to(&origin.await).await;
    let chunked = Client::get(proxy.addr, "/chunked").await.unwrap();
    assert_eq!((chunked.text(), chunked.get("content-length")), ("body", None));
    let sized = Client::get(proxy.addr, "/sized").await.unwrap();
    assert_eq!((sized.text(), sized.all("content-length")), ("body", vec!["4"]));
    let sized = h2_get(proxy.addr, "/sized").await;
    assert_eq!(sized.headers().get_all("content-length").iter().count(), 1);
    assert_eq!(sized.collect().await.unwrap().to_bytes(), "body");
}

#[tokio::test]
async fn a_response_in_a_coding_that_nobody_asked_for_is_no_answer() {
    let origin = Origin::new(|_| {
        Reply::raw("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n")
    });
    let proxy = Proxy::to(&origin.await).await;
    assert_eq!(Client::get(proxy.addr, "/").await.unwrap().status(), Some(502));
}

#[tokio::test]
async fn a_body_is_passed_on_whatever_the_method() {
    let origin = Origin::new(|_| Reply::ok("")).await;
    let proxy = Proxy::to(&origin).await;
    let chunked = "GET / HTTP/1.1\r\nhost: example\r\ntransfer-encoding: chunked\r\n\r\n4\r\n\
        body\r\n0\r\n\r\n";
    Client::once(proxy.addr, chunked).await.unwrap();
    Client::once(proxy.addr, "PUT / HTTP/1.1\r\nhost: example\r\ncontent-length: 4\r\n\r\nbody")
        .await
        .unwrap();
    let request =
        Request::get(format!("http://{}/", proxy.addr)).body(Full::<Bytes>::from("body")).unwrap();
    h2().request(request).await.unwrap();
    assert_eq!(
        origin.requests().iter().map(|request| request.text()).collect::<Vec<_>>(),
        ["body"; 3]
    );
}

#[tokio::test]
async fn a_client_that_waits_for_100_continue_gets_it() {
    let origin = Origin::new(|_| Reply::ok("thanks")).await;
    let proxy = Proxy::to(&origin).await;
    let mut client = Client::connect(proxy.addr).await;
    let head =
        "POST / HTTP/1.1\r\nhost: example\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n";
    assert_eq!(client.ask(head).await.unwrap().status(), Some(100));
    client.send("body").await;
    assert_eq!(client.receive(Kind::Response).await.unwrap().text(), "thanks");
    assert_eq!(origin.request().text(), "body");
}
