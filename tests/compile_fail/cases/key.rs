use super::stacks::router;
use axum::Router;
use std::rc::Rc;
use tower_singleflight::SingleflightLayer;

struct Lookup {
    name: String,
    price: f64,
}

#[derive(PartialEq, Eq)]
struct Topic(String);

fn a_number_without_eq() {
    //~ `f64: Hash`
    //~ `f64: Eq`
    let _ = SingleflightLayer::by_key(|req: &Lookup| req.price);
}

fn a_struct_without_hash() -> Router {
    //~ Topic: Hash`
    //~ #[derive(Hash)]
    router().layer(SingleflightLayer::new(|req| Topic(req.uri().to_string())))
}

fn a_key_that_is_not_send() {
    //~ `Rc<String>` cannot be sent between threads safely
    let _ = SingleflightLayer::new(|req| Rc::new(req.uri().to_string()));
}
