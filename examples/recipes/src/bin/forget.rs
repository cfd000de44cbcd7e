//! Forgetting after a write that does not come through the layer: from a queue, a nightly job,
//! another port.
//!
//! ```sh
//! cargo run -p recipes --bin forget -- 127.0.0.1:3000
//! ```
//!
//! It listens on a free port if you name none. A price takes five seconds to read, and is the one
//! from when the read began. Within these, change it and ask again:
//!
//! ```sh
//! curl -s http://127.0.0.1:3000/prices/tea &                   # 100, the price when it asked
//! sleep 1; curl -s -d 'tea 120' http://127.0.0.1:3000/import   # outside of the layer
//! curl -s http://127.0.0.1:3000/prices/tea; wait               # 120: it did not join the first
//! curl -s http://127.0.0.1:3000/stats                          # reads 2, led 2, joined 0
//! ```
//!
//! Without the `forget` below, the second reader joins the first, and is told 100 though it was 120
//! before it asked.
//!
//! A write that does come through the layer needs nothing of this: with
//! `.route("/prices/{id}", get(read).put(write))` under it, a `PUT` has the same key, and seals its
//! flights by itself (see `sqlite.rs`).

use axum::{
    Router,
    extract::{Path, State},
    http::StatusCode,
    routing::{get, post},
};
use percent_encoding::percent_decode_str;
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
    // What is forgotten must be what the layer's closure returns: here the path, decoded as axum's
    // `Path` decodes it, so that there is one way to write it. The layer compares host and query
    // besides: nobody gets an answer to another query, and one `forget` reaches them all.
    let layer = SingleflightLayer::new(|req| {
        percent_decode_str(req.uri().path()).decode_utf8_lossy().into_owned()
    });
    let shop = Shop { prices: Arc::default(), reads: Arc::default(), flights: layer.handle() };
    shop.import("tea 100\ncoffee 200")?;
    let app = Router::new()
        .route("/prices/{id}", get(read))
        .layer(layer)
        // What comes after the layer is not under it.
        .route("/import", post(import))
        .route("/stats", get(async |State(shop): State<Shop>| shop.stats()))
        .with_state(shop);
    axum::serve(listener, app).with_graceful_shutdown(stop).await?;
    Ok(())
}

async fn read(State(shop): State<Shop>, Path(id): Path<String>) -> Result<String, StatusCode> {
    shop.price(&id).await.map(|price| format!("{price}\n")).ok_or(StatusCode::NOT_FOUND)
}

async fn import(
    State(shop): State<Shop>,
    lines: String,
) -> Result<StatusCode, (StatusCode, &'static str)> {
    shop.import(&lines)
        .map(|()| StatusCode::NO_CONTENT)
        .map_err(|error| (StatusCode::BAD_REQUEST, error))
}

#[derive(Clone)]
struct Shop {
    prices: Arc<Mutex<HashMap<String, u32>>>,
    reads: Arc<AtomicUsize>,
    flights: Handle<String>,
}

impl Shop {
    /// The worst case: what a read returns was settled when it began.
    async fn price(&self, id: &str) -> Option<u32> {
        self.reads.fetch_add(1, Relaxed);
        let price = self.prices.lock().unwrap().get(id).copied();
        recipes::expensive(Duration::from_secs(5)).await;
        price
    }

    /// Sets prices, from lines such as `tea 120`.
    fn import(&self, lines: &str) -> Result<(), &'static str> {
        for line in lines.lines() {
            let (id, price) = line.split_once(' ').ok_or("a line has an id and a price")?;
            let price = price.parse().map_err(|_| "a price is a number")?;
            self.prices.lock().unwrap().insert(id.to_owned(), price);
            // After the write: a flight that begins before it may have the old price, and others
            // would join that one. Before the writer is told that it is done: from then on,
            // everybody has to get the new price.
            self.flights.forget(format!("/prices/{id}").as_str());
        }
        Ok(())
    }

    fn stats(&self) -> String {
        let (reads, stats) = (self.reads.load(Relaxed), self.flights.stats());
        format!(
            "reads {reads}\nled {}\njoined {}\nwaiting {}\n",
            stats.led, stats.joined, stats.waiting
        )
    }
}
