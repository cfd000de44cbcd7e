use tower_singleflight::SingleflightLayer;

struct App {
    //~ the type of a layer is `SingleflightLayer<Http<Key>>`
    layer: SingleflightLayer<String>,
}
