//! What a request of a client meets in each process: the crate's layer, and a source below it.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use std::convert::Infallible;
use tower::{BoxError, Layer, ServiceExt, service_fn, util::BoxCloneService};
use tower_singleflight::{Fleet, SingleflightLayer};

/// Gives the whole body for a path: a request has ended when its client has all of it.
pub(crate) type Client = BoxCloneService<String, Bytes, BoxError>;

/// The layer around `source`, which makes the body for a path.
pub(crate) fn client<S, F>(source: S, fleet: Option<&Fleet>) -> Client
where
    S: Fn(String) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Bytes> + Send + 'static,
{
    let layer = SingleflightLayer::new(|request: &Request<_>| request.uri().path().to_owned());
    let layer = match fleet {
        Some(fleet) => layer.fleet(fleet, "bench"),
        None => layer,
    };
    let service = layer.layer(service_fn(move |request: Request<Empty<Bytes>>| {
        let body = source(request.uri().path().to_owned());
        async move { Ok::<_, Infallible>(Response::new(Full::new(body.await))) }
    }));
    BoxCloneService::new(service_fn(move |path: String| {
        let service = service.clone();
        async move {
            let request = Request::get(format!("http://upstream{path}")).body(Empty::new())?;
            Ok(service.oneshot(request).await?.into_body().collect().await?.to_bytes())
        }
    }))
}
