//! JSON-RPC: equal calls share one answer, and each caller gets it with the `id` of its own
//! request.
//!
//! ```sh
//! cargo run -p recipes --bin json_rpc -- 127.0.0.1:3000
//! ```
//!
//! It listens on a free port if you name none. A balance takes five seconds to read:
//!
//! ```sh
//! ask() { curl -s http://127.0.0.1:3000/rpc -d "$1"; echo; }
//! ask '{"jsonrpc": "2.0", "id": 1, "method": "balance", "params": ["ann"]}' &
//! ask '{"jsonrpc": "2.0", "id": "b", "method": "balance", "params": ["ann"]}' & wait   # one read, ids 1 and "b"
//! ask '{"jsonrpc": "2.0", "id": 2, "method": "pay", "params": ["ann", 5]}'             # passes, and seals
//! curl -s http://127.0.0.1:3000/stats
//! ```
//!
//! The `id` is all that differs in the requests of two clients. A layer outside of the flights
//! takes it out, and puts it into the answer that comes back.

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header::CONTENT_LENGTH},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tower::BoxError;
use tower_singleflight::{Handle, SingleflightLayer};

/// The longest request and the longest answer.
const LIMIT: usize = 64 * 1024;

/// The methods that only read. All others pass.
const READS: [&str; 1] = ["balance"];

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let (listener, stop) = recipes::listen()?;
    let layer = SingleflightLayer::with_body(LIMIT, |request| read(request.body()));
    let accounts = HashMap::from([("ann".to_owned(), 100), ("ben".to_owned(), 200)]);
    let bank = Bank {
        accounts: Arc::new(accounts.into()),
        reads: Arc::default(),
        flights: layer.handle(),
    };
    let app = Router::new()
        .route("/rpc", post(answer))
        .layer(layer)
        // What is added later is outside: it sees a request before the flights do.
        .layer(middleware::from_fn(own_id))
        .route("/stats", get(async |State(bank): State<Bank>| bank.stats()))
        .with_state(bank);
    axum::serve(listener, app).with_graceful_shutdown(stop).await?;
    Ok(())
}

/// The key of a call that only reads: all of it but its `id`, with its members in order. `None` for
/// a write, and for a batch, which is an array.
fn read(body: &[u8]) -> Option<String> {
    let call: Value = serde_json::from_slice(body).ok()?;
    let method = call.get("method")?.as_str()?;
    (READS.contains(&method) && call["id"].is_null()).then(|| call.to_string())
}

/// Takes the `id` out of a call, and puts it into the answer.
async fn own_id(request: Request, next: Next) -> Result<Response, StatusCode> {
    let (mut head, body) = request.into_parts();
    let body = to_bytes(body, LIMIT).await.map_err(|_| StatusCode::PAYLOAD_TOO_LARGE)?;
    let call = serde_json::from_slice::<Value>(&body).ok();
    // A batch has several, and a notification has none: they go on as they are.
    let Some((mut call, id)) = call.and_then(|call| Some((call.clone(), call.get("id")?.clone())))
    else {
        return Ok(next.run(Request::from_parts(head, Body::from(body))).await);
    };
    call["id"] = Value::Null;
    let body = with_length(&mut head.headers, &call);
    let (mut head, body) = next.run(Request::from_parts(head, body)).await.into_parts();
    let body = to_bytes(Body::new(body), LIMIT).await.map_err(|_| StatusCode::BAD_GATEWAY)?;
    let Ok(mut answer) = serde_json::from_slice::<Value>(&body) else {
        return Ok(Response::from_parts(head, Body::from(body)));
    };
    if let Some(answer) = answer.as_object_mut() {
        answer.insert("id".to_owned(), id);
    }
    let body = with_length(&mut head.headers, &answer);
    Ok(Response::from_parts(head, body))
}

/// The body has another length now. The flights pass a request whose `Content-Length` is wrong.
fn with_length(headers: &mut HeaderMap, json: &Value) -> Body {
    let text = json.to_string();
    headers.insert(CONTENT_LENGTH, text.len().into());
    Body::from(text)
}

async fn answer(State(bank): State<Bank>, body: Bytes) -> Result<impl IntoResponse, StatusCode> {
    let call: Value = serde_json::from_slice(&body).map_err(|_| StatusCode::BAD_REQUEST)?;
    let account = call["params"][0].as_str().unwrap_or_default();
    let result = match call["method"].as_str() {
        Some("balance") => bank.balance(account).await,
        Some("pay") => bank.pay(account, call["params"][1].as_i64().unwrap_or_default()),
        _ => return Err(StatusCode::NOT_FOUND),
    };
    Ok(json!({ "jsonrpc": "2.0", "id": call["id"], "result": result }).to_string())
}

#[derive(Clone)]
struct Bank {
    accounts: Arc<Mutex<HashMap<String, i64>>>,
    reads: Arc<AtomicUsize>,
    flights: Handle<String>,
}

impl Bank {
    /// The worst case: what a read returns was settled when it began.
    async fn balance(&self, account: &str) -> Option<i64> {
        self.reads.fetch_add(1, Relaxed);
        let balance = self.accounts.lock().unwrap().get(account).copied();
        recipes::expensive(Duration::from_secs(5)).await;
        balance
    }

    fn pay(&self, account: &str, amount: i64) -> Option<i64> {
        let mut accounts = self.accounts.lock().unwrap();
        let balance = accounts.get_mut(account)?;
        *balance += amount;
        Some(*balance)
    }

    fn stats(&self) -> String {
        let (reads, stats) = (self.reads.load(Relaxed), self.flights.stats());
        format!(
            "reads {reads}\nled {}\njoined {}\nwaiting {}\n",
            stats.led, stats.joined, stats.waiting
        )
    }
}
