//! Clients of HTTP/1.1 and of HTTP/2 at one port of an axum app.

use crate::{
    net::{Connection, Gate, Got, rest, serve, until},
    support::within,
};
use axum::{Router, routing::get};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};
use tokio::task::JoinHandle;
use tower_singleflight::{Handle, SingleflightLayer};

struct App {
    address: std::net::SocketAddr,
    handle: Handle<String>,
    calls: Arc<AtomicUsize>,
    gate: Gate,
}

/// Its handler waits for the gate, and says which call it is.
async fn app() -> App {
    let layer = SingleflightLayer::new(|req| req.uri().path().to_owned());
    let (handle, calls, gate) = (layer.handle(), Arc::new(AtomicUsize::new(0)), Gate::new());
    let (counter, opened) = (calls.clone(), gate.clone());
    let handler = move || async move {
        let call = counter.fetch_add(1, SeqCst) + 1;
        opened.passed().await;
        format!("call {call}")
    };
    let address =
        serve(Router::new().route("/x", get(handler.clone()).post(handler)).layer(layer)).await;
    App { address, handle, calls, gate }
}

impl App {
    async fn both(&self) -> [Connection; 2] {
        [Connection::h1(self.address).await, Connection::h2(self.address).await]
    }

    async fn ask_both(&self, method: &'static str, path: &'static str) -> Vec<JoinHandle<Got>> {
        let ask = |client| ask(client, method, path);
        self.both().await.into_iter().map(ask).collect()
    }
}

fn ask(mut client: Connection, method: &'static str, path: &'static str) -> JoinHandle<Got> {
    tokio::spawn(
        async move { rest(client.send(method, path, &[]).await.unwrap().body_mut()).await },
    )
}

async fn got(client: JoinHandle<Got>) -> String {
    match within(client).await.unwrap() {
        Got::Whole(text) => text,
        broken => panic!("{broken:?}"),
    }
}

#[tokio::test]
async fn clients_of_both_versions_at_once_cost_one_call() {
    for first in [0, 1] {
        let app = app().await;
        let mut clients = Vec::from(app.both().await);
        let leader = ask(clients.remove(first), "GET", "/x");
        until("it leads", || app.handle.waiting() == 1).await;
        let follower = ask(clients.remove(0), "GET", "/x");
        until("both wait", || app.handle.waiting() == 2).await;
        app.gate.open();
        assert_eq!(
            (got(leader).await, got(follower).await),
            ("call 1".to_owned(), "call 1".to_owned())
        );
        assert_eq!((app.calls.load(SeqCst), app.handle.stats().joined), (1, 1));
    }
}

#[tokio::test]
async fn clients_of_both_versions_that_differ_in_the_query_are_apart() {
    let app = app().await;
    let (go, rust) = (app.ask_both("GET", "/x?q=go").await, app.ask_both("GET", "/x?q=rust").await);
    until("all wait", || app.handle.waiting() == 4).await;
    assert_eq!((app.handle.in_flight(), app.calls.load(SeqCst)), (2, 2));
    app.gate.open();
    for client in go.into_iter().chain(rust) {
        got(client).await;
    }
}

#[tokio::test]
async fn clients_of_both_versions_that_name_different_hosts_are_apart() {
    let app = app().await;
    let mut clients = app.both().await;
    // One has it beside its authority, the other in a second line: the app may go by any of them.
    let asks = clients.each_mut().map(|client| client.get("/x", &[("host", "b.example")]));
    let answers = futures_util::future::join_all(asks);
    let all_wait = async {
        until("both wait", || app.handle.waiting() == 2).await;
        assert_eq!(app.handle.in_flight(), 2);
        app.gate.open();
    };
    tokio::join!(answers, all_wait);
}

#[tokio::test]
async fn forgetting_a_path_reaches_the_flights_of_both_versions() {
    let app = app().await;
    let before = app.ask_both("GET", "/x").await;
    until("both wait", || app.handle.waiting() == 2).await;
    app.handle.forget("/x");
    let after = app.ask_both("GET", "/x").await;
    until("all wait", || app.handle.waiting() == 4).await;
    app.gate.open();
    for (clients, call) in [(before, "call 1"), (after, "call 2")] {
        for client in clients {
            assert_eq!(got(client).await, call);
        }
    }
}

#[tokio::test]
async fn a_write_in_one_version_seals_the_reads_of_the_other() {
    for writer in [0, 1] {
        let app = app().await;
        let mut clients = Vec::from(app.both().await);
        let write = clients.remove(writer);
        let before = ask(clients.remove(0), "GET", "/x");
        until("it leads", || app.handle.waiting() == 1).await;
        let write = ask(write, "POST", "/x");
        until("the write is sent", || app.calls.load(SeqCst) == 2).await;
        let after = ask(Connection::h2(app.address).await, "GET", "/x");
        until("it leads anew", || app.calls.load(SeqCst) == 3).await;
        app.gate.open();
        for (client, call) in [(before, "call 1"), (write, "call 2"), (after, "call 3")] {
            assert_eq!(got(client).await, call);
        }
    }
}
