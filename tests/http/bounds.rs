//! What the types of the HTTP layer can be used for, checked by the compiler.

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::Full;
use std::{
    convert::Infallible,
    task::{Context, Poll},
};
use tower::{BoxError, Layer, Service, service_fn};
use tower_singleflight::{
    ResponseFuture, SharedBody, SharedError, Singleflight, SingleflightLayer,
    mode::{Http, SharedErrors},
};

/// A service around a `Singleflight` that names its future.
struct Gateway<S> {
    upstream: Singleflight<S, Http<String>, SharedErrors>,
}

impl<S, B, RB> Service<Request<B>> for Gateway<S>
where
    S: Service<Request<B>, Response = Response<RB>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    RB: Body + Send + 'static,
    RB::Error: Into<BoxError>,
{
    type Response = Response<SharedBody>;
    type Error = SharedError;
    type Future = ResponseFuture<S, Request<B>, Http<String>, SharedErrors>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SharedError>> {
        self.upstream.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.upstream.call(request)
    }
}

#[tokio::test]
async fn the_future_of_a_generic_service_can_be_named() {
    let layer = SingleflightLayer::new(|req| req.uri().path().to_owned()).shared_errors();
    let inner = service_fn(|_: Request<Full<Bytes>>| async {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("told")))
    });
    let mut gateway = Gateway { upstream: layer.layer(inner) };
    let response = gateway.call(Request::new(Full::default())).await.unwrap();
    assert_eq!(response.status(), 200);
}
