//! `--key-from-body`: requests with equal bodies share, and a bad upload concerns its own client.

use crate::{
    gateway::Coalesce,
    support::{Client, Kind, Origin, Proxy, Reply, h2},
};
use bytes::Bytes;
use futures_util::stream;
use http::Request;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use std::{convert::Infallible, time::Duration};
use tokio::{task::JoinSet, time::sleep};

const LIMIT: usize = 64 * 1024;

/// For requests that were written to come to the layer.
const A_MOMENT: Duration = Duration::from_millis(300);

/// Answers with the body of the request, once it is released.
async fn echo() -> Origin {
    let answer =
        |body: &str| format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    Origin::new(move |request| Reply::default().hold().send(answer(request.text()))).await
}

async fn proxy(origin: &Origin) -> Proxy {
    Proxy::start(origin.addr, Some(Coalesce { key_from_body: Some(LIMIT), ..Coalesce::default() }))
        .await
}

fn post(body: &str) -> String {
    request("POST", "/search", "", body)
}

fn request(method: &str, path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: example\r\n{headers}content-length: {length}\r\n\r\n\
         {body}"
    )
}

/// Sends each text on a connection of its own, all at once. Returns what they got, in order.
async fn all(proxy: &Proxy, texts: Vec<String>, origin: &Origin, hits: usize) -> Vec<String> {
    let addr = proxy.addr;
    let clients: Vec<_> = texts
        .into_iter()
        .map(|text| tokio::spawn(async move { Client::once(addr, &text).await }))
        .collect();
    origin.hit(hits).await;
    sleep(A_MOMENT).await;
    origin.release();
    let mut answers = Vec::new();
    for client in clients {
        answers.push(client.await.unwrap().unwrap().text().to_owned());
    }
    assert_eq!(origin.hits(), hits);
    answers
}

/// Nothing is left in the layer.
async fn is_empty(proxy: Proxy) {
    let flights = proxy.stop().await.unwrap().flights.expect("it has the layer");
    assert_eq!((flights.in_flight, flights.waiting), (0, 0));
}

#[tokio::test]
async fn twenty_posts_with_two_bodies_on_one_path_cost_two_requests() {
    let origin = echo().await;
    let proxy = proxy(&origin).await;
    let bodies = ["tea", "coffee"].repeat(10);
    let answers = all(&proxy, bodies.iter().map(|body| post(body)).collect(), &origin, 2).await;
    assert_eq!(answers, bodies);
    is_empty(proxy).await;
}

#[tokio::test]
async fn without_it_each_post_is_sent() {
    let origin = echo().await;
    let proxy = Proxy::to(&origin).await;
    assert_eq!(all(&proxy, vec![post("tea"); 3], &origin, 3).await, ["tea"; 3]);
}

#[tokio::test]
async fn requests_that_differ_in_more_than_the_body_are_sent_apart() {
    let apart = [
        post("tea"),
        request("QUERY", "/search", "", "tea"),
        request("GET", "/search", "", "tea"),
        request("POST", "/search?sort", "", "tea"),
        request("POST", "/other", "", "tea"),
        request("POST", "/search", "content-type: application/json\r\n", "tea"),
        request("POST", "/search", "content-encoding: br\r\n", "tea"),
        request("POST", "/search", "authorization: x\r\n", "tea"),
        // Writes pass. On the path of the others they would seal their flights.
        request("PUT", "/write", "", "tea"),
        request("PUT", "/write", "", "tea"),
    ];
    let origin = echo().await;
    let proxy = proxy(&origin).await;
    let twice: Vec<_> = apart[..8].iter().chain(&apart).cloned().collect();
    assert_eq!(all(&proxy, twice.clone(), &origin, apart.len()).await, vec!["tea"; twice.len()]);
}

#[tokio::test]
async fn gets_without_a_body_share_as_they_do_without_it() {
    let origin = echo().await;
    let proxy = proxy(&origin).await;
    let get = "GET / HTTP/1.1\r\nhost: example\r\n\r\n".to_owned();
    let chunked =
        "GET / HTTP/1.1\r\nhost: example\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_owned();
    all(&proxy, vec![get.clone(), chunked, get], &origin, 1).await;
}

#[tokio::test]
async fn however_a_body_is_sent_it_is_the_same_body() {
    let origin = echo().await;
    let proxy = proxy(&origin).await;
    let addr = proxy.addr;
    let sized = format!("POST /search HTTP/1.1\r\nhost: {addr}\r\ncontent-length: 5\r\n\r\nassam");
    let head =
        format!("POST /search HTTP/1.1\r\nhost: {addr}\r\ntransfer-encoding: chunked\r\n\r\n");
    let small_chunks: String = "assam".chars().map(|byte| format!("1\r\n{byte}\r\n")).collect();
    let texts = [
        sized.clone(),
        format!("{head}5\r\nassam\r\n0\r\n\r\n"),
        format!("{head}{small_chunks}0\r\n\r\n"),
    ];
    let mut clients: JoinSet<_> =
        texts.into_iter().map(|text| async move { Client::once(addr, &text).await }).collect();
    clients.spawn(async move {
        let mut client = Client::connect(addr).await;
        for byte in sized.chars() {
            client.send(&byte.to_string()).await;
        }
        client.receive(Kind::Response).await
    });
    let frames =
        "assam".chars().map(|byte| Ok::<_, Infallible>(Frame::data(Bytes::from(byte.to_string()))));
    let request = Request::post(format!("http://{addr}/search"))
        .body(StreamBody::new(stream::iter(frames)))
        .unwrap();
    let stream = tokio::spawn(async move {
        h2().request(request).await.unwrap().into_body().collect().await.unwrap().to_bytes()
    });
    origin.hit(1).await;
    sleep(A_MOMENT).await;
    origin.release();
    for answer in clients.join_all().await {
        assert_eq!(answer.unwrap().text(), "assam");
    }
    assert_eq!(stream.await.unwrap(), "assam");
    assert_eq!(origin.request().text(), "assam");
    is_empty(proxy).await;
}

