use crate::{
    gateway::Coalesce,
    support::{Client, Kind, Origin, Proxy, Reply, h2, h2_get},
};
use bytes::Bytes;
use futures_util::stream;
use http::Request;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use std::{convert::Infallible, time::Duration};
use tokio::{task::JoinSet, time::sleep};

/// For requests that were written to come to the layer.
const A_MOMENT: Duration = Duration::from_millis(300);

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_connections_cost_one_request() {
    let origin = Origin::new(|_| {
        Reply::default().hold().send("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nhot")
    })
    .await;
    let proxy = Proxy::to(&origin).await;
    let mut clients = JoinSet::new();
    for _ in 0..500 {
        clients.spawn(Client::get(proxy.addr, "/hot"));
    }
    origin.hit(1).await;
    sleep(2 * A_MOMENT).await;
    origin.release();
    for answer in clients.join_all().await {
        assert_eq!(answer.unwrap().text(), "hot");
    }
    assert_eq!(origin.hits(), 1);
}

#[tokio::test]
async fn a_get_with_an_empty_chunked_body_or_an_empty_data_frame_coalesces() {
    let origin = Origin::new(|_| {
        Reply::default().hold().send("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nhot")
    })
    .await;
    let proxy = Proxy::to(&origin).await;
    let addr = proxy.addr;
    let mut ones = JoinSet::new();
    for end in ["\r\n", "transfer-encoding: chunked\r\n\r\n0\r\n\r\n"].repeat(5) {
        ones.spawn(async move {
            Client::once(addr, &format!("GET /hot HTTP/1.1\r\nhost: {addr}\r\n{end}")).await
        });
    }
    let mut twos = JoinSet::new();
    for _ in 0..5 {
        // Of a size that it does not tell, so that an empty frame ends the stream.
        let body = StreamBody::new(stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::new()))]));
        let request = Request::get(format!("http://{addr}/hot")).body(body).unwrap();
        twos.spawn(async move {
            h2().request(request).await.unwrap().into_body().collect().await.unwrap().to_bytes()
        });
    }
    origin.hit(1).await;
    sleep(2 * A_MOMENT).await;
    origin.release();
    for answer in ones.join_all().await {
        assert_eq!(answer.unwrap().text(), "hot");
    }
    for body in twos.join_all().await {
        assert_eq!(body, "hot");
    }
    assert_eq!(origin.hits(), 1);
}

#[tokio::test]
async fn without_the_layer_each_request_is_sent() {
    let origin = Origin::new(|_| {
        Reply::default().hold().send("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nhot")
    })
    .await;
    let proxy = Proxy::start(origin.addr, None).await;
    let clients: JoinSet<_> = (0..20).map(|_| Client::get(proxy.addr, "/hot")).collect();
    origin.hit(20).await;
    origin.release();
    for answer in clients.join_all().await {
        let answer = answer.unwrap();
        assert_eq!((answer.text(), answer.get("cache-status")), ("hot", None));
    }
}

#[tokio::test]
async fn followers_do_not_notice_that_the_leaders_client_has_gone() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nhalf";
    let script = move |_: &_| Reply::default().pause(A_MOMENT).send(head).hold().send("half");
    let origin = Origin::new(script).await;
    let proxy = Proxy::to(&origin).await;
    let mut before_the_head = Client::connect(proxy.addr).await;
    before_the_head.send("GET / HTTP/1.1\r\nhost: example\r\n\r\n").await;
    origin.hit(1).await;
    let in_the_body = tokio::spawn(Client::get(proxy.addr, "/"));
    let follower = tokio::spawn(Client::get(proxy.addr, "/"));
    sleep(A_MOMENT / 2).await;
    drop(before_the_head);
    sleep(A_MOMENT).await;
    in_the_body.abort();
    origin.release();
    assert_eq!(follower.await.unwrap().unwrap().text(), "halfhalf");
    assert_eq!(origin.hits(), 1);
}

#[tokio::test]
async fn the_upstream_request_is_dropped_with_its_last_client() {
    let origin = Origin::new(|_| Reply::default().hold()).await;
    let proxy = Proxy::to(&origin).await;
    let mut client = Client::connect(proxy.addr).await;
    client.send("GET / HTTP/1.1\r\nhost: example\r\n\r\n").await;
    origin.hit(1).await;
    drop(client);
    sleep(A_MOMENT).await;
    // A flight that was still there would be joined.
    let _next = tokio::spawn(Client::get(proxy.addr, "/"));
    origin.hit(2).await;
}

