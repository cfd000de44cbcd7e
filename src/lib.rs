//! [Tower](https://docs.rs/tower) middleware that answers identical concurrent requests with one
//! call of the inner service. The first request makes the call. The others wait for it, and all of
//! them get its response.
//!
//! ```
//! # #[cfg(feature = "http")] {
//! use axum::{Router, routing::get};
//! use tower_singleflight::SingleflightLayer;
//!
//! let app: Router = Router::new()
//!     .route("/report", get(|| async { "expensive" }))
//!     .layer(SingleflightLayer::new(|req| req.uri().path().to_owned()));
//! # }
//! ```
//!
//! The closure returns the *key* of a request. Only requests with equal keys can share a call. Over
//! HTTP, the layer compares the query, the host, credentials and more as well.
//!
//! | You have | Use |
//! |---|---|
//! | an HTTP server, gateway or client | `SingleflightLayer::new`. It is safe by default: see `HttpPolicy` |
//! | HTTP requests that share by their bodies: GraphQL, JSON-RPC, prompts | `SingleflightLayer::with_body` |
//! | any other [`Service`](tower_service::Service) whose response is `Clone` | [`SingleflightLayer::by_key`] |
//! | an `async fn` | [`Group`]. Go's `Do` is [`run`](Group::run), and `DoChan` is [`spawn`](Group::spawn) |
//!
//! If your code does not compile, look for the compiler's message in the tables of
//! [`SingleflightLayer`](SingleflightLayer#when-it-does-not-compile) and
//! [`Group`](Group#when-it-does-not-compile).
//!
//! # Guides
//!
//! | Guide | Questions |
//! |---|---|
//! | [start](guide::start) | How do I put it into axum, hyper, reqwest, tonic, salvo, or around a function? |
//! | [keys](guide::keys) | What belongs in the key, and what does not? |
//! | [sharing](guide::sharing) | Which requests share, and which responses? What do writes do? |
//! | [bodies](guide::bodies) | How do bodies stream? What about slow readers, large bodies, `POST`s that read? |
//! | [order](guide::order) | Where does the layer go in my stack? |
//! | [fleet](guide::fleet) | How do several replicas share one call? |
//! | [watch](guide::watch) | Which counters, metrics and traces are there? |
//! | [runbook](guide::runbook) | Something is wrong. What do I look at, and what do I switch? |
//! | [testing](guide::testing) | How do I test that my app coalesces? |
//! | [when_not](guide::when_not) | When is it the wrong tool? |
//! | [performance](guide::performance) | What does it cost? |
//! | [migrating](guide::migrating) | I come from Go, moka or another crate. What do I write here? |
//! | [faq](guide::faq) | Why did my requests not share? And other questions |
//! | [peers](guide::peers) | How does it compare with other crates? |
//! | [promises](guide::promises) | What exactly is promised, and which test checks it? |
//!
//! # Terms
//!
//! - A **flight** is one call of the inner service for one key, from its start to its result. For a
//!   [`Group`], it is one run of the work for one key.
//! - A **group** is the table of the flights in progress. Requests can share a flight only within
//!   one group.
//! - The **leader** of a flight started it. **Followers** joined it later. Both are its
//!   **waiters**.
//! - A flight **lands** when its result is known. Over HTTP the result is the head of the response.
//!   The body streams after that.
//! - A request **passes** if it goes straight to the inner service and does not use a flight.
//! - To **forget** a key means that later requests start a new flight for it, even if one is in
//!   progress.
//! - A **near miss** is a request that started a flight although a flight for its key was in
//!   progress.
//!
//! # The work belongs to the flight
//!
//! The work does not belong to the caller that arrived first:
//!
//! - While only one caller waits, that caller polls the work itself. So a request without
//!   duplicates costs no task.
//! - When a second caller joins, the work moves to a task of its own. The task runs on the tokio
//!   runtime of the leader, or on the joiner's if the leader has none. From then on, a caller that
//!   goes away, is slow, or is never polled does not delay the others.
//! - When all callers have gone, the work is dropped at once. With
//!   [`run_to_completion`](SingleflightLayer::run_to_completion) it is finished instead.
//!
//! The move to a task has consequences:
//!
//! - **Task-locals and `LocalSet`.** The work sees a task-local from a layer outside, or a
//!   `LocalSet`, only until it moves. Set task-locals in a layer inside.
//! - **Tracing.** With the feature `tracing`, the work stays in the span of the leader.
//! - **No tokio runtime.** If neither the leader nor the joiner has one, the work stays with one of
//!   the waiters. The others have to wait while that one is not polled.
//! - **A current-thread runtime that no thread runs any longer.** It holds up the flights on it
//!   until it runs again or is dropped. [`wait_at_most`](SingleflightLayer::wait_at_most) limits
//!   the wait.
//!
//! # Calls inside a flight
//!
//! An inner call may ask for its own key, directly or through flights of other keys that it starts.
//! If it joined its own flight, it would wait for itself, so it passes instead. The same holds for
//! the body of an HTTP response that asks for its own key while requests may still join the body.
//!
//! The crate cannot detect two cases: a call in a task that the inner call spawned and waits for;
//! and two flights that each join the other, although neither was started inside the other.
//!
//! # Panics and shutdown
//!
//! - If the inner call panics, every waiter panics with the same message, and the key is free
//!   again.
//! - If your code panics, only the caller that ran it panics. This is true for the layer's `key`
//!   and `filter` closures, and for the `Hash`, `Eq`, `Clone` and `Drop` of your types.
//! - If a runtime shuts down, it takes its flights with it. The next waiter that is polled and
//!   still has its own request starts the flight again. If no waiter has its request left, all of
//!   them panic.
//!
//! The `Eq` and `Borrow` of a key run under a lock. Keep them short. They and `Hash` must not call
//! the service. All your other code may.
//!
//! # Features
//!
//! - `http` (default): the layer for HTTP.
//! - `axum`: compares the `OriginalUri` of axum 0.8, so that nested routers do not share responses.
//!   It also lets the layer look into axum's request bodies.
//! - `spill`: [`HttpPolicy::spill`] moves what slow readers of a body are behind to a temporary
//!   file, so that they hold no other reader back. It adds the dependency `tempfile`.
//! - `fleet`: [several replicas of a program share a call](guide::fleet), through an engine such as
//!   Redis.
//! - `metrics`: counters, gauges and histograms for [the `metrics` facade](guide::watch#metrics).
//! - `tracing`: [a span for each flight](guide::watch#traces) inside its leader's span, and events
//!   that tell why requests did not share a flight.
#![cfg_attr(docsrs, feature(doc_cfg))]
// Without the feature `http` there are no guides to link to, and without `spill` and `fleet` no
// methods of these.
#![cfg_attr(not(all(feature = "spill", feature = "fleet")), allow(rustdoc::broken_intra_doc_links))]

mod core;
mod error;
#[cfg(feature = "fleet")]
pub mod fleet;
#[cfg(all(any(doc, doctest), feature = "http"))]
pub mod guide;
#[cfg(feature = "http")]
mod http;
mod layer;
pub mod mode;
mod observe;
mod panics;
mod stats;
mod sync;

pub use self::core::group::{Group, Outcome, Role, Run, Ticket};
#[cfg(feature = "fleet")]
pub use self::fleet::{
    Fleet, FleetReason, FleetRole, FleetStats,
    key::{FleetKey, KeyWriter},
};
#[cfg(feature = "http")]
pub use self::http::{
    HttpPolicy, LateJoin, ReadBody, RequestBody, SharedBody, SlowReader, StatusRange,
};
pub use error::{BoxError, SharedError};
pub use layer::{
    future::ResponseFuture, handle::Handle, service::Singleflight,
    singleflight_layer::SingleflightLayer,
};
pub use stats::{NearMiss, PassReason, Stats, VetoReason};

#[cfg(all(doctest, feature = "http"))]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(tower_singleflight_loom)]
#[doc(hidden)]
pub use sync::model;
