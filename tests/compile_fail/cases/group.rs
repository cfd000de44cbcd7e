use std::io;
use tower_singleflight::Group;

struct Report(u32);

struct App {
    pages: Group<u32, Report>,
}

fn a_value() -> App {
    //~ Report: Clone`
    //~ every waiter gets one
    //~ #[derive(Clone)]
    App { pages: Group::new() }
}

async fn a_value_in_use(app: App) {
    //~ Report: Clone`
    //~ #[derive(Clone)]
    app.pages.run(7, || async { Report(7) }).await;
}

async fn an_error() {
    //~ io::Error: Clone`
    //~ an error that is not `Clone` goes into a `SharedError`
    let group = Group::new();
    group.run(7, || async { Err::<u32, _>(io::Error::other("no")) }).await;
}

async fn a_key(group: Group<f64, u32>) {
    //~ `f64: Hash`
    //~ `f64: Eq`
    group.run(0.5, || async { 1 }).await;
}
