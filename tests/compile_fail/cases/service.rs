use super::stacks::{AxumRequest, Hyper, HyperRequest, takes};
use axum::{Router, body::Body};
use http::Response;
use hyper::server::conn::http1;
use hyper_util::service::TowerToHyperService;
use std::convert::Infallible;
use tower::{Layer, util::BoxService};
use tower_singleflight::SingleflightLayer;

fn in_a_stack(inner: BoxService<u32, u32, Infallible>) {
    let service = SingleflightLayer::by_key(|id: &u32| *id).layer(inner);
    //~ Infallible>: Clone`
    takes::<u32>(service);
}

fn on_a_router(inner: BoxService<AxumRequest, Response<Body>, Infallible>) -> Router {
    let service = SingleflightLayer::new(|req| req.uri().to_string()).layer(inner);
    //~ Infallible>: Clone`
    Router::new().route_service("/", service)
}

async fn on_a_hyper_server(inner: BoxService<HyperRequest, Response<Body>, Infallible>) {
    let service = SingleflightLayer::new(|req| req.uri().to_string()).layer(inner);
    let (io, service): Hyper<_> = (todo!(), TowerToHyperService::new(service));
    //~ Infallible>: Clone`
    let _ = http1::Builder::new().serve_connection(io, service);
}
