use std::convert::Infallible;
use tower::{ServiceBuilder, ServiceExt};
use tower_singleflight::SingleflightLayer;

struct Lookup {
    id: u32,
}

fn alone() {
    //~ explicit type, where the type for type parameter `Req` is specified
    let _ = SingleflightLayer::by_key(|req| req.id);
}

fn in_a_stack() {
    let service = ServiceBuilder::new()
        //~ explicit type, where the type for type parameter `Req` is specified
        .layer(SingleflightLayer::by_key(|req| req.id))
        .service_fn(|req: Lookup| async move { Ok::<_, Infallible>(req.id) });
    let _ = service.oneshot(Lookup { id: 7 });
}
