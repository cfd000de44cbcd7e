//! N connections, and one request over each, all at once.

use crate::{
    client::{ask, connect, on_each, request},
    error::BoxError,
    origin,
};
use std::{
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};
use tokio::time::timeout;

/// How many connections: every burst has one of these sizes.
pub(crate) const SIZES: [usize; 2] = [100, 500];
/// By then an answer has come, or never will.
const PATIENCE: Duration = Duration::from_secs(120);

/// From the release to each complete answer, in ascending order.
pub(crate) type Latencies = Vec<Duration>;

pub(crate) async fn burst(to: SocketAddr, size: usize, path: &str) -> Result<Latencies, BoxError> {
    let connections = connect(to, size).await?;
    let request: Rc<[u8]> = request(path).into();
    let body: Rc<[u8]> = origin::body(path).into();
    let released = Instant::now();
    let clients = on_each(connections, |_, mut connection| {
        let (request, body) = (request.clone(), body.clone());
        async move {
            timeout(PATIENCE, ask(&mut connection, &request, &body)).await??;
            Ok(released.elapsed())
        }
    });
    let mut latencies = clients.await?;
    latencies.sort_unstable();
    Ok(latencies)
}