#[tokio::test]
async fn a_request_is_the_same_over_http_1_in_both_forms_and_over_http_2() {
    let origin = Origin::new(|_| {
        Reply::default().hold().send("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nhot")
    })
    .await;
    let proxy = Proxy::to(&origin).await;
    let addr = proxy.addr;
    let origin_form = format!("GET /a?b HTTP/1.1\r\nhost: {addr}\r\n\r\n");
    let absolute_form = format!("GET http://{addr}/a?b HTTP/1.1\r\nhost: other\r\n\r\n");
    let first = tokio::spawn(async move { Client::once(addr, &origin_form).await });
    let second = tokio::spawn(async move { Client::once(addr, &absolute_form).await });
    let third = tokio::spawn(async move { h2_get(addr, "/a?b").await.collect().await });
    sleep(A_MOMENT).await;
    origin.release();
    assert_eq!(first.await.unwrap().unwrap().text(), "hot");
    assert_eq!(second.await.unwrap().unwrap().text(), "hot");
    assert_eq!(third.await.unwrap().unwrap().to_bytes(), "hot");
    assert_eq!(origin.request().start, "GET /a?b HTTP/1.1");
    assert_eq!(origin.request().all("host"), [addr.to_string()]);
}

#[tokio::test]
async fn requests_that_an_origin_may_answer_differently_are_sent_apart() {
    let origin = Origin::new(|_| {
        Reply::default().hold().send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    })
    .await;
    let proxy = Proxy::to(&origin).await;
    let heads = [
        "host: one",
        "host: two",
        "host: one\r\nx-forwarded-host: two",
        "host: one\r\nx-forwarded-proto: https",
        "host: one\r\nforwarded: host=two",
        "host: one\r\nauthorization: x",
        "host: one\r\nte: trailers",
    ];
    let requests = heads.map(|head| format!("GET / HTTP/1.1\r\n{head}\r\n\r\n"));
    let addr = proxy.addr;
    let clients: JoinSet<_> =
        requests.into_iter().map(|text| async move { Client::once(addr, &text).await }).collect();
    origin.hit(heads.len()).await;
    origin.release();
    assert!(clients.join_all().await.into_iter().all(|answer| answer.is_ok()));
}

#[tokio::test]
async fn clients_are_told_how_their_response_came() {
    let origin = Origin::new(|_| {
        Reply::default().hold().send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    })
    .await;
    let coalesce = Coalesce { cache_status: Some("proxy".into()), ..Coalesce::default() };
    let proxy = Proxy::start(origin.addr, Some(coalesce)).await;
    let leader = tokio::spawn(Client::get(proxy.addr, "/"));
    origin.hit(1).await;
    let follower = tokio::spawn(Client::get(proxy.addr, "/"));
    sleep(A_MOMENT).await;
    origin.release();
    assert_eq!(leader.await.unwrap().unwrap().all("cache-status"), ["proxy; fwd=miss"]);
    assert_eq!(
        follower.await.unwrap().unwrap().all("cache-status"),
        ["proxy; fwd=uri-miss; collapsed"]
    );
}

#[tokio::test]
async fn a_flight_that_is_too_old_is_not_joined() {
    let origin = Origin::new(|_| Reply::default().hold()).await;
    let coalesce = Coalesce { join_within: Some(A_MOMENT), ..Coalesce::default() };
    let proxy = Proxy::start(origin.addr, Some(coalesce)).await;
    let _hangs = tokio::spawn(Client::get(proxy.addr, "/"));
    origin.hit(1).await;
    sleep(A_MOMENT).await;
    let _next = tokio::spawn(Client::get(proxy.addr, "/"));
    origin.hit(2).await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_its_leaders_alone() {
    let origin = Origin::new(|_| Reply::ok("more than four")).await;
    let coalesce = Coalesce { body_limit: Some(4), ..Coalesce::default() };
    let proxy = Proxy::start(origin.addr, Some(coalesce)).await;
    let clients: JoinSet<_> = (0..3).map(|_| Client::get(proxy.addr, "/")).collect();
    assert!(
        clients
            .join_all()
            .await
            .into_iter()
            .all(|answer| answer.unwrap().text() == "more than four")
    );
    assert_eq!(origin.hits(), 3);
}

#[tokio::test]
async fn head_is_answered_with_the_headers_of_get_and_never_with_its_body() {
    let origin = Origin::new(|request| match request.start.starts_with("HEAD") {
        true => Reply::raw("HTTP/1.1 200 OK\r\ncontent-length: 3\r\netag: \"1\"\r\n\r\n"),
        false => Reply::ok("hot"),
    });
    let proxy = Proxy::to(&origin.await).await;
    let mut client = Client::connect(proxy.addr).await;
    client.send("HEAD / HTTP/1.1\r\nhost: example\r\n\r\n").await;
    let head = client.receive(Kind::ResponseToHead).await.unwrap();
    assert_eq!((head.get("content-length"), head.get("etag")), (Some("3"), Some("\"1\"")));
    let get = client.ask("GET / HTTP/1.1\r\nhost: example\r\n\r\n").await.unwrap();
    assert_eq!(get.text(), "hot");
}
