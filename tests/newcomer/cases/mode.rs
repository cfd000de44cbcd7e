use tower_singleflight::SingleflightLayer;

struct App {
    //~ the type of a layer is `SingleflightLayer<mode::Http<Key>>`
    layer: SingleflightLayer<String>,
}