#[tokio::test]
async fn a_body_over_the_limit_arrives_whole_and_is_not_shared() {
    let origin = echo().await;
    origin.release();
    let proxy = proxy(&origin).await;
    let long: String = (0..5 << 20).map(|at| char::from(b'a' + (at % 23) as u8)).collect();
    for body in [&long, &long[..LIMIT + 1]] {
        let text = post(body);
        let (one, two) =
            tokio::join!(Client::once(proxy.addr, &text), Client::once(proxy.addr, &text));
        assert!(one.unwrap().text() == body && two.unwrap().text() == body, "every byte");
    }
    let chunks: String = long.as_bytes().chunks(1000).fold(String::new(), |chunks, chunk| {
        chunks + &format!("{:x}\r\n{}\r\n", chunk.len(), std::str::from_utf8(chunk).unwrap())
    });
    let head = "POST /search HTTP/1.1\r\nhost: example\r\ntransfer-encoding: chunked\r\n\r\n";
    let answer = Client::once(proxy.addr, &format!("{head}{chunks}0\r\n\r\n")).await.unwrap();
    assert!(answer.text() == long, "every byte");
    assert_eq!(origin.hits(), 5);
    is_empty(proxy).await;
}

#[tokio::test]
async fn an_upload_that_is_slow_or_breaks_off_concerns_its_own_client() {
    let origin = echo().await;
    let proxy = proxy(&origin).await;
    let chunked =
        "POST /search HTTP/1.1\r\nhost: example\r\ntransfer-encoding: chunked\r\n\r\n2\r\nte\r\n";
    let sized = post("tea");
    let mut half_sent = Vec::new();
    for start in [chunked, &sized[..sized.len() - 1]] {
        for _ in 0..2 {
            let mut client = Client::connect(proxy.addr).await;
            client.send(start).await;
            half_sent.push(client);
        }
    }
    // These do not wait for the others.
    assert_eq!(all(&proxy, vec![post("tea"), post("tea")], &origin, 1).await, ["tea"; 2]);
    // One of each breaks off, and one of each goes on.
    for (number, mut client) in half_sent.into_iter().enumerate() {
        let rest = if number < 2 { "1\r\na\r\n0\r\n\r\n" } else { "a" };
        if number % 2 == 0 {
            drop(client);
        } else {
            assert_eq!(client.ask(rest).await.unwrap().text(), "tea");
        }
    }
    sleep(A_MOMENT).await;
    assert!(
        origin.requests().iter().all(|request| request.text() == "tea"),
        "no half body came to a clean end"
    );
    is_empty(proxy).await;
}

#[tokio::test]
async fn a_client_that_waits_for_100_continue_gets_it_and_is_alone() {
    let origin = echo().await;
    let proxy = proxy(&origin).await;
    let head = "POST /search HTTP/1.1\r\nhost: example\r\nexpect: 100-continue\r\n\
        content-length: 3\r\n\r\n";
    let mut waits = Client::connect(proxy.addr).await;
    assert_eq!(waits.ask(head).await.unwrap().status(), Some(100));
    // It may never send the body, and nobody waits for it.
    assert_eq!(all(&proxy, vec![post("tea"), post("tea")], &origin, 1).await, ["tea"; 2]);
    assert_eq!(waits.ask("tea").await.unwrap().text(), "tea");
    assert_eq!(origin.hits(), 2);
    is_empty(proxy).await;
}

#[tokio::test]
async fn a_body_with_trailers_keeps_them_and_is_alone() {
    let origin = echo().await;
    let proxy = proxy(&origin).await;
    let head = "POST /search HTTP/1.1\r\nhost: example\r\ntrailer: x-sum\r\n\
        transfer-encoding: chunked\r\n\r\n";
    let text = format!("{head}3\r\ntea\r\n0\r\nx-sum: 1\r\n\r\n");
    assert_eq!(all(&proxy, vec![text.clone(), text], &origin, 2).await, ["tea"; 2]);
    for request in origin.requests() {
        assert_eq!(request.trailers, [("x-sum".into(), "1".into())]);
    }
    is_empty(proxy).await;
}

#[tokio::test]
async fn a_follower_that_may_not_have_the_answer_sends_its_own_body() {
    let origin = Origin::new(|request| {
        let length = request.body.len();
        let head =
            format!("HTTP/1.1 200 OK\r\nset-cookie: sid=1\r\ncontent-length: {length}\r\n\r\n");
        Reply::default().hold().send(head).send(request.body.clone())
    });
    let origin = origin.await;
    let proxy = proxy(&origin).await;
    let addr = proxy.addr;
    let clients: JoinSet<_> =
        (0..3).map(|_| async move { Client::once(addr, &post("tea")).await }).collect();
    origin.hit(1).await;
    sleep(A_MOMENT).await;
    assert_eq!(origin.hits(), 1);
    origin.release();
    for answer in clients.join_all().await {
        assert_eq!(answer.unwrap().text(), "tea");
    }
    assert_eq!(
        origin.requests().iter().map(|request| request.text()).collect::<Vec<_>>(),
        ["tea"; 3]
    );
    is_empty(proxy).await;
}
