//! N connections, and one request over each, all at once.

use crate::{
    BoxError,
    client::{ask, connect, request},
    origin,
};
use std::{
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};
use tokio::{task::LocalSet, time::timeout};

/// By then an answer has come, or never will.
const PATIENCE: Duration = Duration::from_secs(120);

/// From the release to each complete answer, in ascending order.
pub(crate) type Latencies = Vec<Duration>;

pub(crate) async fn burst(to: SocketAddr, size: usize, path: &str) -> Result<Latencies, BoxError> {
    let connections = connect(to, size).await?;
    let request: Rc<[u8]> = request(path).into();
    let body: Rc<[u8]> = origin::body(path).into();
    let clients = LocalSet::new();
    let released = Instant::now();
    let answers: Vec<_> = connections
        .into_iter()
        .map(|mut connection| {
            let (request, body) = (request.clone(), body.clone());
            clients.spawn_local(async move {
                timeout(PATIENCE, ask(&mut connection, &request, &body)).await??;
                Ok::<_, BoxError>(released.elapsed())
            })
        })
        .collect();
    let latencies = clients.run_until(async {
        let mut latencies = Vec::with_capacity(size);
        for answer in answers {
            latencies.push(answer.await??);
        }
        Ok::<_, BoxError>(latencies)
    });
    let mut latencies = latencies.await?;
    latencies.sort_unstable();
    Ok(latencies)
}
