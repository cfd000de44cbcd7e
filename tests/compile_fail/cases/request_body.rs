use super::stacks::{Hyper, HyperRequest, takes};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{Full, Limited};
use hyper::server::conn::http1;
use hyper_util::service::TowerToHyperService;
use std::convert::Infallible;
use tower::{Layer, ServiceExt, service_fn};
use tower_singleflight::{SingleflightLayer, mode::HttpBody};

type Upload = Request<Limited<Full<Bytes>>>;

fn by_body() -> SingleflightLayer<HttpBody<Bytes>> {
    SingleflightLayer::with_body(1024, |request| Some(request.body().clone()))
}

async fn answer<B>(_: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::default())
}

fn in_a_stack() {
    let service = by_body().layer(service_fn(answer::<Limited<Full<Bytes>>>));
    //~ cannot be read and handed on
    //~ box the body in front of the layer
    //~ or implement `tower_singleflight::RequestBody` for a body of your own
    takes::<Upload>(service);
}

fn said_in_full(request: Upload) {
    let service = by_body().layer(service_fn(answer::<Limited<Full<Bytes>>>));
    //~ cannot be read and handed on
    let _ = ServiceExt::oneshot(service, request);
}

async fn on_a_hyper_server() {
    let service = by_body().layer(service_fn(|request: HyperRequest| answer(request)));
    let (io, service): Hyper<_> = (todo!(), TowerToHyperService::new(service));
    //~ Incoming` cannot be read and handed on
    //~ box the body in front of the layer
    let _ = http1::Builder::new().serve_connection(io, service);
}
