//! Tower middleware that coalesces identical concurrent requests onto one inner call, whose response fans out to every
//! waiter.
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
//! | You have | Use |
//! |---|---|
//! | an HTTP server, gateway or client | `SingleflightLayer::new`, safe by default: see `HttpPolicy` |
//! | HTTP requests that share by their bodies: GraphQL, JSON-RPC, prompts | `SingleflightLayer::with_body` |
//! | any other [`Service`](tower_service::Service) whose response is `Clone` | [`SingleflightLayer::by_key`] |
//! | an `async fn` | [`Group`]: Go's `Do` is [`run`](Group::run), `DoChan` is [`spawn`](Group::spawn) |
//!
//! Guides:
//!
//! - [Why did my requests not coalesce?](guide::faq) And other questions.
//! - [Where the layer belongs in a stack](guide::order): sessions, timeouts, limits, compression.
//! - [The lines for axum, hyper, reqwest, tonic](guide::frameworks), and how to name the types.
//! - [Counters, metrics and traces](guide::watch).
//! - [Every promise, and a test for it](guide::promises).
//! - [Coming from Go or another crate](guide::migrating), and [other crates compared](guide::peers).
//!
//! # Terms
//!
//! A **flight** is one execution of the inner work for one key; a **group** is the table of flights in progress. The
//! **leader** opened the flight, a **follower** joined it; both are **waiters**. A flight **lands** when its result is
//! known; over HTTP, that is the head of the response. To **pass** is to go straight to the inner service, touching no
//! flight. To **forget** a key is to let later calls lead a new flight. A **near miss** is a call that led although a flight
//! for its key was in progress.
//!
//! # The work belongs to the flight
//!
//! The work does not belong to the caller that arrived first. While one caller waits, that caller polls the work in place,
//! so ordinary traffic pays for no task. When a second caller joins, the work moves to a task of its own, on the tokio runtime
//! of its leader, or else of the joiner. From then on a caller that goes away, is slow, or is never polled holds up no
//! other. When all callers have gone, the work is dropped at once.
//!
//! This has consequences:
//!
//! - **Task-locals** that a layer outside sets, and a `LocalSet`, are there until the work moves, and gone after that: set them
//!   in a layer inside. The **tracing span** does move with the work, with the feature `tracing`.
//! - **Outside a tokio runtime** the work stays with one of the waiters. The others wait when it is not polled.
//! - **A current-thread runtime that is no longer driven** holds up the flights on it, until it is driven or dropped.
//!   [`wait_at_most`](SingleflightLayer::wait_at_most) bounds that.
//!
//! # Calls inside a flight
//!
//! An inner call that asks for its own key, directly or through flights of other keys that it leads, would wait for
//! itself. It passes instead. So does a call for that key that the response's body makes, for as long as newcomers may
//! join the body. Two cases cannot be seen: a call in a task that the inner call spawned and waits for; and two flights that
//! each join the other, although neither was led inside the other.
//!
//! # Panics, and what else can go wrong
//!
//! A panic of the inner call reaches every waiter with the same message, and frees the key. A panic in the layer's
//! `key` or `filter` closure, or in the `Hash`, `Eq`, `Clone` or `Drop` of your types, reaches only the caller concerned. All
//! of these may call the service again, except `Hash`, `Eq` and `Borrow` of a key: `Eq` and `Borrow` run under a lock, so
//! keep them short. When a runtime is shut down under a flight, the next waiter that is polled and still has its own
//! request leads the flight again. If no waiter has its request left, all of them panic.
//!
//! # Features
//!
//! - `http` (default): the layer for HTTP.
//! - `axum`: keeps the nested routers of axum 0.8 apart by their `OriginalUri`, and looks into axum's request bodies.
//! - `metrics`: counters, gauges and histograms [of the `metrics` facade](guide::watch#metrics).
//! - `tracing`: [a span for each flight](guide::watch#traces), inside its leader's, and events that tell why calls did not
//!   share.
#![cfg_attr(docsrs, feature(doc_cfg))]
// The guides are about HTTP too.
#![cfg_attr(not(feature = "http"), allow(rustdoc::broken_intra_doc_links))]

mod core;
mod error;
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
#[cfg(feature = "http")]
pub use self::http::{HttpPolicy, LateJoin, ReadBody, RequestBody, SharedBody, SlowReader, StatusRange};
pub use error::{BoxError, SharedError};
pub use layer::{future::ResponseFuture, handle::Handle, service::Singleflight, singleflight_layer::SingleflightLayer};
pub use stats::{NearMiss, PassReason, Stats, VetoReason};

#[cfg(all(doctest, feature = "http"))]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(tower_singleflight_loom)]
#[doc(hidden)]
pub use sync::model;
