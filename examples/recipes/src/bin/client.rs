//! hyper-util's client, coalescing: retries and a timeout for each attempt inside the flights, a
//! timeout for each caller outside of them.
//!
//! ```sh
//! cargo run -p recipes --bin client
//! ```
//!
//! It starts a server of its own on loopback, which never answers the first request, answers the
//! second with 503, and the third as it should. Twenty callers ask at once, and the first of them
//! is in a hurry. It prints
//!
//! ```text
//! 20 callers: 19 got `the answer`, 1 gave up
//! the server saw 3 requests
//! nobody listens: 3 callers share one error: client error (Connect)
//! ```

use http_body_util::{BodyExt, Empty, Full};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::{
    client::legacy::{Client, Error, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use std::{
    convert::Infallible,
    future::pending,
    io,
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};
use tokio::{
    net::TcpListener,
    task::JoinSet,
    time::{Sleep, sleep, timeout},
};
use tower::{BoxError, Service, ServiceBuilder, ServiceExt, retry};
use tower_singleflight::{SharedBody, SharedError, SingleflightLayer};

/// For one attempt. It is no caller's patience, but a guess at when the server has lost the
/// request.
const ATTEMPT: Duration = Duration::from_secs(2);

/// How long to wait before the next attempt.
const PAUSE: Duration = Duration::from_millis(50);

type Call = Request<Empty<Bytes>>;

/// The client: clone it for each caller. What is above the layer is done for each caller, what is
/// below it once for all who ask for the same.
fn client()
-> impl Service<Call, Response = Response<SharedBody>, Error = SharedError, Future: Send> + Clone {
    ServiceBuilder::new()
        // The timeouts of the callers are up here: in `main`, because each has its own, and it is
        // for the body too. It ends that caller's wait, and nobody else's.
        //
        // The errors of what is below are boxed, and not `Clone`. A `SharedError` is.
        .layer(SingleflightLayer::new(|req| req.uri().to_string()).shared_errors())
        // Inside: the server gets three attempts at the most, however many callers wait. Outside,
        // each of them would try again by itself.
        .retry(Attempts { left: 2 })
        // Inside the retries, so that each attempt has its own.
        .timeout(ATTEMPT)
        // An attempt has the body in it: what is cut off or gets stuck is tried again. Leave this
        // line out where bodies are long: then they stream to all callers as they come, and the
        // timeout is for the head alone.
        .and_then(collect)
        .service(Client::builder(TokioExecutor::new()).build(HttpConnector::new()))
}

async fn collect(response: Response<Incoming>) -> Result<Response<Full<Bytes>>, BoxError> {
    let (head, body) = response.into_parts();
    Ok(Response::from_parts(head, Full::new(body.collect().await?.to_bytes())))
}

#[derive(Clone)]
struct Attempts {
    left: u32,
}

impl<R> retry::Policy<Call, Response<R>, BoxError> for Attempts {
    type Future = Sleep;

    fn retry(&mut self, _: &mut Call, result: &mut Result<Response<R>, BoxError>) -> Option<Sleep> {
        let failed = result.as_ref().map_or(true, |response| response.status().is_server_error());
        self.left = self.left.checked_sub(1).filter(|_| failed)?;
        Some(sleep(PAUSE))
    }

    /// A write goes through the layer as it is, and must not happen twice.
    fn clone_request(&mut self, request: &Call) -> Option<Call> {
        request.method().is_safe().then(|| request.clone())
    }
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let mut client = client();

    let uri = format!("http://{}/", start_server().await?);
    let mut callers = JoinSet::new();
    for caller in 0..20 {
        let patience = Duration::from_millis(if caller == 0 { 100 } else { 10_000 });
        // A request joins or leads when it is made, not when its response is first polled.
        let response = client.ready().await?.call(Request::get(&uri).body(Empty::new())?);
        let answer =
            async { Ok::<_, BoxError>(response.await?.into_body().collect().await?.to_bytes()) };
        callers.spawn(timeout(patience, answer));
    }
    let (answered, gave_up): (Vec<_>, Vec<_>) =
        callers.join_all().await.into_iter().partition(Result::is_ok);
    let answers = answered.into_iter().flatten().collect::<Result<Vec<_>, _>>()?;
    assert!(answers.iter().all(|answer| answer == "the answer"));
    println!("20 callers: {} got `the answer`, {} gave up", answers.len(), gave_up.len());
    println!("the server saw {} requests", SEEN.load(Relaxed));

    let uri = format!("http://{}/", nobody_there().await?);
    let mut callers = JoinSet::new();
    for _ in 0..3 {
        callers.spawn(client.ready().await?.call(Request::get(&uri).body(Empty::new())?));
    }
    let errors: Vec<SharedError> =
        callers.join_all().await.into_iter().filter_map(Result::err).collect();
    let error = errors[0]
        .downcast_ref::<Error>()
        .filter(|error| error.is_connect())
        .ok_or("not to connect")?;
    assert!(
        errors
            .iter()
            .all(|other| other.downcast_ref().is_some_and(|other| std::ptr::eq(error, other)))
    );
    println!("nobody listens: {} callers share one error: {error}", errors.len());
    Ok(())
}

/// What the server got.
static SEEN: AtomicUsize = AtomicUsize::new(0);

async fn start_server() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(
                http1::Builder::new().serve_connection(TokioIo::new(socket), service_fn(answer)),
            );
        }
    });
    Ok(address)
}

async fn answer(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new("the answer".into());
    match SEEN.fetch_add(1, Relaxed) + 1 {
        1 => pending().await,
        2 => *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE,
        _ => {}
    }
    Ok(response)
}

async fn nobody_there() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0").await?.local_addr()
}
