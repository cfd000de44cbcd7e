//! A method call makes the compiler look for a method, and hides what is missing.

use std::{convert::Infallible, io};
use tower::{Layer, ServiceBuilder, ServiceExt, util::BoxService};
use tower_singleflight::SingleflightLayer;

struct Note(u32);

fn a_response_that_is_not_clone() {
    let service = ServiceBuilder::new()
        .layer(SingleflightLayer::by_key(|id: &u32| *id))
        .service_fn(|id: u32| async move { Ok::<_, Infallible>(Note(id)) });
    //~ `ServiceExt::oneshot(service, request)` says why
    let _ = service.oneshot(7);
}

async fn an_error_that_is_not_clone() {
    let mut service = ServiceBuilder::new()
        .layer(SingleflightLayer::by_key(|id: &u32| *id))
        .service_fn(|id: u32| async move { Ok::<_, io::Error>(id) });
    //~ `ServiceExt::oneshot(service, request)` says why
    let _ = service.ready().await;
}

fn a_service_that_is_not_clone(inner: BoxService<u32, u32, Infallible>) {
    let service = SingleflightLayer::by_key(|id: &u32| *id).layer(inner);
    //~ `ServiceExt::oneshot(service, request)` says why
    let _ = service.oneshot(7);
}
