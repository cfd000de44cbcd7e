//! A gateway to a language model: clients with equal prompts share one stream of tokens.
//!
//! ```sh
//! cargo run -p recipes --bin llm_gateway -- 127.0.0.1:3000
//! ```
//!
//! It listens on a free port if you name none. On another port it starts a model, which says one
//! word a second. Ask it the same twice, the second time two seconds later:
//!
//! ```sh
//! ask() { curl -sN http://127.0.0.1:3000/v1/completions -d "{\"prompt\": \"$1\"}"; }
//! ask 'why is the sky blue' & sleep 2; ask 'why is the sky blue' & wait    # the second client catches up at once
//! curl -s http://127.0.0.1:3000/stats                                      # calls 1, led 1, joined 1
//! ```
//!
//! And press ctrl-c on a lone `curl`: the model is told to stop, because no client is left to pay
//! for.

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{StatusCode, Uri, header::HOST},
    response::{
        Response,
        sse::{Event, Sse},
    },
    routing::{get, post},
};
use futures_util::{Stream, stream};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;
use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::net::TcpListener;
use tower::BoxError;
use tower_singleflight::{Handle, HttpPolicy, LateJoin, SingleflightLayer};

/// A longer prompt passes.
const LONGEST_PROMPT: usize = 1024 * 1024;

/// How long an answer may take to be written. Clients join it all that time.
const LONGEST_ANSWER: Duration = Duration::from_secs(120);

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let (listener, stop) = recipes::listen()?;
    let calls = Arc::<AtomicUsize>::default();
    let model = start_model(calls.clone()).await?;
    let layer = SingleflightLayer::with_body(LONGEST_PROMPT, prompt)
        .policy(policy())
        .join_within(LONGEST_ANSWER);
    let client = Client::builder(TokioExecutor::new()).build_http();
    let gateway = Gateway { client, model, calls, flights: layer.handle() };
    let app = Router::new()
        .route("/v1/completions", post(forward))
        .layer(layer)
        .route("/stats", get(async |State(gateway): State<Gateway>| gateway.stats()))
        .with_state(gateway);
    axum::serve(listener, app).with_graceful_shutdown(stop).await?;
    Ok(())
}

/// By default, an event stream goes to its leader alone, because most of them never end and are for
/// one client. These end, and are for each client that sent this prompt.
///
/// The layer compares `Authorization`, so that clients share only with clients of the same API key.
/// If the gateway checks the keys of its clients itself, in a layer outside, and has one key for
/// the model, add `without_partition_header(AUTHORIZATION)`.
fn policy() -> HttpPolicy {
    HttpPolicy::new()
        .share_content_type("text/event-stream")
        // Nearly every event stream says `Cache-Control: no-cache`, to keep proxies from buffering
        // it.
        .share_no_cache(true)
        // A client that comes later gets the stream from its first token. Up to 1 MiB is kept for
        // it: `keep_start`.
        .late_joins(LateJoin::Always)
}

/// The key of a prompt: all of the JSON, with its members in order. So the model's name, the
/// temperature and the seed are a part of it.
fn prompt(request: &Request<Bytes>) -> Option<String> {
    let body: Value = serde_json::from_slice(request.body()).ok()?;
    body.get("prompt")?;
    Some(body.to_string())
}

#[derive(Clone)]
struct Gateway {
    client: Client<HttpConnector, Body>,
    model: Uri,
    calls: Arc<AtomicUsize>,
    flights: Handle<String>,
}

/// Runs once for each flight. The example `proxy` shows what a proxy owes to HTTP besides.
async fn forward(
    State(gateway): State<Gateway>,
    mut request: Request,
) -> Result<Response, StatusCode> {
    request.headers_mut().remove(HOST);
    *request.uri_mut() = gateway.model;
    let response = gateway.client.request(request).await.map_err(|_| StatusCode::BAD_GATEWAY)?;
    Ok(response.map(Body::new))
}

impl Gateway {
    fn stats(&self) -> String {
        let (calls, stats) = (self.calls.load(Relaxed), self.flights.stats());
        format!(
            "calls {calls}\nled {}\njoined {}\nwaiting {}\n",
            stats.led, stats.joined, stats.waiting
        )
    }
}

/// Stands in for the model's provider.
async fn start_model(calls: Arc<AtomicUsize>) -> Result<Uri, BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let uri = format!("http://{}/v1/completions", listener.local_addr()?).parse()?;
    let app = Router::new().route("/v1/completions", post(complete)).with_state(calls);
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(uri)
}

async fn complete(
    State(calls): State<Arc<AtomicUsize>>,
    body: Bytes,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, StatusCode> {
    calls.fetch_add(1, Relaxed);
    let body: Value = serde_json::from_slice(&body).map_err(|_| StatusCode::BAD_REQUEST)?;
    let answer = format!("You ask {} of me?", body["prompt"].as_str().unwrap_or("nothing"));
    let mut words: Vec<_> = answer.split(' ').map(str::to_owned).collect();
    words.push("[DONE]".to_owned());
    Ok(Sse::new(stream::unfold(words.into_iter(), async |mut words| {
        let word = words.next()?;
        recipes::expensive(Duration::from_secs(1)).await;
        Some((Ok(Event::default().data(word)), words))
    })))
}
