use super::stacks::{AxumRequest, Hyper, HyperRequest, router, takes};
use axum::{Router, body::Body, error_handling::HandleErrorLayer};
use http::Response;
use hyper::server::conn::http1;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
    service::TowerToHyperService,
};
use std::io;
use tower::{BoxError, Layer, ServiceBuilder, ServiceExt, util::MapErrLayer};
use tower_singleflight::SingleflightLayer;

fn in_a_stack() {
    let service = ServiceBuilder::new()
        .layer(SingleflightLayer::by_key(|id: &u32| *id))
        .service_fn(|id: u32| async move { Ok::<_, io::Error>(id) });
    //~ the inner service's error `std::io::Error` cannot be given to every waiter of a flight
    //~ call `.shared_errors()` on the `SingleflightLayer`
    takes::<u32>(service);
}

fn on_a_router() -> Router {
    let stack = ServiceBuilder::new()
        .layer(SingleflightLayer::new(|req| req.uri().to_string()))
        .layer(MapErrLayer::new(|never| -> BoxError { match never {} }));
    //~ the inner service's error `Box<(dyn std::error::Error + Send + Sync + 'static)>` cannot be given to every waiter
    //~ call `.shared_errors()` on the `SingleflightLayer`
    router().layer(stack)
}

async fn on_a_hyper_server() {
    let service = ServiceBuilder::new()
        .layer(SingleflightLayer::new(|req| req.uri().to_string()))
        .service_fn(|_: HyperRequest| async { Ok::<_, BoxError>(Response::new(Body::empty())) });
    let (io, service): Hyper<_> = (todo!(), TowerToHyperService::new(service));
    //~ the inner service's error `Box<dyn std::error::Error + Send + Sync>` cannot be given to every waiter
    //~ call `.shared_errors()` on the `SingleflightLayer`
    let _ = http1::Builder::new().serve_connection(io, service);
}

fn around_a_client() {
    let client = Client::builder(TokioExecutor::new()).build::<_, Body>(HttpConnector::new());
    let service = SingleflightLayer::new(|req| req.uri().to_string()).layer(client);
    //~ the inner service's error `hyper_util::client::legacy::Error` cannot be given to every waiter
    //~ call `.shared_errors()` on the `SingleflightLayer`
    let _ = ServiceExt::oneshot(service, AxumRequest::default());
}

fn shared_errors_on_a_router() -> Router {
    let stack = ServiceBuilder::new()
        .layer(SingleflightLayer::new(|req| req.uri().to_string()).shared_errors())
        .layer(MapErrLayer::new(|never| -> BoxError { match never {} }));
    //~ `Infallible: From<SharedError>` is not satisfied
    router().layer(stack)
}
