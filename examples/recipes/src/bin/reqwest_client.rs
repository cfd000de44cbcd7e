//! reqwest's client, coalescing: one response streams to all callers.
//!
//! ```sh
//! cargo run -p recipes --bin reqwest_client
//! ```
//!
//! It starts a server of its own on loopback, and fifty callers ask at once. It prints
//!
//! ```text
//! 50 callers got `the answer`, the server saw 1 request
//! a server hangs up: 3 callers share one error of reqwest
//! ```

use axum::{
    Router,
    http::{Request, Response},
    routing::get,
};
use reqwest::Body;
use std::{
    io,
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet};
use tower::{BoxError, Service, ServiceBuilder, ServiceExt};
use tower_singleflight::{SharedBody, SharedError, SingleflightLayer};

/// The layer takes requests and responses of the crate `http`, and reqwest has types of its own. So
/// each request is converted below the layer, and its response is converted back.
///
/// `by_key` cannot be used around the client, because reqwest's response is not `Clone`.
fn client() -> impl Service<
    Request<Body>,
    Response = Response<SharedBody>,
    Error = SharedError,
    Future: Send + 'static,
> + Clone {
    ServiceBuilder::new()
        // A client talks to many hosts, so the whole URI is the key. reqwest's errors are not
        // `Clone`.
        .layer(SingleflightLayer::new(|req| req.uri().to_string()).shared_errors())
        .map_response(Response::<Body>::from)
        // A URI without a host is no URL. This is an error, as one of the client is.
        .filter(|request: Request<Body>| reqwest::Request::try_from(request))
        .service(reqwest::Client::new())
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let client = client();

    let uri = format!("http://{}/", start_server().await?);
    let calls = ask(&client, &uri, 50).await?;
    ANSWERS.add_permits(1);
    let callers: JoinSet<_> = calls
        .into_iter()
        .map(|call| async {
            // A response of reqwest again, with its `text`, `json` and `error_for_status`. Only its
            // `url` is lost.
            let response = reqwest::Response::from(call.await?.map(Body::wrap));
            Ok::<_, BoxError>(response.error_for_status()?.text().await?)
        })
        .collect();
    let answers = callers.join_all().await.into_iter().collect::<Result<Vec<_>, _>>()?;
    assert!(answers.iter().all(|answer| answer == "the answer"));
    println!(
        "{} callers got `the answer`, the server saw {} request",
        answers.len(),
        SEEN.load(Relaxed)
    );

    let hangs_up = TcpListener::bind("127.0.0.1:0").await?;
    let calls = ask(&client, &format!("http://{}/", hangs_up.local_addr()?), 3).await?;
    drop(hangs_up.accept().await?);
    let callers: JoinSet<_> = calls.into_iter().collect();
    let errors: Vec<SharedError> =
        callers.join_all().await.into_iter().filter_map(Result::err).collect();
    let error = errors[0]
        .downcast_ref::<reqwest::Error>()
        .filter(|error| error.is_request())
        .ok_or("not reqwest's")?;
    assert!(
        errors
            .iter()
            .all(|other| other.downcast_ref().is_some_and(|other| std::ptr::eq(error, other)))
    );
    println!("a server hangs up: {} callers share one error of reqwest", errors.len());
    Ok(())
}

/// So many requests at once. Each joins or leads when it is made, not when its response is first
/// polled.
async fn ask<S>(client: &S, uri: &str, callers: usize) -> Result<Vec<S::Future>, BoxError>
where
    S: Service<Request<Body>, Error = SharedError> + Clone,
{
    let (mut client, mut calls) = (client.clone(), Vec::new());
    for _ in 0..callers {
        calls.push(client.ready().await?.call(Request::get(uri).body(Body::default())?));
    }
    Ok(calls)
}

/// What the server got.
static SEEN: AtomicUsize = AtomicUsize::new(0);

/// How many requests the server may answer. So it is slow enough for all callers to come.
static ANSWERS: Semaphore = Semaphore::const_new(0);

async fn start_server() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let answer = get(async || {
        SEEN.fetch_add(1, Relaxed);
        ANSWERS.acquire().await.expect("it is never closed").forget();
        "the answer"
    });
    let app = Router::new().route("/", answer);
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(address)
}
