//! The slow upstream: it answers a few requests at a time, and counts them all.

use crate::{args::Args, gateway::serve};
use axum::{
    Router,
    extract::{Path, State},
    http::StatusCode,
    routing::get,
};
use bytes::Bytes;
use std::{
    fmt::Write,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{sync::Semaphore, time::sleep};

/// The right body for each key.
pub(crate) type Pages = Arc<[Bytes]>;

pub(crate) fn pages(keys: usize) -> Pages {
    (0..keys).map(page).collect()
}

fn page(key: usize) -> Bytes {
    let mut text = String::new();
    for line in 0..64 {
        let checksum = (key * 64 + line).wrapping_mul(2_654_435_761) as u32;
        writeln!(text, "key {key:>8}, line {line:>3}, and a number to compare: {checksum:08x}")
            .expect("a string grows");
    }
    text.into()
}

pub(crate) struct Hits(Vec<AtomicU64>);

impl Hits {
    pub(crate) fn total(&self) -> u64 {
        self.each().sum()
    }

    pub(crate) fn most_for_one_key(&self) -> u64 {
        self.each().max().unwrap_or(0)
    }

    fn each(&self) -> impl Iterator<Item = u64> {
        self.0.iter().map(|hits| hits.load(Relaxed))
    }
}

#[derive(Clone)]
struct Database {
    connections: Arc<Semaphore>,
    time: Duration,
    pages: Pages,
    hits: Arc<Hits>,
}

pub(crate) async fn start(args: &Args, pages: Pages) -> io::Result<(SocketAddr, Arc<Hits>)> {
    let hits = Arc::new(Hits((0..args.keys).map(|_| AtomicU64::new(0)).collect()));
    let database = Database {
        connections: Arc::new(Semaphore::new(args.upstream_limit)),
        time: args.upstream_time,
        pages,
        hits: hits.clone(),
    };
    let app = Router::new().route("/item/{key}", get(item)).with_state(database);
    Ok((serve(app).await?, hits))
}

async fn item(
    State(database): State<Database>,
    Path(key): Path<usize>,
) -> Result<Bytes, StatusCode> {
    let page = database.pages.get(key).ok_or(StatusCode::NOT_FOUND)?;
    database.hits.0[key].fetch_add(1, Relaxed);
    let _connection =
        database.connections.acquire().await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    sleep(database.time).await;
    Ok(page.clone())
}
