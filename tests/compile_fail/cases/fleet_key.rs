use tower_singleflight::FleetKey;

struct Topic(String);

fn fleet(_: impl FleetKey) {}

fn a_struct_of_the_users() {
    //~ Topic` cannot be the key of a fleet
    //~ return a `String` from the closure, or a tuple of such: `(String, u64)`
    fleet(Topic("tea".to_owned()));
}

fn a_tuple_with_a_number_that_is_not_whole() {
    //~ `f64` cannot be the key of a fleet
    fleet(("tea", 1.5_f64));
}
