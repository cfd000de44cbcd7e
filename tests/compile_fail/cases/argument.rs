use super::stacks::{AxumRequest, router};
use axum::Router;
use tower_singleflight::SingleflightLayer;

fn alone() {
    //~ fn(&'a http::Request<()>) -> _`
    //~ key: impl Fn(&Request<()>) -> K
    let _ = SingleflightLayer::new(|id: u32| id);
}

fn on_a_router() -> Router {
    //~ fn(&'a http::Request<()>) -> _`
    //~ fn(&http::Request<axum::body::Body>) -> _`
    router().layer(SingleflightLayer::new(|req: &AxumRequest| req.uri().to_string()))
}

fn by_value() {
    //~ |id: &u32|
    let _ = SingleflightLayer::by_key(|id: u32| id);
}
