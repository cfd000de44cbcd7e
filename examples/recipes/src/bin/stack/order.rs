//! The stack, from the outside to the inside, and why it is in this order.

use axum::{
    body::{Body, Bytes},
    error_handling::HandleErrorLayer,
    http::{Request, Response, StatusCode, header::ACCEPT_ENCODING},
};
use http_body_util::Full;
use std::{convert::Infallible, time::Duration};
use tokio::time::{Sleep, sleep};
use tower::{
    BoxError, Service, ServiceBuilder, load_shed::error::Overloaded, retry, timeout::error::Elapsed,
};
use tower_http::{compression::CompressionLayer, timeout::TimeoutLayer, trace::TraceLayer};
use tower_singleflight::{Handle, SingleflightLayer};

/// How long one client is kept waiting.
pub(crate) const PATIENCE: Duration = Duration::from_secs(25);
/// How long one attempt at the backend may take.
pub(crate) const ATTEMPT: Duration = Duration::from_secs(10);
pub(crate) const RETRIES: u32 = 2;
/// Flights at the backend at the same time, and attempts a second.
pub(crate) const AT_ONCE: usize = 8;
pub(crate) const A_SECOND: u64 = 100;

/// What the backend gets: the head, so that it can be sent again.
pub(crate) type Ask = Request<()>;

/// Two halves, with the flights between them. What is **outside** belongs to one client: it is done
/// for each of them, and may differ from one to the next. What is **inside** belongs to the flight:
/// it is done once, however many wait for it, and outlives the client that began it.
pub(crate) fn stack<S>(
    backend: S,
) -> (
    impl Service<
        Request<Body>,
        Response = Response<
            impl http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
        >,
        Error = Infallible,
        Future: Send,
    > + Clone
    + Send
    + Sync
    + 'static,
    Handle<String>,
)
where
    S: Service<Ask, Response = Response<Full<Bytes>>, Error = BoxError, Future: Send>
        + Send
        + 'static,
{
    let flights = SingleflightLayer::new(|req| req.uri().path().to_owned());
    let handle = flights.handle();
    let service = ServiceBuilder::new()
        // -- Outside
        // ------------------------------------------------------------------------------
        // Trace: the outermost, so that every client has its line in the log, with the status that
        // it got in the end and the time that it waited. Inside, followers would be missing. What
        // is logged inside is in the span of the client that led, if this crate has its feature
        // `tracing`.
        .layer(TraceLayer::new_for_http())
        // Timeout of a client: how long *it* waits, from when *it* came. It then leaves the flight,
        // which goes on for the others. Inside, the clock would run from the first client on, and
        // the last would be timed out on arrival.
        .layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, PATIENCE))
        // Compression: each client gets the encoding that it asked for, of the one body that they
        // share. Inside, each encoding would need a flight of its own.
        .layer(CompressionLayer::new())
        // Nothing below looks at this header any more. With it, those who differ in it would not
        // share a flight.
        .map_request(|mut request: Request<Body>| {
            request.headers_mut().remove(ACCEPT_ENCODING);
            request
        })
        // -- The flights
        // ------------------------------------------------------------------------------
        .layer(flights)
        // -- Inside
        // ------------------------------------------------------------------------------
        // Errors become responses, which all waiters can hold. Leave this out, and it is
        // `.shared_errors()` above, and errors handled for each client. They are 5xx, which are
        // shared. A 4xx judges the client that asked, and followers would ask again after it.
        .layer(HandleErrorLayer::new(async |error: BoxError| refusal(&error)))
        // Load shedding: a flight for which there is no room below is refused now, and not when its
        // clients have gone. Who joins a flight in progress needs no room, and is not refused.
        // Outside, there is nothing to shed: this crate's service is always ready.
        .load_shed()
        // Limit: of flights. A follower takes no permit. Outside, the followers of one slow key
        // would take all of them, and nobody could ask for anything else.
        .concurrency_limit(AT_ONCE)
        .map_request(|request: Request<Body>| request.map(drop))
        // Retry: a failed attempt is repeated once for the flight, not once for each of its
        // clients. Under the load shedding, because trying again what was refused is more load;
        // under the limit, so that a flight keeps its place.
        .retry(Attempts { left: RETRIES })
        // Timeout of an attempt: a guess at when the backend has lost it. Under the retry, so that
        // each has its own.
        .timeout(ATTEMPT)
        // Buffer: a queue to one task that owns what is below. The flights and the retries each
        // clone what is inside of them, and a rate limit is not `Clone`. Leave this out if all that
        // is below is.
        .buffer(AT_ONCE)
        // Attempts are counted here, retries too.
        .rate_limit(A_SECOND, Duration::from_secs(1))
        .service(backend);
    (service, handle)
}

fn refusal(error: &BoxError) -> (StatusCode, String) {
    let status = if error.is::<Overloaded>() {
        StatusCode::SERVICE_UNAVAILABLE
    } else if error.is::<Elapsed>() {
        StatusCode::GATEWAY_TIMEOUT
    } else {
        StatusCode::BAD_GATEWAY
    };
    (status, format!("{error}\n"))
}

/// How often a flight may try again.
#[derive(Clone)]
struct Attempts {
    left: u32,
}

impl<R> retry::Policy<Ask, Response<R>, BoxError> for Attempts {
    type Future = Sleep;

    fn retry(&mut self, _: &mut Ask, result: &mut Result<Response<R>, BoxError>) -> Option<Sleep> {
        let failed = result.as_ref().map_or(true, |response| response.status().is_server_error());
        self.left = self.left.checked_sub(1).filter(|_| failed)?;
        Some(sleep(Duration::from_millis(50)))
    }

    /// Only what may happen twice.
    fn clone_request(&mut self, request: &Ask) -> Option<Ask> {
        request.method().is_safe().then(|| request.clone())
    }
}
