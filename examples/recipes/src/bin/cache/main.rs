//! A cache in front (moka), and flights behind it for what it does not have.
//!
//! ```sh
//! cargo run -p recipes --bin cache -- 127.0.0.1:3000
//! ```
//!
//! It listens on a free port if you name none. Ask from twenty clients at once, then once more, and
//! see what that cost:
//!
//! ```sh
//! for i in $(seq 20); do curl -s http://127.0.0.1:3000/quotes/ACME & done; wait    # twenty times: ACME 101 (load 1)
//! curl -s http://127.0.0.1:3000/quotes/ACME                                        # at once: ACME 101 (load 1)
//! curl -s http://127.0.0.1:3000/stats                                              # loads 1, hits 1, led 1, joined 19
//! ```
//!
//! The cache is for those who come after the load, the flight for those who come during it: without
//! flights, the twenty who find the cache empty are twenty loads. In this order a hit costs a look
//! into the cache and nothing else; the other way round it would pass through a flight first, only
//! to be told what was there all along.
//!
//! moka's own `get_with` lets callers wait for one load as well. There, one of the callers does the
//! loading: if it goes away, another starts from the beginning, and if it is not polled, all wait.
//!
//! A cache of what you write yourself takes more: a write has to forget the flight, then drop the
//! cached value, and a load that began before the write must not fill the cache after it.

use axum::{
    Router,
    extract::{Path, State},
    http::StatusCode,
    routing::get,
};
use moka::future::Cache;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tower::{BoxError, ServiceBuilder, ServiceExt, util::BoxCloneSyncService};
use tower_singleflight::{Handle, SingleflightLayer};

/// How old a quote may be.
const TIME_TO_LIVE: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let (listener, stop) = recipes::listen()?;
    let app = Router::new()
        .route(
            "/quotes/{symbol}",
            get(async |State(quotes): State<Quotes>, Path(symbol)| quotes.get(symbol).await),
        )
        .route("/stats", get(async |State(quotes): State<Quotes>| quotes.stats()))
        .with_state(Quotes::new());
    axum::serve(listener, app).with_graceful_shutdown(stop).await?;
    Ok(())
}

/// What a caller is told when there is no quote: every waiter of a flight gets a clone.
type Unavailable = (StatusCode, &'static str);

#[derive(Clone)]
struct Quotes {
    cache: Cache<String, String>,
    flights: BoxCloneSyncService<String, String, Unavailable>,
    handle: Handle<String>,
    hits: Arc<AtomicUsize>,
    loads: Arc<AtomicUsize>,
}

impl Quotes {
    fn new() -> Self {
        let cache = Cache::builder().max_capacity(10_000).time_to_live(TIME_TO_LIVE).build();
        let loads = Arc::new(AtomicUsize::new(0));
        let layer = SingleflightLayer::by_key(|symbol: &String| symbol.clone());
        let handle = layer.handle();
        let (filled, counter) = (cache.clone(), loads.clone());
        let flights = ServiceBuilder::new().layer(layer).service_fn(move |symbol: String| {
            let (cache, loads) = (filled.clone(), counter.clone());
            async move {
                // The flight before this one may have landed after our caller looked.
                if let Some(quote) = cache.get(&symbol).await {
                    return Ok(quote);
                }
                let quote = load(&symbol, &loads).await?;
                // Before the flight lands: whoever comes too late to join finds it here. Errors are
                // not kept.
                cache.insert(symbol, quote.clone()).await;
                Ok(quote)
            }
        });
        Self {
            cache,
            flights: BoxCloneSyncService::new(flights),
            handle,
            hits: Arc::default(),
            loads,
        }
    }

    async fn get(&self, symbol: String) -> Result<String, Unavailable> {
        if let Some(quote) = self.cache.get(&symbol).await {
            self.hits.fetch_add(1, Relaxed);
            return Ok(quote);
        }
        self.flights.clone().oneshot(symbol).await
    }

    fn stats(&self) -> String {
        let (loads, hits, stats) =
            (self.loads.load(Relaxed), self.hits.load(Relaxed), self.handle.stats());
        format!(
            "loads {loads}\nhits {hits}\nled {}\njoined {}\nwaiting {}\n",
            stats.led, stats.joined, stats.waiting
        )
    }
}

/// Asks the exchange.
async fn load(symbol: &str, loads: &AtomicUsize) -> Result<String, Unavailable> {
    let load = loads.fetch_add(1, Relaxed) + 1;
    recipes::expensive(Duration::from_secs(1)).await;
    match symbol {
        "CLOSED" => Err((StatusCode::SERVICE_UNAVAILABLE, "the exchange is closed\n")),
        symbol => Ok(format!("{symbol} {} (load {load})\n", 100 + load)),
    }
}

#[cfg(test)]
mod tests;
