use super::stacks::{AxumRequest, Hyper, HyperRequest, router, takes};
use axum::{Router, body::Body};
use http::Response;
use hyper::server::conn::http1;
use hyper_util::service::TowerToHyperService;
use std::convert::Infallible;
use tower::{ServiceBuilder, ServiceExt};
use tower_singleflight::SingleflightLayer;

struct Page(u32);

fn in_a_stack() {
    let service = ServiceBuilder::new()
        .layer(SingleflightLayer::by_key(|id: &u32| *id))
        .service_fn(|id: u32| async move { Ok::<_, Infallible>(Page(id)) });
    //~ the response `Page` cannot be given to every waiter of a flight
    //~ derive `Clone` for it, or call `.map_response(Arc::new)` below the layer
    takes::<u32>(service);
}

fn said_in_full() {
    let service = ServiceBuilder::new()
        .layer(SingleflightLayer::by_key(|id: &u32| *id))
        .service_fn(|id: u32| async move { Ok::<_, Infallible>(Page(id)) });
    //~ the response `Page` cannot be given to every waiter of a flight
    let _ = ServiceExt::oneshot(service, 7);
}

fn on_a_router() -> Router {
    //~ the response `Response<axum::body::Body>` cannot be given to every waiter of a flight
    //~ for HTTP use `SingleflightLayer::new`
    router().layer(SingleflightLayer::by_key(|req: &AxumRequest| req.uri().to_string()))
}

async fn on_a_hyper_server() {
    let service = ServiceBuilder::new()
        .layer(SingleflightLayer::by_key(|req: &HyperRequest| req.uri().to_string()))
        .service_fn(|_: HyperRequest| async { Ok::<_, Infallible>(Response::new(Body::empty())) });
    let (io, service): Hyper<_> = (todo!(), TowerToHyperService::new(service));
    //~ the response `Response<axum::body::Body>` cannot be given to every waiter of a flight
    //~ for HTTP use `SingleflightLayer::new`
    let _ = http1::Builder::new().serve_connection(io, service);
}
