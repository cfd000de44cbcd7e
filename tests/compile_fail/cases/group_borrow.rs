//! The work may outlive the caller that started it.

use tower_singleflight::Group;

struct App {
    names: Group<String, usize>,
    prefix: String,
}

impl App {
    async fn with_self(&self) -> usize {
        //~ borrowed data escapes outside of method
        self.names.run("x".to_owned(), move || async move { self.prefix.len() }).await.value
    }
}

async fn with_an_argument(group: &Group<String, usize>, name: &str) -> usize {
    //~ borrowed data escapes outside of function
    group.run(name.to_owned(), move || async move { name.len() }).await.value
}

async fn with_a_local(group: Group<String, usize>) -> usize {
    let name = "x".to_owned();
    //~ `name` does not live long enough
    let borrowed = &name;
    group.run("x".to_owned(), move || async move { borrowed.len() }).await.value
}

async fn without_move(group: Group<String, usize>) -> usize {
    let name = "x".to_owned();
    //~ closure may outlive the current function, but it borrows `name`
    group.run("x".to_owned(), || async { name.len() }).await.value
}

async fn load(name: String) -> usize {
    name.len()
}

async fn a_future_for_the_closure(group: Group<String, usize>) -> usize {
    //~ expected a `FnOnce()` closure, found `impl Future
    group.run("x".to_owned(), load("x".to_owned())).await.value
}

async fn a_guard_across_an_await(group: Group<String, usize>) -> usize {
    let work = || async {
        let kept = std::rc::Rc::new(7);
        tokio::task::yield_now().await;
        *kept
    };
    //~ future cannot be sent between threads safely
    group.run("x".to_owned(), work).await.value
}

fn without_its_types() {
    //~ type annotations needed for `Group<_, _>`
    let group = Group::new();
    drop(group);
}
