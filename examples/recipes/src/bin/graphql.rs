//! GraphQL over POST: equal queries share one call, and a mutation seals the queries that are in
//! progress.
//!
//! ```sh
//! cargo run -p recipes --bin graphql -- 127.0.0.1:3000
//! ```
//!
//! It listens on a free port if you name none. A price takes five seconds to read, and is the one
//! from when the read began:
//!
//! ```sh
//! ask() { curl -s http://127.0.0.1:3000/graphql -H 'content-type: application/json' -d "$1"; echo; }
//! read='{"query": "query($id: ID!) { price(id: $id) }", "variables": {"id": "tea"}}'
//! write='{"query": "mutation($id: ID!, $to: Int!) { setPrice(id: $id, to: $to) }", "variables": {"id": "tea", "to": 120}}'
//! ask "$read" & ask "$read" &      # one read: 100
//! sleep 1; ask "$write"
//! ask "$read"; wait                # another read: 120
//! curl -s http://127.0.0.1:3000/stats
//! ```
//!
//! The server is not a GraphQL library, to keep the recipe short: it looks for the name of a field.

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{Request, StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
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

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let (listener, stop) = recipes::listen()?;
    let layer = SingleflightLayer::with_body(64 * 1024, query);
    let prices = HashMap::from([("tea".to_owned(), 100), ("coffee".to_owned(), 200)]);
    let shop =
        Shop { prices: Arc::new(prices.into()), reads: Arc::default(), flights: layer.handle() };
    let app = Router::new()
        .route("/graphql", post(answer))
        .layer(layer)
        .route("/stats", get(async |State(shop): State<Shop>| shop.stats()))
        .with_state(shop);
    axum::serve(listener, app).with_graceful_shutdown(stop).await?;
    Ok(())
}

/// The key of a query. `None` for all else: a mutation, a subscription, and a body that is not
/// understood.
///
/// Two clients may write one query with other spaces and another order of its members. They share,
/// because the key is the parsed JSON, written again with its members in order. The operation's
/// name and the variables are a part of it.
fn query(request: &Request<Bytes>) -> Option<String> {
    let body: Value = serde_json::from_slice(request.body()).ok()?;
    let document = body.get("query")?.as_str()?;
    // A query that only mentions one of the words passes too: that costs a call, and the other way
    // round would lose a write.
    let is_query = !["mutation", "subscription"].iter().any(|word| document.contains(word));
    is_query.then(|| body.to_string())
}

async fn answer(
    State(shop): State<Shop>,
    body: Bytes,
) -> Result<impl IntoResponse, (StatusCode, String)> {
    let bad = |error: &str| (StatusCode::BAD_REQUEST, error.to_owned());
    let body: Value = serde_json::from_slice(&body).map_err(|error| bad(&error.to_string()))?;
    let document = body["query"].as_str().ok_or_else(|| bad("no query"))?;
    let id = body["variables"]["id"].as_str().ok_or_else(|| bad("no id"))?;
    let data = if document.contains("setPrice") {
        let to = body["variables"]["to"].as_i64().ok_or_else(|| bad("no price"))?;
        shop.prices.lock().unwrap().insert(id.to_owned(), to);
        json!({ "setPrice": to })
    } else {
        json!({ "price": shop.price(id).await })
    };
    Ok(([(CONTENT_TYPE, "application/json")], json!({ "data": data }).to_string()))
}

#[derive(Clone)]
struct Shop {
    prices: Arc<Mutex<HashMap<String, i64>>>,
    reads: Arc<AtomicUsize>,
    flights: Handle<String>,
}

impl Shop {
    /// The worst case: what a read returns was settled when it began.
    async fn price(&self, id: &str) -> Option<i64> {
        self.reads.fetch_add(1, Relaxed);
        let price = self.prices.lock().unwrap().get(id).copied();
        recipes::expensive(Duration::from_secs(5)).await;
        price
    }

    fn stats(&self) -> String {
        let (reads, stats) = (self.reads.load(Relaxed), self.flights.stats());
        format!(
            "reads {reads}\nled {}\njoined {}\nwaiting {}\n",
            stats.led, stats.joined, stats.waiting
        )
    }
}
