use super::stacks::{Hyper, HyperRequest, takes};
use axum::body::Body;
use http::Response;
use hyper::server::conn::http1;
use hyper_util::service::TowerToHyperService;
use std::{convert::Infallible, rc::Rc};
use tokio::task::yield_now;
use tower::ServiceBuilder;
use tower_singleflight::SingleflightLayer;

fn a_request() {
    let service = ServiceBuilder::new()
        .layer(SingleflightLayer::by_key(|id: &Rc<u32>| **id))
        .service_fn(|id: Rc<u32>| async move { Ok::<_, Infallible>(*id) });
    //~ `Rc<u32>` cannot be sent between threads
    takes::<Rc<u32>>(service);
}

fn a_response() {
    let service = ServiceBuilder::new()
        .layer(SingleflightLayer::by_key(|id: &u32| *id))
        .service_fn(|id: u32| async move { Ok::<_, Infallible>(Rc::new(id)) });
    //~ `Rc<u32>` cannot be sent between threads
    takes::<u32>(service);
}

fn a_service() {
    let offset = Rc::new(1);
    let service = ServiceBuilder::new()
        .layer(SingleflightLayer::by_key(|id: &u32| *id))
        .service_fn(move |id: u32| {
            let id = id + *offset;
            async move { Ok::<_, Infallible>(id) }
        });
    //~ `Rc<u32>` cannot be sent between threads
    takes::<u32>(service);
}

async fn a_future_on_a_hyper_server() {
    let service = ServiceBuilder::new()
        .layer(SingleflightLayer::new(|req| req.uri().to_string()))
        .service_fn(|_: HyperRequest| async {
            let kept = Rc::new(1);
            yield_now().await;
            drop(kept);
            Ok::<_, Infallible>(Response::new(Body::empty()))
        });
    let (io, service): Hyper<_> = (todo!(), TowerToHyperService::new(service));
    //~ `Rc<i32>` which is not `Send`
    let _ = http1::Builder::new().serve_connection(io, service);
}
