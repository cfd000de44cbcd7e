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
//!     .layer(SingleflightLayer::new(|req| req.uri().to_string()));
//! # }
//! ```
//!
//! | You have | Use |
//! |---|---|
//! | an HTTP server, gateway or client | `SingleflightLayer::new`, safe by default: see `HttpPolicy` |
//! | any other [`Service`](tower_service::Service) whose response is `Clone` | [`SingleflightLayer::by_key`] |
//! | an `async fn` | [`Group`]: Go's `Do` is [`run`](Group::run), `DoChan` is [`spawn`](Group::spawn) |
//!
//! Guides: [why did my requests not coalesce](guide::faq), [metrics and traces](guide::watch), [where the layer belongs
//! in a stack](guide::order), [what is promised, and which test says so](guide::promises), [coming from Go or another
//! crate](guide::migrating), [what else there is](guide::peers).
//!
//! # Terms
//!
//! A **flight** is one execution of the inner work for one key; a **group** is the table of flights in progress. The
//! **leader** opened the flight, a **follower** joined it; both are **waiters**. A flight **lands** when its result is
//! known. To **pass** is to go straight to the inner service, touching no flight. To **forget** a key is to let later
//! calls lead a new flight.
//!
//! # The work belongs to the flight
//!
//! It never belongs to whoever happened to arrive first. While one caller waits, the work is polled in place, and
//! ordinary traffic pays for no task. When a second joins, it moves to a task of its own, on the tokio runtime of
//! its leader or else of the joiner: from then on no caller that goes away, or is slow, or is never polled, can hold up
//! another. When all callers have gone, the work is dropped at once.
//!
//! Some things follow. **Task-locals** and a `LocalSet` are its leader's before the work moves, and not there after it;
//! the **tracing span** does follow it, with the feature `tracing`. **Outside a tokio runtime** the work stays with one
//! of the waiters, who holds up the others when it is not polled. And a **current-thread runtime that nobody drives**
//! any more holds up the flights that it carries, until it is driven or dropped: `wait_at_most` bounds that.
//!
//! # Calls inside a flight
//!
//! An inner call that asks for its own key, directly or through flights of other keys that it leads, would wait for
//! itself. It passes instead, and so does a call for that key out of the response's body, for as long as newcomers may
//! join that. Two things cannot be seen: a call made in a task that the inner call itself spawned and then waits for; and
//! two flights that each join the other, though neither was led inside the other.
//!
//! # Panics, and what else can go wrong
//!
//! A panic of the inner call reaches every waiter with the same message, and frees the key. A panic in the layer's
//! `key` or `filter` closure, or in the `Hash`, `Eq`, `Clone` or `Drop` of your types, reaches the caller concerned and
//! nobody else. All of these may call the service again, except `Hash`, `Eq` and `Borrow` of a key: `Eq` and `Borrow`
//! run under a lock, so keep them short. When a runtime is shut down under a flight, the next waiter that is polled and
//! still has its own request leads it anew; only if nobody has one left do the waiters panic.
//!
//! # Features
//!
//! - `http` (default): the layer for HTTP.
//! - `axum`: tells axum's nested routers apart by their `OriginalUri`.
//! - `metrics`: counters, gauges and histograms [of the `metrics` facade](guide::watch#metrics).
//! - `tracing`: [a span a flight](guide::watch#traces), inside its leader's wherever it is polled, and why calls passed.
#![cfg_attr(docsrs, feature(doc_cfg))]
// The guides are about HTTP too.
#![cfg_attr(not(feature = "http"), allow(rustdoc::broken_intra_doc_links))]

mod carrier;
mod context;
mod error;
mod flight;
mod future;
mod group;
#[cfg(all(any(doc, doctest), feature = "http"))]
pub mod guide;
mod handle;
#[cfg(feature = "http")]
mod http;
mod layer;
mod lone;
mod mode;
mod near_miss;
mod observe;
mod panics;
mod scope;
mod seats;
mod service;
mod site;
mod slots;
mod stats;
mod sync;
mod table;
mod waiter;

#[cfg(feature = "http")]
pub use self::http::{Http, HttpPolicy, LateJoin, SharedBody, SlowReader, StatusRange};
pub use error::{BoxError, SharedError};
pub use future::ResponseFuture;
pub use group::{Group, Outcome, Role, Run, Ticket};
pub use handle::Handle;
pub use layer::SingleflightLayer;
pub use mode::{ByKey, ErrorMode, FanOut, Mode, OwnErrors, SharedErrors};
pub use service::Singleflight;
pub use stats::{NearMiss, PassReason, Stats, VetoReason};

#[cfg(all(doctest, feature = "http"))]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(tower_singleflight_loom)]
#[doc(hidden)]
pub use sync::model;
