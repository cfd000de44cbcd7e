//! The layer in a server made of hyper alone, HTTP/1.1 and HTTP/2 (h2c) on one port.
//!
//! ```sh
//! cargo run -p recipes --bin hyper_server -- 127.0.0.1:3000
//! ```
//!
//! It listens on a free port if you name none. Ask for one report from twenty clients at once, and
//! see what that cost:
//!
//! ```sh
//! for i in $(seq 20); do curl -s http://127.0.0.1:3000/reports/7 & done; wait    # twenty times: report 1
//! curl -s http://127.0.0.1:3000/stats                                            # reports 1, led 1, joined 19
//! ```
//!
//! And press ctrl-c on a lone `curl` within its second: `/stats` says `cancelled 1`, because nobody
//! was left to work for.

use http_body_util::Full;
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::{conn::auto::Builder, graceful::GracefulShutdown},
};
use std::{
    convert::Infallible,
    io,
    pin::pin,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};
use tower::{ServiceBuilder, ServiceExt};
use tower_singleflight::{SharedBody, SingleflightLayer};

/// What was really done.
static REPORTS: AtomicUsize = AtomicUsize::new(0);

async fn report(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let number = REPORTS.fetch_add(1, Relaxed) + 1;
    recipes::expensive(Duration::from_secs(1)).await;
    Ok(Response::new(format!("report {number} on {}\n", request.uri().path()).into()))
}

#[tokio::main]
async fn main() -> io::Result<()> {
    // The URI of an HTTP/2 request has scheme and host in it, that of an HTTP/1.1 request has not.
    // The key is the path, which both have, so that `forget("/reports/7")` and writes reach the
    // flights of either. Query and host are compared besides.
    let layer = SingleflightLayer::new(|req| req.uri().path().to_owned());
    let handle = layer.handle();
    // One service for all connections, cloned for each request.
    let reports = ServiceBuilder::new().layer(layer).service_fn(report);
    let answer = service_fn(move |request: Request<Incoming>| {
        let (reports, handle) = (reports.clone(), handle.clone());
        async move {
            if request.uri().path() != "/stats" {
                return reports.oneshot(request).await;
            }
            let (reports, stats) = (REPORTS.load(Relaxed), handle.stats());
            let text = format!(
                "reports {reports}\nled {}\njoined {}\ncancelled {}\nwaiting {}\n",
                stats.led, stats.joined, stats.cancelled, stats.waiting
            );
            Ok(Response::new(SharedBody::from(text)))
        }
    });

    let (listener, stop) = recipes::listen()?;
    let (http, graceful) = (Builder::new(TokioExecutor::new()), GracefulShutdown::new());
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        let Ok((socket, _)) = accepted else {
            // Out of file descriptors: others have to close first.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let connection = http.serve_connection(TokioIo::new(socket), answer.clone()).into_owned();
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                eprintln!("a connection broke: {error}");
            }
        });
    }
    drop(listener);
    graceful.shutdown().await;
    Ok(())
}
