//! Everything at once: timeout, limit, load shedding, retry, buffer, trace and compression around
//! the flights. The stack, and why it is in this order, is in `order.rs`; `tests.rs` shows that it
//! does what it says.
//!
//! ```sh
//! cargo run -p recipes --bin stack -- 127.0.0.1:3000
//! ```
//!
//! It listens on a free port if you name none. Its backend takes a second, and fails the first time
//! that it is asked. Ask from twenty clients at once, half of them for gzip, and see what that
//! cost:
//!
//! ```sh
//! ask() { curl -s "$@" http://127.0.0.1:3000/reports/7 & }
//! for i in $(seq 10); do ask; ask --compressed; done; wait    # after two seconds, the report twenty times
//! curl -s http://127.0.0.1:3000/stats                         # attempts 2, led 1, joined 19
//! ```
//!
//! The log, on stderr, tells when each of the twenty was answered. Then ask for twenty reports at
//! once: eight are made, and twelve refused.
//!
//! ```sh
//! for i in $(seq 20); do curl -s http://127.0.0.1:3000/reports/$i & done; wait
//! ```

#[cfg(test)]
mod inside;
mod order;
#[cfg(test)]
mod request_bodies;
#[cfg(test)]
mod tests;

use axum::{
    Router,
    body::Bytes,
    http::Response,
    routing::{get, get_service},
};
use http_body_util::Full;
use order::{Ask, stack};
use std::{
    io::stderr,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};
use tower::{BoxError, service_fn};
use tracing_subscriber::filter::LevelFilter;

/// What the backend was asked for.
static ATTEMPTS: AtomicUsize = AtomicUsize::new(0);

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    tracing_subscriber::fmt().with_max_level(LevelFilter::DEBUG).with_writer(stderr).init();
    let (listener, stop) = recipes::listen()?;
    // Made once, and added as a service. With `Router::layer`, axum would make the layers of a
    // handler anew for every connection: each would have its own limit, and its own buffer.
    let (service, handle) = stack(service_fn(report));
    let stats = async move || {
        let (attempts, stats) = (ATTEMPTS.load(Relaxed), handle.stats());
        format!(
            "attempts {attempts}\nled {}\njoined {}\nwaiting {}\n",
            stats.led, stats.joined, stats.waiting
        )
    };
    let app =
        Router::new().route("/reports/{id}", get_service(service)).route("/stats", get(stats));
    axum::serve(listener, app).with_graceful_shutdown(stop).await?;
    Ok(())
}

/// The backend.
async fn report(request: Ask) -> Result<Response<Full<Bytes>>, BoxError> {
    let attempt = ATTEMPTS.fetch_add(1, Relaxed) + 1;
    recipes::expensive(Duration::from_secs(1)).await;
    if attempt == 1 {
        return Err("the first attempt fails".into());
    }
    let line = format!("{} is a report that is worth compressing.\n", request.uri().path());
    Ok(Response::new(line.repeat(20).into()))
}
