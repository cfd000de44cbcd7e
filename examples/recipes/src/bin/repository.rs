//! One function of a repository, behind several handlers: however many of them want a row at once,
//! it is one query.
//!
//! ```sh
//! cargo run -p recipes --bin repository -- 127.0.0.1:3000
//! ```
//!
//! It listens on a free port if you name none. A query takes five seconds:
//!
//! ```sh
//! curl -s http://127.0.0.1:3000/users/1 & curl -s http://127.0.0.1:3000/users/1/mention & wait    # Ann and @Ann
//! curl -s http://127.0.0.1:3000/users/9 & curl -s http://127.0.0.1:3000/users/9/mention & wait    # 404 and @nobody
//! curl -s http://127.0.0.1:3000/stats                                                             # queries 2, joined 2
//! ```
//!
//! A layer cannot do that: these are requests for different paths with different answers. What they
//! have in common is the query, so the `Group` is where the query is.
//!
//! The database is a small stand-in, because sqlx would make the recipes slow to build. With sqlx,
//! `Database` is a `PgPool`, `DbError` is `sqlx::Error`, and the body of `find` is
//! `sqlx::query_as("SELECT id, name FROM users WHERE id = $1").bind(id).fetch_optional(&pool).await`.

use axum::{
    Router,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use std::{
    collections::HashMap,
    error::Error,
    fmt, io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tower::BoxError;
use tower_singleflight::Group;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let (listener, stop) = recipes::listen()?;
    let app = Router::new()
        .route("/users/{id}", get(user).put(rename))
        .route("/users/{id}/mention", get(mention))
        .route("/stats", get(async |State(users): State<Users>| users.stats()))
        .with_state(Users::default());
    axum::serve(listener, app).with_graceful_shutdown(stop).await?;
    Ok(())
}

/// The repository. Handlers see its methods, and no flights.
#[derive(Clone, Default)]
struct Users {
    db: Arc<Database>,
    /// The key is all that the query depends on. Another query has other parameters and another
    /// result, and so a group of its own.
    by_id: Group<i64, Found>,
}

/// Every caller gets a clone. A database error is not `Clone`, so all callers share it in an `Arc`.
/// A large row would be in an `Arc` too.
type Found = Result<Option<User>, Arc<DbError>>;

impl Users {
    async fn find(&self, id: i64) -> Found {
        let db = self.db.clone();
        self.by_id.run(id, move || async move { db.find(id).await.map_err(Arc::new) }).await.value
    }

    /// Returns whether there is such a user.
    async fn rename(&self, id: i64, name: String) -> Result<bool, DbError> {
        let is_found = self.db.rename(id, name).await?;
        // After the write, and before the writer is told. A query that began earlier may have the
        // old name, and no caller joins it from here on.
        self.by_id.forget(&id);
        Ok(is_found)
    }

    fn stats(&self) -> String {
        let (queries, stats) = (self.db.queries.load(Relaxed), self.by_id.stats());
        format!(
            "queries {queries}\nled {}\njoined {}\nwaiting {}\n",
            stats.led, stats.joined, stats.waiting
        )
    }
}

/// For this handler, a missing row is a 404.
async fn user(State(users): State<Users>, Path(id): Path<i64>) -> Result<String, Failure> {
    let user = users.find(id).await?.ok_or(Failure::NotFound)?;
    Ok(format!("{} {}\n", user.id, user.name))
}

/// For this handler, a missing row is an answer.
async fn mention(State(users): State<Users>, Path(id): Path<i64>) -> Result<String, Failure> {
    let name = users.find(id).await?.map_or("nobody".to_owned(), |user| user.name);
    Ok(format!("@{name}\n"))
}

async fn rename(
    State(users): State<Users>,
    Path(id): Path<i64>,
    name: String,
) -> Result<StatusCode, Failure> {
    match users.rename(id, name).await.map_err(Arc::new)? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Failure::NotFound),
    }
}

/// What clients get instead of an answer. Each handler makes its own of the error that they share.
enum Failure {
    NotFound,
    Database(Arc<DbError>),
}

/// So that `?` works in handlers.
impl From<Arc<DbError>> for Failure {
    fn from(error: Arc<DbError>) -> Self {
        Self::Database(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND.into_response(),
            Self::Database(error) => match *error {
                DbError::Busy => {
                    (StatusCode::SERVICE_UNAVAILABLE, "try again later\n").into_response()
                }
                DbError::Io(_) => {
                    (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response()
                }
            },
        }
    }
}

#[derive(Clone, Debug)]
struct User {
    id: i64,
    name: String,
}

/// The stand-in. It knows Ann and Ben, is busy for user 503, and loses its connection for user 500.
struct Database {
    names: Mutex<HashMap<i64, String>>,
    queries: AtomicUsize,
}

impl Database {
    /// The worst case: what a query returns was settled when it began.
    async fn find(&self, id: i64) -> Result<Option<User>, DbError> {
        self.queries.fetch_add(1, Relaxed);
        let name = self.names.lock().unwrap().get(&id).cloned();
        recipes::expensive(Duration::from_secs(5)).await;
        match id {
            503 => Err(DbError::Busy),
            500 => Err(DbError::Io(io::ErrorKind::ConnectionReset.into())),
            _ => Ok(name.map(|name| User { id, name })),
        }
    }

    async fn rename(&self, id: i64, to: String) -> Result<bool, DbError> {
        let mut names = self.names.lock().unwrap();
        Ok(names.get_mut(&id).map(|name| *name = to).is_some())
    }
}

impl Default for Database {
    fn default() -> Self {
        let names = HashMap::from([(1, "Ann".to_owned()), (2, "Ben".to_owned())]);
        Self { names: names.into(), queries: AtomicUsize::new(0) }
    }
}

#[derive(Debug)]
enum DbError {
    Busy,
    Io(io::Error),
}

impl fmt::Display for DbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str("the database is busy"),
            Self::Io(error) => write!(f, "the database is gone: {error}"),
        }
    }
}

impl Error for DbError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Busy => None,
            Self::Io(error) => Some(error),
        }
    }
}
