//! An axum API in front of a slow database: however many ask for a key at once, it is looked up
//! once.
//!
//! ```sh
//! cargo run -p recipes --bin sqlite -- 127.0.0.1:3000 [DATABASE]
//! ```
//!
//! It listens on a free port if you name none, and keeps its data in memory if you name no file.
//! Ask for one key from twenty clients at once, and see what that cost:
//!
//! ```sh
//! for i in $(seq 20); do curl -s http://127.0.0.1:3000/keys/hot & done; wait    # twenty times: the value of hot
//! curl -s http://127.0.0.1:3000/stats                                           # queries 1, led 1, joined 19
//! curl -s -X PUT -d 'a new value' http://127.0.0.1:3000/keys/hot
//! ```
//!
//! Without the `.layer(…)` line below, it is twenty queries, and as there is one connection to the
//! database, the last client waits for all of them.

use axum::{
    Router,
    extract::{Path, State},
    http::StatusCode,
    routing::get,
};
use percent_encoding::percent_decode_str;
use rusqlite::{Connection, OptionalExtension, params};
use std::{
    env,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tower_singleflight::{BoxError, Handle, SingleflightLayer};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let database = Database::open(env::args().nth(2).as_deref().unwrap_or(":memory:"))?;
    let (listener, stop) = recipes::listen()?;
    axum::serve(listener, app(database)).with_graceful_shutdown(stop).await?;
    Ok(())
}

fn app(database: Database) -> Router {
    // The key is the path, decoded as axum's `Path` decodes it: so that a write to /keys/%68ot is
    // one to /keys/hot, and reaches all reads of it. The layer compares the query besides, so that
    // nobody gets an answer to another one.
    let layer = SingleflightLayer::new(|req| {
        percent_decode_str(req.uri().path()).decode_utf8_lossy().into_owned()
    })
    // A query in its thread cannot be cancelled. If those who asked for it go away, let the next
    // get its answer.
    .run_to_completion(true);
    let handle = layer.handle();
    Router::new()
        // A write goes through the layer as well: it is never shared, but whoever reads after it
        // gets no answer from before.
        .route("/keys/{key}", get(read).put(write))
        .layer(layer)
        // What comes after the layer is not under it.
        .route("/stats", get(async move |State(database)| stats(&database, &handle)))
        .with_state(database)
}

async fn read(
    State(database): State<Database>,
    Path(key): Path<String>,
) -> Result<String, (StatusCode, String)> {
    match database.get(key).await {
        Ok(Some(value)) => Ok(value + "\n"),
        Ok(None) => Err((StatusCode::NOT_FOUND, "no such key\n".to_owned())),
        Err(error) => Err(broken(&error)),
    }
}

async fn write(
    State(database): State<Database>,
    Path(key): Path<String>,
    value: String,
) -> Result<StatusCode, (StatusCode, String)> {
    database.put(key, value).await.map(|()| StatusCode::NO_CONTENT).map_err(|error| broken(&error))
}

fn broken(error: &rusqlite::Error) -> (StatusCode, String) {
    (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n"))
}

fn stats(database: &Database, handle: &Handle<String>) -> String {
    let (queries, stats) = (database.queries.load(Relaxed), handle.stats());
    format!(
        "queries {queries}\nled {}\njoined {}\npassed {}\nin_flight {}\nwaiting {}\n",
        stats.led, stats.joined, stats.passed, stats.in_flight, stats.waiting
    )
}

/// SQLite blocks, so it is called in threads that may block; and this one has a single connection,
/// as many have.
#[derive(Clone)]
struct Database {
    connection: Arc<Mutex<Connection>>,
    queries: Arc<AtomicUsize>,
}

/// Goes through a lot of rows before it finds the one: for about half a second.
const GET: &str = "
    WITH RECURSIVE rows(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM rows WHERE n < 1500000)
    SELECT value FROM pairs WHERE key = ?1 AND (SELECT count(n) FROM rows) > 0";

const PUT: &str =
    "INSERT INTO pairs VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value";

impl Database {
    fn open(path: &str) -> rusqlite::Result<Self> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(Duration::from_secs(60))?;
        connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS pairs (key TEXT PRIMARY KEY, value TEXT NOT NULL);
             INSERT OR IGNORE INTO pairs VALUES ('hot', 'the value of hot'), ('cold', 'the value of cold');",
        )?;
        Ok(Self { connection: Arc::new(Mutex::new(connection)), queries: Arc::default() })
    }

    async fn get(&self, key: String) -> rusqlite::Result<Option<String>> {
        let queries = self.queries.clone();
        self.run(move |connection| {
            queries.fetch_add(1, Relaxed);
            connection.prepare_cached(GET)?.query_row([key], |row| row.get(0)).optional()
        })
        .await
    }

    async fn put(&self, key: String, value: String) -> rusqlite::Result<()> {
        self.run(move |connection| connection.execute(PUT, params![key, value]).map(drop)).await
    }

    async fn run<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> T + Send + 'static,
    ) -> T {
        let connection = self.connection.clone();
        let query = move || query(&connection.lock().unwrap_or_else(PoisonError::into_inner));
        tokio::task::spawn_blocking(query).await.expect("a query does not panic")
    }
}
