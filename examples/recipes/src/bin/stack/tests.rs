//! What the comments in `order.rs` say, with the clock stopped: it jumps to the next timer when
//! nothing else is left to do.

use super::order::{A_SECOND, AT_ONCE, ATTEMPT, Ask, PATIENCE, RETRIES, stack};
use axum::{
    body::{Body, Bytes},
    http::{
        Request, Response, StatusCode,
        header::{ACCEPT_ENCODING, CONTENT_ENCODING},
    },
};
use flate2::read::GzDecoder;
use http_body_util::{BodyExt, Full};
use std::{convert::Infallible, io::Read, time::Duration};
use tokio::{
    task::{JoinHandle, yield_now},
    time::{Instant, sleep_until, timeout},
};
use tower::{Service, ServiceExt};
use tower_singleflight::Handle;
use tower_test::mock;

const LINE: &str = "an answer that is worth compressing\n";

type Reply = mock::SendResponse<Response<Full<Bytes>>>;

/// The backend's side of an attempt.
async fn attempt(backend: &mut mock::Handle<Ask, Response<Full<Bytes>>>) -> Reply {
    let attempt = timeout(10 * PATIENCE, backend.next_request()).await;
    attempt.expect("the backend is asked").expect("somebody may ask it").1
}

fn answer(attempt: Reply) {
    attempt.send_response(Response::new(LINE.repeat(20).into()));
}

type Client<B> = JoinHandle<Result<Response<B>, Infallible>>;

/// A client that waits in a flight. The clock stands still until it does.
async fn client<S, B>(service: &S, handle: &Handle<String>, request: Request<Body>) -> Client<B>
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static,
    B: Send + 'static,
{
    let before = handle.waiting();
    let client = tokio::spawn(service.clone().oneshot(request));
    for _ in 0..100 {
        if handle.waiting() > before {
            return client;
        }
        yield_now().await;
    }
    panic!("it waits for no flight");
}

fn get(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}

async fn status<B>(client: Client<B>) -> StatusCode {
    client.await.unwrap().unwrap().status()
}

#[tokio::test(start_paused = true)]
async fn the_timeout_of_a_client_ends_its_wait_and_nobody_elses() {
    let (backend, mut attempts) = mock::pair();
    let (service, handle) = stack(backend);
    let start = Instant::now();
    let early = client(&service, &handle, get("/")).await;
    let _never_answered = attempt(&mut attempts).await;
    sleep_until(start + ATTEMPT + Duration::from_secs(1)).await;
    let late = client(&service, &handle, get("/")).await;
    let _never_answered = attempt(&mut attempts).await;
    assert_eq!(status(early).await, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(start.elapsed(), PATIENCE);
    answer(attempt(&mut attempts).await);
    assert_eq!(status(late).await, StatusCode::OK);
    assert_eq!((handle.stats().led, handle.stats().joined), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_follower_takes_no_permit_and_a_new_flight_without_one_is_refused_at_once() {
    let (backend, mut attempts) = mock::pair();
    let (service, handle) = stack(backend);
    let start = Instant::now();
    let (mut clients, mut replies) = (Vec::new(), Vec::new());
    for flight in 0..AT_ONCE - 1 {
        clients.push(client(&service, &handle, get(&format!("/{flight}"))).await);
        replies.push(attempt(&mut attempts).await);
    }
    for _ in 0..10 * AT_ONCE {
        clients.push(client(&service, &handle, get("/0")).await);
    }
    // There is room for one more flight, though many times as many requests are in progress.
    clients.push(client(&service, &handle, get("/last")).await);
    replies.push(attempt(&mut attempts).await);
    let refused = service.clone().oneshot(get("/too-many")).await.unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    clients.push(client(&service, &handle, get("/0")).await);
    assert_eq!(start.elapsed(), Duration::ZERO, "what is refused is not tried again");
    replies.into_iter().for_each(answer);
    for client in clients {
        assert_eq!(status(client).await, StatusCode::OK);
    }
    drop(service);
    assert!(attempts.next_request().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_failed_attempt_is_repeated_once_for_all() {
    let (backend, mut attempts) = mock::pair();
    let (service, handle) = stack(backend);
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(client(&service, &handle, get("/")).await);
    }
    attempt(&mut attempts).await.send_error("the connection was reset");
    answer(attempt(&mut attempts).await);
    for client in clients {
        assert_eq!(status(client).await, StatusCode::OK);
    }
    drop(service);
    assert!(attempts.next_request().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn when_all_attempts_have_failed_all_clients_are_told() {
    let (backend, mut attempts) = mock::pair();
    let (service, handle) = stack(backend);
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(client(&service, &handle, get("/")).await);
    }
    for _ in 0..=RETRIES {
        attempt(&mut attempts).await.send_error("the connection was reset");
    }
    for client in clients {
        assert_eq!(status(client).await, StatusCode::BAD_GATEWAY);
    }
    drop(service);
    assert!(attempts.next_request().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn each_client_gets_its_own_encoding_of_one_answer() {
    let (backend, mut attempts) = mock::pair();
    let (service, handle) = stack(backend);
    let mut zipped = get("/");
    zipped.headers_mut().insert(ACCEPT_ENCODING, "gzip".parse().unwrap());
    let zipped = client(&service, &handle, zipped).await;
    let plain = client(&service, &handle, get("/")).await;
    answer(attempt(&mut attempts).await);
    let (zipped, plain) = (zipped.await.unwrap().unwrap(), plain.await.unwrap().unwrap());
    assert_eq!(zipped.headers()[CONTENT_ENCODING], "gzip");
    assert!(!plain.headers().contains_key(CONTENT_ENCODING));
    let zipped = zipped.into_body().collect().await.map_err(Into::into).unwrap().to_bytes();
    let plain = plain.into_body().collect().await.map_err(Into::into).unwrap().to_bytes();
    let mut text = String::new();
    GzDecoder::new(&zipped[..]).read_to_string(&mut text).unwrap();
    assert_eq!((text.as_str(), &plain[..]), (&*LINE.repeat(20), LINE.repeat(20).as_bytes()));
    assert_eq!(handle.stats().led, 1);
}

#[tokio::test(start_paused = true)]
async fn attempts_over_the_rate_wait_for_their_second() {
    let (backend, mut attempts) = mock::pair();
    let (service, handle) = stack(backend);
    let start = Instant::now();
    for request in 0..=A_SECOND {
        assert_eq!(start.elapsed(), Duration::ZERO);
        let client = client(&service, &handle, get(&format!("/{request}"))).await;
        answer(attempt(&mut attempts).await);
        assert_eq!(status(client).await, StatusCode::OK);
    }
    assert_eq!(start.elapsed(), Duration::from_secs(1));
}
