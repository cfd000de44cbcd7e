//! Where a layer is put.

use axum::{Router, body::Body, extract::Request, routing::get};
use hyper::body::Incoming;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::net::TcpStream;
use tower::Service;

/// A function of the user's that takes a service.
pub(crate) fn takes<Req>(_: impl Service<Req>) {}

pub(crate) fn router() -> Router {
    Router::new().route("/", get(|| async { "expensive" }))
}

pub(crate) type AxumRequest = Request<Body>;
pub(crate) type HyperRequest = http::Request<Incoming>;
pub(crate) type Hyper<S> = (TokioIo<TcpStream>, TowerToHyperService<S>);
