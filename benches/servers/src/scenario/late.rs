//! A request that comes while the answer to another streams.

use crate::{
    client::{ask, connect, on_each, request},
    error::BoxError,
    numbers::millis,
    origin,
};
use std::{
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};
use tokio::time::{sleep, timeout};

/// A stream takes a second.
const COMES_AFTER: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(30);

/// Of the one who comes late, and from its request on: the first byte of the body, and the last.
pub(super) async fn measure(to: SocketAddr, path: &str) -> Result<[f64; 2], BoxError> {
    let request: Rc<[u8]> = request(path).into();
    let body: Rc<[u8]> = origin::body(path).repeat(origin::PARTS).into();
    let clients = on_each(connect(to, 2).await?, |nth, mut connection| {
        let (request, body) = (request.clone(), body.clone());
        async move {
            sleep(COMES_AFTER * nth as u32).await;
            let asked = Instant::now();
            let answer = timeout(PATIENCE, ask(&mut connection, &request, &body)).await??;
            Ok([answer.first - asked, asked.elapsed()].map(millis))
        }
    });
    Ok(clients.await?[1])
}
