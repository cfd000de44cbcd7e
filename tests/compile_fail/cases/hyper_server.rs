use super::stacks::HyperRequest;
use axum::body::Body;
use http::Response;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use tokio::net::TcpStream;
use tower::ServiceBuilder;
use tower_singleflight::SingleflightLayer;

async fn a_tower_service(socket: TcpStream) {
    let service = ServiceBuilder::new()
        .layer(SingleflightLayer::new(|req| req.uri().to_string()))
        .service_fn(|_: HyperRequest| async { Ok::<_, Infallible>(Response::new(Body::empty())) });
    //~ is not implemented for `Singleflight<
    //~ the trait `hyper::service::Service<http::Request<hyper::body::Incoming>>` is not implemented
    let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), service);
}
