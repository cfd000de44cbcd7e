//! What belongs inside of the flights, and what happens when it stands outside: sessions and
//! task-locals.

use axum::{
    Router,
    body::Body,
    extract::{Extension, Request, State},
    http::header::SET_COOKIE,
    middleware::{Next, from_fn},
    response::Response,
    routing::get,
};
use http_body_util::BodyExt;
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::Relaxed},
};
use tokio::{
    sync::Semaphore,
    task::{JoinHandle, yield_now},
    task_local,
};
use tower::ServiceExt;
use tower_singleflight::{Handle, SingleflightLayer, mode::Http};

#[derive(Clone)]
struct Session(u32);

/// A session manager in short: each of these requests is a visitor's first, and has no cookie.
async fn open_session(mut request: Request, next: Next) -> Response {
    static SESSIONS: AtomicU32 = AtomicU32::new(1);
    let session = SESSIONS.fetch_add(1, Relaxed);
    request.extensions_mut().insert(Session(session));
    let mut response = next.run(request).await;
    response.headers_mut().insert(SET_COOKIE, format!("sid={session}").parse().unwrap());
    response
}

/// A page with the token of the session.
async fn page(
    State(permits): State<Arc<Semaphore>>,
    Extension(Session(session)): Extension<Session>,
) -> String {
    permits.acquire().await.expect("it is never closed").forget();
    format!("sid={session}")
}

task_local! {
    static USER: u32;
}

async fn set_user(request: Request, next: Next) -> Response {
    USER.scope(7, next.run(request)).await
}

async fn user(State(permits): State<Arc<Semaphore>>) -> String {
    permits.acquire().await.expect("it is never closed").forget();
    USER.try_with(|user| user.to_string()).unwrap_or_else(|_| "nobody".to_owned())
}

fn flights() -> (SingleflightLayer<Http<String>>, Handle<String>) {
    let layer = SingleflightLayer::new(|req| req.uri().path().to_owned());
    let handle = layer.handle();
    (layer, handle)
}

/// So many clients that ask at once and wait. Each returns its cookie and its page.
async fn clients(
    app: Router,
    count: usize,
    flights: &Handle<String>,
) -> Vec<JoinHandle<(Option<String>, String)>> {
    let ask = |app: Router| async {
        let response = app.oneshot(Request::new(Body::empty())).await.unwrap();
        let cookie =
            response.headers().get(SET_COOKIE).map(|cookie| cookie.to_str().unwrap().to_owned());
        let page = response.into_body().collect().await.unwrap().to_bytes();
        (cookie, String::from_utf8(page.into()).unwrap())
    };
    let clients = (0..count).map(|_| tokio::spawn(ask(app.clone()))).collect();
    for _ in 0..100 {
        yield_now().await;
    }
    assert_eq!(flights.waiting(), count, "{}", flights.stats());
    clients
}

#[tokio::test]
async fn with_sessions_outside_a_visitor_gets_anothers_page() {
    let (permits, (layer, flights)) = (Arc::new(Semaphore::new(0)), flights());
    let app = Router::new()
        .route("/", get(page))
        .with_state(permits.clone())
        .layer(layer)
        .layer(from_fn(open_session));
    let clients = clients(app, 2, &flights).await;
    permits.add_permits(2);
    let mut own_pages = 0;
    for client in clients {
        let (cookie, page) = client.await.unwrap();
        own_pages += usize::from(cookie.unwrap() == page);
    }
    assert_eq!(own_pages, 1);
}

#[tokio::test]
async fn with_sessions_inside_each_visitor_gets_its_own_page() {
    let (permits, (layer, flights)) = (Arc::new(Semaphore::new(0)), flights());
    let app = Router::new()
        .route("/", get(page))
        .with_state(permits.clone())
        .layer(from_fn(open_session))
        .layer(layer);
    let clients = clients(app, 2, &flights).await;
    permits.add_permits(2);
    for client in clients {
        let (cookie, page) = client.await.unwrap();
        assert_eq!(cookie.unwrap(), page);
    }
}

#[tokio::test]
async fn a_task_local_from_outside_is_gone_once_a_second_request_joins() {
    for (count, seen) in [(1, "7"), (2, "nobody")] {
        let (permits, (layer, flights)) = (Arc::new(Semaphore::new(0)), flights());
        let app = Router::new()
            .route("/", get(user))
            .with_state(permits.clone())
            .layer(layer)
            .layer(from_fn(set_user));
        let clients = clients(app, count, &flights).await;
        permits.add_permits(1);
        for client in clients {
            assert_eq!(client.await.unwrap().1, seen);
        }
    }
}

#[tokio::test]
async fn a_task_local_from_inside_stays() {
    let (permits, (layer, flights)) = (Arc::new(Semaphore::new(0)), flights());
    let app = Router::new()
        .route("/", get(user))
        .with_state(permits.clone())
        .layer(from_fn(set_user))
        .layer(layer);
    let clients = clients(app, 2, &flights).await;
    permits.add_permits(1);
    for client in clients {
        assert_eq!(client.await.unwrap().1, "7");
    }
}
