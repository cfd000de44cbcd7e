//! N connections, and one request over each, all at once.

use crate::{
    client::{ask, connect, on_each, request},
    error::BoxError,
    numbers::{millis, percentile},
    origin::{self, Kind},
};
use std::{
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};
use tokio::time::timeout;

/// By then an answer has come, or never will.
const PATIENCE: Duration = Duration::from_secs(120);

/// All but the hits. Times are from the release of the burst.
pub(super) async fn measure(
    to: SocketAddr,
    kind: Kind,
    size: usize,
    path: &str,
) -> Result<Vec<f64>, BoxError> {
    let mut answers = burst(to, size, path).await?;
    answers.sort_unstable();
    let times: Vec<_> = answers.iter().map(|(time, _)| *time).collect();
    let refusals = answers.iter().filter(|(_, is_refused)| *is_refused).count();
    let [first, p50, p99, last] =
        [0, 50, 99, 100].map(|percent| millis(percentile(&times, percent)));
    match kind {
        Kind::Refused => Ok(vec![refusals as f64, p50, last]),
        _ if refusals > 0 => Err("a 403 of nobody".into()),
        _ => Ok(vec![p50, p99, last, last - first]),
    }
}

/// When each answer was complete, and whether it is a refusal.
async fn burst(to: SocketAddr, size: usize, path: &str) -> Result<Vec<(Duration, bool)>, BoxError> {
    let connections = connect(to, size).await?;
    let request: Rc<[u8]> = request(path).into();
    let body: Rc<[u8]> = origin::body(path).into();
    let released = Instant::now();
    let clients = on_each(connections, |_, mut connection| {
        let (request, body) = (request.clone(), body.clone());
        async move {
            let answer = timeout(PATIENCE, ask(&mut connection, &request, &body)).await??;
            Ok((released.elapsed(), answer.is_refused))
        }
    });
    clients.await
}
