//! Traffic in which no two requests are the same: what a server costs those who gain nothing from
//! it.

use crate::{
    client::{ask, connect, on_each, request},
    error::BoxError,
    origin,
};
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::net::TcpStream;

pub(crate) const CONNECTIONS: usize = 64;
const LASTS: Duration = Duration::from_secs(2);
const LASTS_IF_QUICK: Duration = Duration::from_millis(500);

/// Each connection asks for one thing after the other, all below `path`. How many answers came, and
/// how many a second.
pub(crate) async fn distinct(
    to: SocketAddr,
    path: &str,
    quick: bool,
) -> Result<(usize, f64), BoxError> {
    let lasts = if quick { LASTS_IF_QUICK } else { LASTS };
    let connections = connect(to, CONNECTIONS).await?;
    let began = Instant::now();
    let clients = on_each(connections, |nth, connection| {
        ask_on(connection, format!("{path}/{nth}"), began + lasts)
    });
    let answers: usize = clients.await?.into_iter().sum();
    Ok((answers, answers as f64 / began.elapsed().as_secs_f64()))
}

async fn ask_on(
    mut connection: TcpStream,
    path: String,
    until: Instant,
) -> Result<usize, BoxError> {
    let mut answers = 0;
    while Instant::now() < until {
        let path = format!("{path}/{answers}");
        ask(&mut connection, &request(&path), &origin::body(&path)).await?;
        answers += 1;
    }
    Ok(answers)
}
