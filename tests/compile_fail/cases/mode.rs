use super::stacks::router;
use axum::Router;
use tower_singleflight::SingleflightLayer;

struct App {
    layer: SingleflightLayer<String>,
}

fn made() -> App {
    //~ expected `SingleflightLayer<String>`, found `SingleflightLayer<Http<String>>`
    App { layer: SingleflightLayer::new(|req| req.uri().to_string()) }
}

fn on_a_router(app: App) -> Router {
    //~ the type of a layer is `SingleflightLayer<mode::Http<Key>>`
    router().layer(app.layer)
}
